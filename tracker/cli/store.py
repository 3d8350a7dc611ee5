"""`tracker store`: rebuild, publish or check what was measured."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

from cyclopts import App, Parameter

from tracker.cli import print_json
from tracker.cli.tables import printable
from tracker.settings import load_settings
from tracker.store import check as check_store
from tracker.store import publish as publish_store
from tracker.store import rebuild as rebuild_store

EXIT_PROBLEMS = 1
JsonFlag = Annotated[bool, Parameter(name="--json", negative="")]

app = App(name="store", help="Rebuild, publish or check the store.")


@app.command
def rebuild(*, as_json: JsonFlag = False) -> None:
    """Make the database anew from the item files, which are the truth, and publish it.

    Parameters
    ----------
    as_json
        Print one JSON document: `n_runs`, `n_studies`, `interrupted`, `skipped`, `snapshot`.
    """
    settings = load_settings()
    rebuilt = rebuild_store(settings)
    snapshot = publish_store(settings)
    for problem in rebuilt.skipped:
        print(f"warning: passed over: {printable(problem)}", file=sys.stderr)
    if as_json:
        print_json(asdict(rebuilt) | {"snapshot": snapshot})
        return
    studies = f", {rebuilt.n_studies:,} studies from {settings.studies_path}" if rebuilt.n_studies else ""
    print(f"{settings.db_path}: {rebuilt.n_runs:,} runs from {settings.items_path}{studies}")
    for run_id in rebuilt.interrupted:
        print(f"run {printable(run_id)}: its process is gone; now `interrupted`")


@app.command
def publish(*, as_json: JsonFlag = False) -> None:
    """Publish a new snapshot: what the app, `query` and other readers see.

    Parameters
    ----------
    as_json
        Print one JSON document: `snapshot`.
    """
    settings = load_settings()
    snapshot = publish_store(settings)
    if as_json:
        print_json({"snapshot": snapshot})
    else:
        print(f"published {snapshot} in {settings.snapshots_path}")


@app.command
def check(*, as_json: JsonFlag = False) -> None:
    """Look for broken, left-over, missing and unpublished things; exit code 1 if there are any.

    Parameters
    ----------
    as_json
        Print one JSON document: `ok` and `problems` with `kind`, `message`, `hint`.
    """
    problems = check_store(load_settings())
    if as_json:
        print_json({"ok": not problems, "problems": [asdict(problem) for problem in problems]})
    elif not problems:
        print("nothing is wrong")
    else:
        for problem in problems:
            print(f"{problem.kind}: {printable(problem.message)}\n  hint: {printable(problem.hint)}")
    if problems:
        sys.exit(EXIT_PROBLEMS)
