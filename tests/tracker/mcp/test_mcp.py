"""`tracker mcp` as a real client sees it, and the answers behind it on one store."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.builders.store_builder import HOSTILE, build_store, measure_published
from tests.conftest import ROOT
from tracker.cli import main
from tracker.errors import TrackerError
from tracker.mcp.server import answer_call, input_schema, offered
from tracker.mcp.tools import MAX_ROWS, TOOLS
from tracker.settings import Settings
from tracker.store import open_snapshot

pytest.importorskip("mcp")
NOW = "2026-11-24T12:00:00Z"
PUBLISHED = "moonshotai/Kimi-K3"
N_FUZZED = int(os.environ.get("TRACKER_TEST_MCP_CALLS", "150"))
LIMIT_S = 240


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = build_store(tmp_path_factory.mktemp("mcp"))
    measure_published(settings, hub_id=PUBLISHED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKER_HOME", str(settings.home))
        patch.setenv("TRACKER_NOW", NOW)
        yield Settings()  # as every command reads them: with the day of the test


def asked(home: Settings, name: str, **arguments: Any) -> dict[str, Any]:
    found: dict[str, Any] = answer_call(name, arguments, home, allow_write=False)
    return found


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    main([*argv, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def with_client(home: Settings, work: Callable[[Any], Awaitable[None]], *flags: str) -> None:
    """Run `work` with a client that started `tracker mcp` itself."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    environment = dict(os.environ) | {
        "TRACKER_HOME": str(home.home),
        "TRACKER_NOW": NOW,
        "PYTHONPATH": str(ROOT),
    }
    server = StdioServerParameters(
        command=sys.executable, args=["-P", "-m", "tracker", "mcp", *flags], env=environment, cwd=str(ROOT)
    )

    async def connected() -> None:
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            await work(session)

    asyncio.run(asyncio.wait_for(connected(), LIMIT_S))


def test_mcp_a_real_client_asks_what_is_least_behind_on_its_card(home: Settings) -> None:
    async def work(session: Any) -> None:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert set(tools) == {tool.name for tool in TOOLS if not tool.writes}
        assert all(tool.annotations.read_only_hint for tool in tools.values())
        result = await session.call_tool("frontier_gap", {"fits_gb": 16, "bits": 4})
        assert not result.is_error
        told = json.loads(result.content[0].text)
        assert told == result.structured_content
        best = told["answer"]["best_open"]
        newest = told["answer"]["best_that_fits"]["steps"][-1]
        assert newest["model"] == best["model"]
        assert newest["n_params"] * 4 / 8 < newest["needed_gb"] * 1e9 < 16e9
        assert newest["months_behind"] > 0
        assert best["ci_low"] < best["value"] < best["ci_high"]
        assert told["data_of"] == told["answer"]["vintage"] == "2026-08-11"
        assert any("Epoch AI" in source for source in told["sources"])
        wrong = await session.call_tool("frontier_gap", {"fits_gb": "a lot"})
        assert wrong.is_error
        assert "fits_gb" in wrong.content[0].text
        unknown = await session.call_tool("queue_model", {"model": "demo"})
        assert unknown.is_error
        assert "--allow-write" in unknown.content[0].text
        again = await session.call_tool("leaderboard", {"limit": 1})
        assert not again.is_error

    with_client(home, work)


def test_mcp_over_http_needs_the_key_and_gives_the_same_answer(home: Settings) -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "tracker", "mcp", "--http", "0"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = json.loads(server.stdout.readline())
            refused = httpx2.post(address["mcp"], json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
            assert refused.status_code == 401
            from_page = {"Authorization": f"Bearer {address['key']}", "Origin": "http://evil.example"}
            assert httpx2.post(address["mcp"], json={}, headers=from_page).status_code == 403

            async def work() -> None:
                key = {"Authorization": f"Bearer {address['key']}"}
                async with (
                    httpx2.AsyncClient(headers=key, timeout=LIMIT_S) as http,
                    streamable_http_client(address["mcp"], http_client=http) as streams,
                    ClientSession(*streams[:2]) as session,
                ):
                    await session.initialize()
                    result = await session.call_tool("leaderboard", {})
                    assert result.structured_content == asked(home, "leaderboard")

            asyncio.run(asyncio.wait_for(work(), LIMIT_S))
        finally:
            server.kill()


@pytest.mark.parametrize(
    ("name", "arguments", "argv", "cut"),
    [
        ("frontier_gap", {}, ("frontier",), None),
        ("frontier_gap", {"fits_gb": 24, "bits": 4}, ("frontier", "--fits-gb", "24", "--bits", "4"), None),
        ("leaderboard", {}, ("leaderboard",), "models"),
        ("fits", {"gpu": "RTX 4090"}, ("fit", "--gpu", "RTX 4090"), None),
        ("model", {"model": "acme/atlas-2-8b"}, ("show", "acme/atlas-2-8b"), "runs"),
        ("find_models", {}, ("models",), "models"),
        ("find_models", {"among": "hub"}, ("models", "--known"), "models"),
        (
            "compare",
            {"first": "acme/atlas-2-8b", "second": "borealis/nimbus-4b-thinking"},
            ("compare", "acme/atlas-2-8b", "borealis/nimbus-4b-thinking"),
            None,
        ),
        ("whats_changed", {}, ("digest",), None),
        ("research_board", {}, ("research", "board"), None),
    ],
)
def test_mcp_gives_what_the_command_line_prints(
    home: Settings,
    capsys: pytest.CaptureFixture[str],
    name: str,
    arguments: Mapping[str, Any],
    argv: tuple[str, ...],
    cut: str | None,
) -> None:
    told, document = asked(home, name, **arguments), printed(capsys, *argv)
    assert told["data_of"]
    assert told["sources"]
    if cut is None:
        assert told["answer"] == document
        return
    assert told["answer"][f"n_{cut}"] == len(document[cut])
    for ours, theirs in zip(told["answer"][cut], document[cut], strict=False):
        assert ours == {key: value for key, value in theirs.items() if key in ours}
        assert {"model_id", "run_id"} & set(ours)


def test_mcp_closed_models_of_the_index_are_found_with_interval_and_day(home: Settings) -> None:
    told = asked(home, "find_models", among="index", find="gpt-5.6 sol")
    (row,) = told["answer"]["models"]
    assert row["access"] == "closed"
    assert row["ci_low"] < row["index"] < row["ci_high"]
    assert told["data_of"] == "2026-08-11"


def test_mcp_answers_of_models_are_marked_as_untrusted_and_harmless(home: Settings) -> None:
    with open_snapshot(home) as snapshot:
        (run,) = [r for r in snapshot.query("runs") if r["model_id"] == "acme/tiny-135m-instruct"]
    told = asked(home, "items", run_id=run["run_id"], task="count_letters", limit=3)
    assert "items[].response" in told["untrusted"]
    texts = [text for row in told["answer"]["items"] for text in row.values() if isinstance(text, str)]
    assert any(HOSTILE.splitlines()[0] in text for text in texts)
    assert max(map(len, texts)) < 5000  # one of them is an answer of 10 MB

    async def work(session: Any) -> None:
        arguments = {"run_id": run["run_id"], "task": "count_letters", "limit": 3}
        result = await session.call_tool("items", arguments)
        assert "\x1b" not in result.content[0].text
        assert "\u202e" not in result.content[0].text

    with_client(home, work)


@pytest.mark.parametrize(
    "sql",
    [
        "drop table runs",
        "insert into runs select * from runs",
        "copy runs to '/tmp/runs.csv'",
        "select * from read_text('/etc/passwd')",
        "select * from 'https://example.org/x.parquet'",
        "attach '/tmp/x.db'",
        "pragma database_list; drop table runs",
    ],
)
def test_mcp_sql_neither_writes_nor_reads_outside(home: Settings, sql: str) -> None:
    with pytest.raises(TrackerError, match=r"\w"):
        asked(home, "query", sql=sql)


def test_mcp_sql_answers_with_as_many_rows_as_asked(home: Settings) -> None:
    told = asked(home, "query", sql="select model_id, n_params from models order by n_params", limit=2)
    assert [row["n_params"] for row in told["answer"]["rows"]] == [134_500_000, 134_500_000]
    assert told["answer"]["has_more"]


def test_mcp_writes_only_where_it_may(home: Settings, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "writes")
    with pytest.raises(TrackerError, match="no tool called `queue_model`"):
        answer_call("queue_model", {"model": "demo"}, settings, allow_write=False)
    assert not settings.home.exists()
    told = answer_call("queue_model", {"model": "demo"}, settings, allow_write=True)
    assert told["answer"]["status"] == "queued"


JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, float("nan"), 2**70, "", "x", "a" * 100_000, "'; drop table runs; --",
    "../../etc", "\x1b[31m\u202e", "\ud800", [], [[]], {}, {"a": {"b": [1]}}, ["x"] * 1000, "2026-13-45",
    b"\x00", "a\0b", "~\0", "~nobody/x",
)  # fmt: skip


def fuzzed(dice: random.Random) -> tuple[str, dict[str, Any]]:
    """A tool with arguments of which at least one is junk, under its own or another name."""
    tool = dice.choice(TOOLS)
    names = [*input_schema(tool)["properties"], "path", "__class__", "self"]
    given = {dice.choice(names): dice.choice(JUNK) for _ in range(dice.randint(1, 3))}
    return tool.name if dice.random() < 0.95 else dice.choice(("", "rm", "\x1b[2J", "a" * 10_000)), given


def tree_hash(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(str(path).encode())
        if path.is_file():
            found.update(path.read_bytes())
    return found.hexdigest()


@pytest.mark.clock
def test_mcp_nonsense_gets_a_sentence_and_changes_nothing(home: Settings) -> None:
    before, dice = tree_hash(home.items_path), random.Random(20261130)
    longest = 0.0
    refusals: list[str] = []
    for _ in range(N_FUZZED):
        name, arguments = fuzzed(dice)
        began = time.monotonic()
        try:
            told = answer_call(name, arguments, home, allow_write=False)
            assert len(json.dumps(told)) < 10_000_000
        except TrackerError as error:
            refusals.append(str(error))
        longest = max(longest, time.monotonic() - began)
    assert len(refusals) > N_FUZZED / 2
    assert all(re.search(r"\w", text) and len(text) < 2000 for text in refusals)
    assert longest < LIMIT_S
    assert tree_hash(home.items_path) == before


def test_mcp_every_tool_tells_an_agent_what_it_takes() -> None:
    for tool in offered(allow_write=True):
        schema = input_schema(tool)
        assert schema["additionalProperties"] is False
        assert (tool.__doc__ or "").strip()
    limits = [input_schema(tool)["properties"].get("limit") for tool in TOOLS]
    assert all(limit["maximum"] <= MAX_ROWS for limit in limits if limit)


def test_mcp_the_skill_names_every_tool(capsys: pytest.CaptureFixture[str]) -> None:
    main(["mcp", "--skill"])
    text = capsys.readouterr().out
    assert text.startswith("---\nname: ")
    assert all(f"`{tool.name}`" in text for tool in TOOLS if not tool.writes)
