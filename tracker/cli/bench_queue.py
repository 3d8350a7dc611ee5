"""`tracker queue run`, and `tracker bench --queue`: measure the queued models within a budget."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from tracker.bench.workers import HERE, Where
from tracker.cli import print_json
from tracker.cli.progress import BenchProgress, progress_console
from tracker.foreign_text import one_line
from tracker.queue.runner import Budget, Worked, work_off
from tracker.records import EngineSettings
from tracker.settings import load_settings
from tracker.suites import stored_suite

EXIT_NOT_RUN = 3


def bench_queue(
    suites: tuple[str, ...],
    engine: EngineSettings,
    budget: Budget,
    *,
    where: Where = HERE,
    as_json: bool,
) -> None:
    """Measure the queued models; exit code 3 if one could not be run, 130 if one was interrupted.

    Raises:
        BusyError: another bench is running.
        FieldError: the engine does not support a setting.
    """
    worked: list[Worked] = []
    with BenchProgress(progress_console()) as progress:
        for suite in suites or ("quick",):
            stored_suite(suite, own=load_settings().suites_path)
            for one in work_off(
                load_settings(),
                budget,
                progress.show,
                suite=suite,
                engine=engine,
                where=where,
            ):
                worked.append(one)
                if not as_json:
                    print_worked(one)
    if as_json:
        print_json({"jobs": [document(one) for one in worked]})
    elif not worked:
        fits = f"is served at `{engine.base_url}`" if engine.base_url else "fits the budget"
        print(f"nothing to measure: no queued model {fits}; `tracker queue` lists the queue", file=sys.stderr)
    codes = {one.exit_code for one in worked}
    code = next((c for c in (130, 4, EXIT_NOT_RUN, 1) if c in codes), 0)
    if code:
        sys.exit(code)


def document(one: Worked) -> dict[str, Any]:
    """The outcome of a job as JSON values."""
    return asdict(one)


def print_worked(one: Worked) -> None:
    """Print the outcome of a job on one line."""
    reason = f": {one_line(one.reason)}" if one.reason else ""
    print(f"{one_line(one.model_id)}  {one.suite}  {one.status}{reason}  ({one.duration_s:.0f} s)")
