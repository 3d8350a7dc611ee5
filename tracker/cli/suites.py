"""`tracker suites`: list suites and their tasks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from tracker.answers.run_lines import sampling_line
from tracker.cli import print_json
from tracker.cli.tables import cell, console
from tracker.records import Condition, Suite
from tracker.settings import load_settings
from tracker.suites import get_suite, suite_names


def suites(
    name: Annotated[
        str | None, Parameter(help="A suite, such as quick, quick@7 for other items, or ./mine.toml.")
    ] = None,
    /,
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """List the suites, or the tasks of one: metric, filter, chance, shots.

    Suites of your own are TOML files in the folder `suites` of TRACKER_HOME; docs/own-tasks.md shows one.

    Parameters
    ----------
    json
        Print one JSON document: `suites`.
    """
    own = load_settings().suites_path
    chosen = [get_suite(name, own=own) for name in ([name] if name else suite_names(own))]
    if json:
        print_json({"suites": [_plain(suite) for suite in chosen]})
    elif name:
        _print_suite(chosen[0])
    else:
        console().print(_list(chosen))


def _plain(suite: Suite) -> dict[str, Any]:
    """The suite without `include_path`, which is a folder of this machine."""
    plain = {key: value for key, value in asdict(suite).items() if key != "include_path"}
    return plain | {"is_own": suite.name.partition("@")[0] not in suite_names()}


def _list(chosen: list[Suite]) -> Table:
    table = Table(header_style="bold")
    for column in ("suite", "version", "tasks", "offline", "description"):
        table.add_column(column, justify="right" if column in {"version", "tasks"} else "left")
    for suite in chosen:
        offline = "yes" if suite.offline else "no"
        table.add_row(suite.name, str(suite.version), str(len(suite.tasks)), offline, cell(suite.description))
    return table


def _print_suite(suite: Suite) -> None:
    seed = "" if suite.seed is None else f" · seed {suite.seed}"
    network = "offline" if suite.offline else "needs the Hub"
    sample = "" if suite.sample is None else f" · {suite.sample} random items of each task"
    out = console()
    asked = sampling_line(suite.sampling, {}, suite.repeats, None)
    title = f"{suite.name} v{suite.version} · {network}{seed}{sample}{f' · {asked}' if asked else ''}"
    out.print(title, style="bold", highlight=False)
    out.print(cell(suite.description))
    table = Table(header_style="bold")
    is_staged = any(task.when for task in suite.tasks)
    for column in ("task", "metric", "filter", "chance", "shots", "output tokens"):
        table.add_column(column, justify="left" if column in {"task", "metric", "filter"} else "right")
    if is_staged:
        table.add_column("asked if")
    for task in suite.tasks:
        limits = (task.chance, task.num_fewshot, task.max_output_tokens)
        row = [cell(value) for value in (task.task, task.metric, task.filter, *limits)]
        asked = " or ".join(_condition(one) for one in task.when) or "always"
        table.add_row(*row, *([asked] if is_staged else []))
    out.print(table)


def _condition(one: Condition) -> str:
    ends = [f"at least {one.at_least:.2f}"] if one.at_least else []
    ends += [f"below {one.below:.2f}"] if one.below is not None else []
    thinking = {None: "", True: ", it thinks", False: ", it does not think"}[one.thinking]
    return f"{one.task} {' and '.join(ends) or 'has a score'}{thinking}"
