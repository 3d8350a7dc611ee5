"""`tracker queue`: show, change and run the queue of models to measure."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from tracker.cli import print_json
from tracker.cli.flags import DEFAULT_BUDGET, DEFAULT_ENGINE, BudgetFlags, EngineFlags
from tracker.cli.help import ENGINE, JsonFlag, command_app
from tracker.cli.tables import cell, count, plain, print_table
from tracker.foreign_text import one_line
from tracker.settings import load_settings
from tracker.wording import counted

Suite = Annotated[str, Parameter(name="--suite", help="Use the queue for this suite.")]
SHOWN = 40
STATUSES = ("queued", "running", "parked", "failed", "done")

app = command_app(name="queue")


@app.default
def show(*, suite: Suite = "quick", status: str | None = None, as_json: JsonFlag = False) -> None:
    """List the queue of models to measure, next one first, with the points that decide the order.

    Parameters
    ----------
    status
        Only jobs that are queued, running, parked, failed or done.
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
        print_table(_table(rows[:SHOWN]), least=("weights", "parameters", "memory"))
        print(
            "memory: `about` is estimated from the size of the weights; other values are from `tracker fit`",
            file=sys.stderr,
        )
        if len(rows) > SHOWN:
            print(f"{len(rows) - SHOWN:,} more; `--json` lists all")
    else:
        print("the queue is empty; `tracker queue refresh` fills it from the latest ingest")


@app.command
def run(
    *,
    suite: tuple[str, ...] = (),
    engine: EngineFlags = DEFAULT_ENGINE,
    executor: Annotated[str | None, Parameter(group=ENGINE)] = None,
    data_parallel: Annotated[str, Parameter(group=ENGINE)] = "1",
    at_once: Annotated[str | None, Parameter(group=ENGINE)] = None,
    budget: BudgetFlags = DEFAULT_BUDGET,
    as_json: JsonFlag = False,
) -> None:
    """Measure queued models in order until the queue is empty or the budget is spent.

    With `--base-url` only models that the server lists under the same name are measured, and nothing is
    downloaded.

    Parameters
    ----------
    suite
        Suite whose queue to run; repeatable; default: quick.
    executor
        Where the models are measured, as for `tracker bench`.
    data_parallel
        Workers that share each model, as for `tracker bench`.
    at_once
        Models measured at the same time, or `auto`: as many as the executor has room for; default: here one
        for each card. More models than cards share them, and no speed is recorded.
    """
    from tracker.bench.workers import Where, worker_count
    from tracker.cli.bench_queue import bench_queue

    n_at_once = None if at_once is None else worker_count(at_once, field="at_once")
    where = Where(executor, worker_count(data_parallel), n_at_once)
    bench_queue(suite, engine.queue_settings(), budget.budget(), where=where, as_json=as_json)


@app.command
def refresh(*, suite: Suite = "quick", as_json: JsonFlag = False) -> None:
    """Update the queue from the latest ingest: add models, park any that cannot run, close measured ones."""
    from dataclasses import asdict

    from tracker.queue.jobs import refresh as refresh_queue

    found = refresh_queue(load_settings(), suite=suite)
    if as_json:
        print_json(asdict(found))
        return
    counts = (f"{found.n_queued:,} queued", f"{found.n_parked:,} parked", f"{found.n_done:,} done")
    print(f"{found.n_added:,} added: {', '.join(counts)}; {counted(found.n_passed_over, 'model')} skipped")


@app.command
def add(
    model: str, /, *, suite: Suite = "quick", priority: float | None = None, as_json: JsonFlag = False
) -> None:
    """Add a model to the queue, unpark it, or set its priority.

    Parameters
    ----------
    model
        Hub id, or `demo`.
    priority
        Priority that overrides the computed points; higher is sooner.
    """
    from tracker.queue.jobs import add as add_job

    job = add_job(load_settings(), model, suite=suite, priority=priority)
    _said(job, as_json=as_json, text=f"{job.model_id}: queued with {job.rank:g} points")


@app.command
def park(model: str, /, *, suite: Suite = "quick", reason: str = "", as_json: JsonFlag = False) -> None:
    """Park a model, so that it is not measured; `tracker queue unpark` undoes it.

    Parameters
    ----------
    model
        Hub id.
    reason
        Reason to show in the queue.
    """
    from tracker.queue.jobs import PARKED_BY_USER
    from tracker.queue.jobs import park as park_job

    why = f"{PARKED_BY_USER}: {reason}" if reason else PARKED_BY_USER
    job = park_job(load_settings(), model, suite=suite, reason=why)
    _said(job, as_json=as_json, text=f"{job.model_id}: parked")


@app.command
def unpark(model: str, /, *, suite: Suite = "quick", as_json: JsonFlag = False) -> None:
    """Return a parked model to the queue.

    Parameters
    ----------
    model
        Hub id.
    """
    add(model, suite=suite, as_json=as_json)


@app.command
def remove(model: str, /, *, suite: Suite = "quick", as_json: JsonFlag = False) -> None:
    """Remove a model from the queue; `tracker queue refresh` may add it again, unlike a parked one.

    Parameters
    ----------
    model
        Hub id.
    """
    from tracker.queue.jobs import remove as remove_job

    remove_job(load_settings(), model, suite=suite)
    if as_json:
        print_json({"model_id": model, "removed": True})
    else:
        print(f"{one_line(model)}: removed")


def _said(job: Any, *, as_json: bool, text: str) -> None:
    if as_json:
        names = ("model_id", "suite", "status", "priority", "set_priority", "parked_reason")
        print_json({name: getattr(job, name) for name in names})
    else:
        print(one_line(text))


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
        failed = [f"last attempt failed, {row['parked_reason']}"] if row["parked_reason"] else []
        why = row["parked_reason"] if row["status"] == "parked" else "; ".join([*failed, *row["reasons"]])
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
