"""`tracker research serve`: tools for any agent, and harnesses that are started with them in a sandbox."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.cli.help import AGENT
from tracker.cli.research_flags import (
    CLIENT,
    ExecutorName,
    HarnessCommand,
    HarnessVariables,
    TaskName,
    Tier,
    begun_line,
    task_name,
    tell_end,
)
from tracker.errors import TrackerError, UsageError
from tracker.settings import Settings, load_settings

if TYPE_CHECKING:
    from tracker.loopback import Address
    from tracker.records.studies import Study
    from tracker.research.driver import StudyEnd
    from tracker.research.serve import Face


def serve(
    *,
    study: str | None = None,
    name: Annotated[str, Parameter(group=AGENT)] = CLIENT,
    tier: Tier = "cpu",
    task: TaskName = None,
    track: Annotated[str, Parameter(group=AGENT)] = "code",
    trials: int = 30,
    seed: int = 0,
    placebo_share: float = 0.1,
    http: int | None = None,
    harness: HarnessCommand = None,
    harness_env: HarnessVariables = (),
    executor: ExecutorName = None,
    print_tools: bool = False,
) -> None:
    """Let any agent work on a study through tools: a server of the Model Context Protocol (MCP).

    The client reads and edits the training script, runs short probes, keeps notes and submits trials. It
    never sees the held-out text or the numbers that decide. If it leaves early, the study can be continued.

    Parameters
    ----------
    study
        Id of a study to continue, or the start of it, instead of a new one.
    name
        Name of the agent on the board, such as its harness and model.
    track
        What the agent may change: params (numbers) or code (the script).
    trials
        Number of trials.
    seed
        Seed of the study.
    placebo_share
        Extra no-op trials, as a fraction of `--trials`, to measure the gate's false-accept rate.
    http
        Serve on this port of 127.0.0.1 (0: any that is free) instead of standard input and output. The
        addresses and the key that every request needs are printed as one JSON document.
    print_tools
        Print the tools as OpenAI-compatible servers take them, as one JSON document, and exit.
    """
    from runners.research.tools.catalog import openai_tools
    from tracker.research.begin import StudyRequest, begin_study, resumed_study
    from tracker.research.serve import SERVED, check_served

    if print_tools:
        print_json({"tools": openai_tools()})
        return
    home = load_settings()
    face = _face(http) if harness is None else harness_face(harness, harness_env, home)
    if harness is not None and name == CLIENT:
        name = harness_name(harness)
    if study is None:
        request = StudyRequest(
            agent=SERVED,
            name=name,
            tier=task_name(task, tier, home),
            track=track,
            n_trials=trials,
            seed=seed,
            placebo_share=placebo_share,
            executor=executor,
        )
        begun = begin_study(request, home)
    else:
        begun = resumed_study(study, home, executor=executor)
        check_served(begun)
    tell_end(served(begun, home, face))


def _face(http: int | None) -> Face:
    """Standard input and output, or the loopback port `http`."""
    _check_mcp()
    from runners.research.tools.http_face import serve_http
    from runners.research.tools.mcp_face import serve_stdio

    if http is None:
        return serve_stdio
    return lambda session: serve_http(session, port=http, tell=partial(_tell_address, session.study.study_id))


def harness_face(text: str, variables: Sequence[str], home: Settings) -> Face:
    """A harness that works on the study in a sandbox.

    Raises:
        TrackerError: it is not installed, or cannot be started here.
    """
    _check_mcp()
    import os

    from runners.research.tools.harness import Harness, harness_command, parse_command, work_with

    missing = [name for name in variables if name not in os.environ]
    if missing:
        raise UsageError(f"`--harness-env {missing[0]}`: there is no such variable here")
    given = {name: os.environ[name] for name in variables}
    harness = Harness(parse_command(text), home.home, given)
    harness_command(harness, home.home)  # before a study is begun
    return lambda session: work_with(harness, session, home.studies_path / session.study.study_id)


def harness_name(text: str) -> str:
    """The name of a harness on the board: its program."""
    from runners.research.tools.harness import parse_command

    return Path(parse_command(text)[0]).name


def served(study: Study, home: Settings, face: Face) -> StudyEnd:
    """Run the study for an agent that works through `face`, and show its progress on standard error."""
    from tracker.cli.progress import progress_console
    from tracker.cli.research_progress import StudyProgress
    from tracker.research.serve import serve_study

    print(begun_line(study), file=sys.stderr)
    with StudyProgress(progress_console(), n_total=study.n_trials) as progress:
        return serve_study(study, home, face, progress.show)


def _tell_address(study_id: str, address: Address) -> None:
    """Print where the tools are; the key is not stored anywhere."""
    print_json(
        {"study": study_id, "mcp": address.mcp_url, "tools": f"{address.url}/v1/tools", "key": address.key}
    )
    sys.stdout.flush()


def _check_mcp() -> None:
    """Refuse to serve without the package that speaks the protocol.

    Raises:
        TrackerError: it is not installed.
    """
    from importlib.util import find_spec

    from tracker.installation import install_command

    if find_spec("mcp") is None:
        message = "this needs the package `mcp`, which is not installed"
        raise TrackerError(message, hint=install_command("research", "mcp"))
