"""The tools as a real client of the Model Context Protocol sees them, on real studies of the tier `smoke`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT
from tracker.files.studies import Ledger, study_folders
from tracker.records.studies import StudyStatus, Verdict
from tracker.serialization import load_json
from tracker.settings import Settings
from tracker.store import open_snapshot

LIMIT_S = 1200  # of one test, where other work slows the trainings down
pytest.importorskip("mcp")
pytest.importorskip("torch")
pytestmark = [pytest.mark.studies, pytest.mark.timeout(LIMIT_S)]

ERRORS = "errors.txt"
WAITS = 40  # a busy machine: at most so many minutes of waiting for one verdict


def environment(home: Path) -> dict[str, str]:
    more = {"TRACKER_HOME": str(home), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return dict(os.environ) | more | {"OMP_WAIT_POLICY": "PASSIVE"}


@asynccontextmanager
async def client(home: Path, *arguments: str) -> AsyncIterator[Any]:
    """A client of `tracker research serve`, connected over its standard input and output."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    home.mkdir(parents=True, exist_ok=True)
    command = ["-P", "-m", "tracker", "research", "serve", *arguments]
    server = StdioServerParameters(command=sys.executable, args=command, env=environment(home), cwd=str(ROOT))
    with (home / ERRORS).open("w") as errors:
        async with (
            stdio_client(server, errlog=errors) as (read, write),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            yield session


async def said(session: Any, tool: str, **arguments: Any) -> str:
    result = await session.call_tool(tool, arguments)
    return str(result.content[0].text)


async def verdict(session: Any, note: str) -> str:
    """The answer to a submission once there is a verdict."""
    text = await said(session, "submit", note=note)
    for _ in range(WAITS):
        if "running" not in text:
            return text
        text = await said(session, "wait")
        if "still running" not in text and "submit" in text:
            text = await said(session, "submit", note=note)
    raise AssertionError(text)


async def ended(session: Any) -> str:
    for _ in range(WAITS):
        text = await said(session, "wait")
        if "State: complete" in text:
            return text
    raise AssertionError(text)


def the_study(home: Path) -> Ledger:
    (folder,) = study_folders(Settings(home=home).studies_path)
    return Ledger(folder)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), LIMIT_S - 20))  # type: ignore[arg-type]


def test_mcp_a_client_drives_a_study_of_the_script_to_its_end(tmp_path: Path) -> None:
    async def work() -> None:
        flags = (
            "--tier",
            "smoke",
            "--trials",
            "1",
            "--placebo-share",
            "0",
            "--name",
            "tester",
            "--seed",
            "7",
        )
        async with client(tmp_path, *flags) as session:
            tools = {tool.name for tool in (await session.list_tools()).tools}
            assert {"read_file", "edit_file", "run_probe", "submit"} <= tools
            assert "bits per byte" in await said(session, "read_file", path="program.md")
            assert "class Gpt" in await said(session, "search", text="class Gpt")
            edited = await said(
                session, "edit_file", path="train.py", old="beta1: float = 0.9", new="beta1: float = 0.98"
            )
            assert edited == "done; against the incumbent: train.py +1 -1 lines"
            probe = await said(session, "run_probe", share=0.1)
            while "still running" in probe:
                probe = await said(session, "wait")
            assert "under one seed" in probe
            told = await verdict(session, "more momentum")
            assert told.startswith("trial 1. more momentum: ")
            assert "training loss" in await said(session, "curve", trial=1)
            await ended(session)

    run(work)
    ledger = the_study(tmp_path)
    study = ledger.read_study()
    assert (study.status, study.agent.name, study.agent.kind) == (StudyStatus.COMPLETE, "tester", "served")
    (trial,) = ledger.trials()
    assert trial.verdict is Verdict.REJECTED
    assert trial.proposal.diff is not None
    with open_snapshot(Settings(home=tmp_path)) as snapshot:
        (row,) = snapshot.query("research_board")
    assert (row["agent"], row["track"]) == ("tester", "code")


def test_mcp_a_server_killed_in_a_trial_is_continued_by_another_client(tmp_path: Path) -> None:
    async def killed() -> None:
        flags = ("--tier", "smoke", "--track", "params", "--trials", "1", "--placebo-share", "0")
        async with client(tmp_path, *flags) as session:
            await said(session, "notes_write", text="beta1 first")
            await said(session, "set_numbers", changes={"beta1": 0.97})
            submitting = asyncio.create_task(said(session, "submit", note="more momentum"))
            while not list(tmp_path.glob("studies/*/proposals/*.json")):
                await asyncio.sleep(0.1)
            for process in servers(tmp_path):
                process.send_signal(signal.SIGKILL)
            with suppress(Exception):
                await submitting

    with suppress(BaseExceptionGroup, OSError):
        run(killed)
    ledger = the_study(tmp_path)
    assert ledger.trials() == ()

    async def continued() -> None:
        async with client(tmp_path, "--study", ledger.folder.name) as session:
            assert await said(session, "notes_read") == "beta1 first"
            assert "0 left" in await said(session, "status")
            await ended(session)
            assert "more momentum" in await said(session, "history")

    run(continued)
    assert ledger.read_study().status is StudyStatus.COMPLETE
    assert [trial.proposal.rationale for trial in ledger.trials()] == ["more momentum"]


def test_mcp_a_client_that_leaves_stops_the_study_which_can_be_continued(tmp_path: Path) -> None:
    async def leaves() -> None:
        async with client(tmp_path, "--tier", "smoke", "--trials", "2") as session:
            assert "Trials: 0 of 2 done" in await said(session, "status")

    run(leaves)
    ledger = the_study(tmp_path)
    # a client gives its server two seconds to end, which a busy machine needs for less; then it is killed
    assert ledger.read_study().status in (StudyStatus.INTERRUPTED, StudyStatus.RUNNING)

    async def comes_back() -> None:
        async with client(tmp_path, "--study", ledger.folder.name) as session:
            assert "Trials: 0 of 2 done" in await said(session, "status")

    run(comes_back)


def servers(home: Path) -> list[psutil.Process]:
    """The processes of `serve` that work in this home."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            is_serving = "serve" in process.cmdline() and "tracker" in process.cmdline()
            if is_serving and process.environ().get("TRACKER_HOME") == str(home):
                found.append(process)
    return found


def test_print_tools_is_what_openai_compatible_servers_take(tmp_path: Path) -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "tracker", "research", "serve", "--print-tools"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment(tmp_path),
    )
    document = load_json(dict[str, Any], done.stdout, where="stdout")
    assert document["tools"][0]["function"]["name"] == "status"
