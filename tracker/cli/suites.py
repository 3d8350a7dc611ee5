"""`tracker suites`: which suites there are, and what is in one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from tracker.cli import print_json
from tracker.cli.tables import cell, console
from tracker.records import Suite
from tracker.suites import get_suite, suite_names


def suites(
    name: Annotated[
        str | None, Parameter(help="One suite, such as quick, or quick@7 for other items.")
    ] = None,
    /,
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """List the suites, or the tasks of one: metric, filter, chance, shots.

    Parameters
    ----------
    json
        Print one JSON document: `suites`.
    """
    chosen = [get_suite(name) for name in ([name] if name else suite_names())]
    if json:
        print_json({"suites": [_plain(suite) for suite in chosen]})
    elif name:
        _print_suite(chosen[0])
    else:
        console().print(_list(chosen))


def _plain(suite: Suite) -> dict[str, Any]:
    """The suite without `include_path`, which is a folder of this machine."""
    return {key: value for key, value in asdict(suite).items() if key != "include_path"}


def _list(chosen: list[Suite]) -> Table:
    table = Table(header_style="bold")
    for column in ("suite", "version", "tasks", "offline", "what it is"):
        table.add_column(column, justify="right" if column in {"version", "tasks"} else "left")
    for suite in chosen:
        offline = "yes" if suite.offline else "no"
        table.add_row(suite.name, str(suite.version), str(len(suite.tasks)), offline, cell(suite.description))
    return table


def _print_suite(suite: Suite) -> None:
    seed = "" if suite.seed is None else f" · seed {suite.seed}"
    network = "offline" if suite.offline else "needs the Hub"
    out = console()
    out.print(f"{suite.name} v{suite.version} · {network}{seed}", style="bold", highlight=False)
    out.print(cell(suite.description))
    table = Table(header_style="bold")
    for column in ("task", "metric", "filter", "chance", "shots", "output tokens"):
        table.add_column(column, justify="left" if column in {"task", "metric", "filter"} else "right")
    for task in suite.tasks:
        limits = (task.chance, task.num_fewshot, task.max_output_tokens)
        table.add_row(*(cell(value) for value in (task.task, task.metric, task.filter, *limits)))
    out.print(table)
