"""`tracker queue`: what is measured next, and why; a person may change it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.table import Table

from tracker.cli import print_json
from tracker.cli.tables import cell, console, count, plain
from tracker.settings import load_settings

JsonFlag = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document.")]
Suite = Annotated[str, Parameter(name="--suite", help="The queue of this suite.")]
SHOWN = 40
BY_HAND = "by hand"
STATUSES = ("queued", "running", "parked", "failed", "done")

app = App(name="queue", help="What is measured next, and why.")


@app.default
def show(*, suite: Suite = "quick", status: str | None = None, as_json: JsonFlag = False) -> None:
    """List the queue, what comes first on top, with the points behind each place. `--json`: `jobs`.

    Parameters
    ----------
    status
        Only these: queued, running, parked, failed or done.
    """
    from tracker.errors import UnknownNameError
    from tracker.store import open_snapshot

    if status is not None and status not in STATUSES:
        raise UnknownNameError("status", status, known=STATUSES)
    with open_snapshot(load_settings()) as snapshot:
        rows = snapshot.query("jobs", suite=suite, status=status)
    if as_json:
        print_json({"jobs": plain(rows)})
    elif rows:
        console().print(_table(rows[:SHOWN]))
        print(
            "memory: `about` is by the size of the weights, all else as `tracker fit` says", file=sys.stderr
        )
        if len(rows) > SHOWN:
            print(f"{len(rows) - SHOWN} more; `--json` lists all")
    else:
        print("the queue is empty; `tracker queue refresh` fills it from the last ingest")


@app.command
def refresh(*, suite: Suite = "quick", as_json: JsonFlag = False) -> None:
    """Add what the last ingest brought and is worth it, park what cannot be run, close what is measured."""
    from dataclasses import asdict

    from tracker.queue import refresh as refresh_queue

    found = refresh_queue(load_settings(), suite=suite)
    if as_json:
        print_json(asdict(found))
        return
    counts = (f"{found.n_queued:,} queued", f"{found.n_parked:,} parked", f"{found.n_done:,} done")
    print(f"{found.n_added:,} added: {', '.join(counts)}; {found.n_passed_over:,} models passed over")


@app.command
def add(
    model: str, /, *, suite: Suite = "quick", priority: float | None = None, as_json: JsonFlag = False
) -> None:
    """Put a model into the queue, take it back from being parked, or set its priority.

    Parameters
    ----------
    model
        A Hub id, or `demo`.
    priority
        Goes before the computed points; more is sooner.
    """
    from tracker.queue import add as add_job

    job = add_job(load_settings(), model, suite=suite, priority=priority)
    _said(job, as_json=as_json, text=f"{job.model_id}: queued with {job.rank:g} points")


@app.command
def park(model: str, /, *, suite: Suite = "quick", reason: str = "", as_json: JsonFlag = False) -> None:
    """Set a model aside; `tracker queue add` or `unpark` takes it back.

    Parameters
    ----------
    model
        A Hub id.
    reason
        Why, for whoever looks next.
    """
    from tracker.queue import park as park_job

    why = f"{BY_HAND}: {reason}" if reason else BY_HAND
    job = park_job(load_settings(), model, suite=suite, reason=why)
    _said(job, as_json=as_json, text=f"{job.model_id}: parked")


@app.command
def unpark(model: str, /, *, suite: Suite = "quick", as_json: JsonFlag = False) -> None:
    """Take a parked model back into the queue.

    Parameters
    ----------
    model
        A Hub id.
    """
    add(model, suite=suite, as_json=as_json)


@app.command
def remove(model: str, /, *, suite: Suite = "quick", as_json: JsonFlag = False) -> None:
    """Take a model out of the queue; a refresh may find it again, parking keeps it out.

    Parameters
    ----------
    model
        A Hub id.
    """
    from tracker.queue import remove as remove_job

    remove_job(load_settings(), model, suite=suite)
    if as_json:
        print_json({"model_id": model, "removed": True})
    else:
        print(f"{model}: removed")


def _said(job: Any, *, as_json: bool, text: str) -> None:
    if as_json:
        names = ("model_id", "suite", "status", "priority", "set_priority", "parked_reason")
        print_json({name: getattr(job, name) for name in names})
    else:
        print(text)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(header_style="bold")
    numbers = ("points", "parameters", "weights", "memory")
    for name in ("points", "model", "parameters", "weights", "memory", "status", "why"):
        table.add_column(name, justify="right" if name in numbers else "left")
    for row in rows:
        weights, memory = (_gb(row[name]) for name in ("weights_bytes", "predicted_bytes"))
        if memory and row["predicted_by"] != "fit":
            memory = f"about {memory}"
        mark = f"{row['rank']:g}" + ("*" if row["set_priority"] is not None else "")
        why = row["parked_reason"] if row["status"] == "parked" else "; ".join(row["reasons"])
        table.add_row(
            cell(mark),
            cell(row["model_id"]),
            count(row["n_params"]),
            cell(weights),
            cell(memory),
            row["status"],
            cell(why),
        )
    return table


def _gb(n_bytes: int | None) -> str | None:
    return None if n_bytes is None else f"{n_bytes / 1e9:.1f} GB"
