"""`tracker weekly`: the command that the timer runs."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.cli.flags import DEFAULT_BUDGET, DEFAULT_ENGINE, BudgetFlags, EngineFlags
from tracker.cli.help import OUTPUT, JsonFlag
from tracker.foreign_text import one_line
from tracker.settings import load_settings


def weekly(
    *,
    suite: str = "quick",
    engine: EngineFlags = DEFAULT_ENGINE,
    budget: BudgetFlags = DEFAULT_BUDGET,
    notify: Annotated[str | None, Parameter(group=OUTPUT)] = None,
    json: JsonFlag = False,
) -> None:
    """Ingest all sources, measure queued models within a budget, and write the digest.

    Parameters
    ----------
    suite
        Suite to run on the queued models.
    notify
        Send the digest to this `apprise` address, such as ntfy://… (needs the extra `notify`).
    """
    from tracker.answers.digest_formats import document as digest_document
    from tracker.answers.digest_formats import markdown
    from tracker.cli.bench_queue import document as job_document
    from tracker.cli.bench_queue import print_worked
    from tracker.cli.ingest import document, print_outcome
    from tracker.cli.progress import BenchProgress, progress_console
    from tracker.suites import stored_suite
    from tracker.weekly.notify import check_address, send
    from tracker.weekly.run import weekly as run_weekly

    settings = load_settings()
    stored_suite(suite, own=settings.suites_path)  # a typo is refused now, not after the ingest
    if notify:
        check_address(notify)
    with BenchProgress(progress_console()) as progress:
        week = run_weekly(
            settings, budget.budget(), progress.show, suite=suite, engine=engine.queue_settings()
        )
    for problem in week.problems:
        print(f"warning: {one_line(problem)}", file=sys.stderr)
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
