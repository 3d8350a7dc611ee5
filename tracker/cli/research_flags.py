"""What the commands of auto-research share: their flags, and how a study ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from runners.research.agents import agent_facts, agents_without_model, optimizers
from tracker.cli.help import AGENT
from tracker.settings import Settings

if TYPE_CHECKING:
    from tracker.records.studies import Study
    from tracker.research.driver import StudyEnd

Tier = Annotated[str, Parameter(help="Training size: smoke, cpu, gpu-small, gpu or another shipped task.")]
TaskName = Annotated[
    str | None,
    Parameter(help="Task instead of a tier: a shipped one, or a folder with a `task.toml`."),
]
AgentName = Annotated[
    str,
    Parameter(
        group=AGENT,
        help="Model that proposes changes: `demo`, a Hub id, a local folder, or with `--base-url` the "
        f"server's name for it; or an agent without a model: {', '.join(agents_without_model())} or "
        "`package.module:Class`.",
    ),
]
OptimizerName = Annotated[
    str | None,
    Parameter(
        group=AGENT,
        help="Track hybrid only: optimizer that proposes the trials the model does not override: "
        f"{', '.join(optimizers())} or an installed one; default: tpe.",
    ),
]
StudySecretText = Annotated[
    str | None,
    Parameter(
        help="Secret that the seeds of trainings and the slots of placebos follow from: 64 hexadecimal "
        "digits, or a file with them; to repeat a complete study. Default: a fresh one.",
    ),
]
NoTransfer = Annotated[
    bool,
    Parameter(
        negative=(),
        help="Do not try the final change at four times the size: six trainings at that size.",
    ),
]
ExecutorName = Annotated[
    str | None,
    Parameter(
        help="Where the trainings run: local, ray, slurm, the name of an installed executor, or "
        "`package.module:Class`; default: TRACKER_EXECUTOR, else local.",
    ),
]
HarnessCommand = Annotated[
    str | None,
    Parameter(
        group=AGENT,
        help="Command of a coding harness, which is started in a sandbox with the tools of the study: "
        "MCP or plain HTTP, a folder of its own with `TASK.md`, and no view of the home.",
    ),
]
HarnessVariables = Annotated[
    tuple[str, ...],
    Parameter(
        group=AGENT,
        negative="",
        help="Variable that the harness gets, such as the key of its model's server; repeatable.",
    ),
]
RESUMED_WHERE = "Where the trainings run now; default: where the study was begun."
CLIENT = "client"  # an agent from outside without a name
EXIT_HINTS = {
    1: "finished trials are kept; `{again}` continues; the worker's log: {log}",
    3: "finished trials are kept; the worker's log: {log}",
    4: "finished trials are kept; `{again}` continues once it is reachable",
    130: "`{again}` continues it",
}


def task_name(task: str | None, tier: str, home: Settings) -> str:
    """Name of the task to work on; a folder is copied to the home first."""
    if task is None:
        return tier
    from runners.research.problem.tiers import kept_task

    return kept_task(task, home.home).name


def begun_line(study: Study) -> str:
    """A study that begins, with where it trains unless that is here."""
    return f"study {study.study_id}" + ("" if study.executor == "local" else f" on {study.executor}")


def tell_end(end: StudyEnd) -> None:
    """Print any error on stderr, and exit with its code."""
    from tracker.foreign_text import indented

    study = end.study
    if end.exit_code:
        said = indented(f"study {study.study_id}: {study.status}: {study.detail or study.reason}")
        print(f"error: {said}", file=sys.stderr)
        is_served = agent_facts(study.agent.kind).is_served
        again = f"tracker research {'serve --study' if is_served else 'resume'} {study.study_id}"
        hint = EXIT_HINTS.get(end.exit_code, EXIT_HINTS[1]).format(again=again, log=end.log_path)
        print(f"\nhint: {hint}", file=sys.stderr)
        sys.exit(end.exit_code)
