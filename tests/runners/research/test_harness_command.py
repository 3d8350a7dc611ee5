"""A harness started in its sandbox: what it reaches, what it does not see, and how its end is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runners.research.tools.harness import (
    FOLDER,
    LOG,
    Harness,
    harness_command,
    installation,
    parse_command,
    work_with,
)
from runners.research.tools.session import ToolSession
from tests.runners.research.test_tools import a_study, opened, run_in_thread
from tracker.errors import TrackerError, UsageError
from tracker.files.studies import Ledger
from tracker.records.studies import StudyStatus, Verdict

pytest.importorskip("mcp")
WAIT_S = 60.0
# the client of the MCP SDK as a harness uses it, then the tool for the shell
WORKS = """
import asyncio, json, os, pathlib, subprocess, sys, httpx2
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

async def work():
    key = os.environ["TRACKER_TOOLS_KEY"]
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60)
    async with http, streamable_http_client(os.environ["TRACKER_MCP_URL"], http_client=http) as streams:
        async with ClientSession(*streams[:2]) as session:
            await session.initialize()
            await session.call_tool("set_numbers", {"changes": {"beta1": 0.8}})
            await session.call_tool("submit", {"note": "less momentum"})

asyncio.run(work())
numbers = json.dumps({"changes": {"beta1": 0.97}})
for words in (["set_numbers", numbers], ["submit", json.dumps({"note": "more"})], ["status"]):
    words = [sys.executable, "tool.py", *words]
    print(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
seen = {"home": os.path.exists(sys.argv[1]), "names": sorted(os.listdir(".")), "word": os.environ.get("WORD"),
        "secret": os.environ.get("SECRET"), "root": os.access("/etc/shadow", os.R_OK)}
pathlib.Path("seen.json").write_text(json.dumps(seen))
"""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[ToolSession]:
    found = opened(tmp_path, a_study(2))
    thread = run_in_thread(tmp_path)
    yield found
    found.call("finish", {})
    thread.join(WAIT_S)


@pytest.mark.sandbox
def test_harness_works_on_a_study_to_its_end_and_does_not_see_the_home(
    session: ToolSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of ours")
    home = tmp_path / "studies"
    home.mkdir()
    harness = Harness([sys.executable, "-c", WORKS, str(home)], home, {"WORD": "told"})
    work_with(harness, session, tmp_path)
    assert Ledger(tmp_path).read_study().status is StudyStatus.COMPLETE, (tmp_path / LOG).read_text()
    assert [trial.verdict for trial in Ledger(tmp_path).trials()] == [Verdict.ACCEPTED, Verdict.REJECTED]
    seen = json.loads((tmp_path / FOLDER / "seen.json").read_text())
    names = [".codex", ".mcp.json", "TASK.md", "tool.py"]
    assert seen == {"home": False, "names": names, "word": "told", "secret": None, "root": False}
    assert "0 left" in (tmp_path / LOG).read_text()


@pytest.mark.sandbox
def test_harness_that_fails_with_trials_left_says_its_last_words(
    session: ToolSession, tmp_path: Path
) -> None:
    harness = Harness([sys.executable, "-c", "raise SystemExit('no key for the model')"], tmp_path / "home")
    with pytest.raises(TrackerError, match="ended with code 1: no key for the model") as found:
        work_with(harness, session, tmp_path)
    assert LOG in (found.value.hint or "")


def test_harness_words_are_split_without_a_shell() -> None:
    assert parse_command("codex exec 'read TASK.md' --full-auto") == [
        "codex", "exec", "read TASK.md", "--full-auto"
    ]  # fmt: skip
    for text in ("", "codex 'exec"):
        with pytest.raises(UsageError, match="--harness"):
            parse_command(text)


def test_harness_that_is_not_installed_or_lies_beside_the_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match="`no-such-harness` is not installed"):
        harness_command(Harness(["no-such-harness"], tmp_path), tmp_path)
    program = tmp_path / "bin" / "agent"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with pytest.raises(TrackerError, match="contains the home"):
        installation(Harness([str(program)], tmp_path / "home"))
    assert installation(Harness([str(program)], tmp_path.parent / "home")) == [tmp_path]
