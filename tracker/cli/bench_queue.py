"""`tracker bench --queue`: work the queue off within a budget."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from rich.console import Console

from tracker.cli import print_json
from tracker.cli.progress import BenchProgress
from tracker.cli.tables import printable
from tracker.records import EngineSettings
from tracker.settings import load_settings
from tracker.working_off import Budget, Worked, work_off

EXIT_NOT_RUN = 3


def bench_queue(suites: tuple[str, ...], engine: EngineSettings, budget: Budget, *, as_json: bool) -> None:
    """Measure model after model; exit code 3 if one could not be run, 130 if one was interrupted."""
    worked: list[Worked] = []
    with BenchProgress(Console(stderr=True)) as progress:
        for suite in suites or ("quick",):
            for one in work_off(load_settings(), budget, progress.show, suite=suite, engine=engine):
                worked.append(one)
                if not as_json:
                    print_worked(one)
    if as_json:
        print_json({"jobs": [document(one) for one in worked]})
    elif not worked:
        print("nothing is queued that fits the budget; `tracker queue` shows why", file=sys.stderr)
    codes = {one.exit_code for one in worked}
    code = next((c for c in (130, 4, EXIT_NOT_RUN, 1) if c in codes), 0)
    if code:
        sys.exit(code)


def document(one: Worked) -> dict[str, Any]:
    """What became of one job, for other programs."""
    return asdict(one)


def print_worked(one: Worked) -> None:
    """What became of one job, in a line."""
    reason = f": {printable(one.reason)}" if one.reason else ""
    print(f"{printable(one.model_id)}  {one.suite}  {one.status}{reason}  ({one.duration_s:.0f} s)")
