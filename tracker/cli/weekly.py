"""`tracker weekly`: what the timer calls."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.settings import load_settings


def weekly(
    *,
    minutes: float | None = None,
    max_gb: float | None = None,
    max_models: int | None = None,
    suite: str = "quick",
    notify: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Ingest, measure what is queued within a budget, and write the digest.

    Parameters
    ----------
    minutes
        How long to measure; default: until the queue is empty.
    max_gb
        How much to download.
    max_models
        How many models to measure.
    suite
        The suite to measure them with.
    notify
        Send the digest there: an address of `apprise`, such as ntfy://… (install the extra `notify`).
    json
        Print one JSON document: `sources`, `jobs`, `digest`, `paths`.
    """
    from rich.console import Console

    from tracker.cli.bench_queue import document as job_document
    from tracker.cli.bench_queue import print_worked
    from tracker.cli.ingest import document, print_outcome
    from tracker.cli.progress import BenchProgress
    from tracker.digest_forms import document as digest_document
    from tracker.digest_forms import markdown
    from tracker.notify import check_address, send
    from tracker.weekly import weekly as run_weekly
    from tracker.working_off import Budget

    if notify:
        check_address(notify)
    with BenchProgress(Console(stderr=True)) as progress:
        week = run_weekly(load_settings(), Budget(minutes, max_gb, max_models), progress.show, suite=suite)
    if json:
        print_json(
            {
                "sources": [document(outcome) for outcome in week.outcomes],
                "queue": asdict(week.refreshed) if week.refreshed else None,
                "jobs": [job_document(worked) for worked in week.worked],
                "digest": digest_document(week.digest) if week.digest else None,
                "paths": [str(path) for path in week.paths],
            }
        )
    else:
        for outcome in week.outcomes:
            print_outcome(outcome)
        for worked in week.worked:
            print_worked(worked)
        for path in week.paths:
            print(path)
    if notify and week.digest and not week.digest.is_empty:
        send(notify, title="What changed", body=markdown(week.digest))
    if week.exit_code:
        sys.exit(week.exit_code)
