"""`tracker benchmarks`: the published benchmarks, or everything known about one."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from tracker.cli import print_json
from tracker.cli.frontier import data_text, interval, number
from tracker.cli.help import JsonDocument
from tracker.cli.tables import cell, console, print_table
from tracker.foreign_text import one_line
from tracker.settings import load_settings
from tracker.wording import counted

NOT_HERE = "no task of lm-eval asks it, so it cannot be run here"
SHOWN = 25  # scores in the table for people; --json has all


def benchmarks(
    name: Annotated[str | None, Parameter(help='A benchmark, such as "GPQA diamond".')] = None,
    /,
    *,
    json: JsonDocument = False,
) -> None:
    """List the benchmarks with published scores, or show what one asks, who leads it and how to run it here.

    Parameters
    ----------
    json
        Print one JSON document: `benchmarks`; of one benchmark, its row with `lag`, `measured_by`,
        `suites`, `command` and `scores`.
    """
    settings = load_settings()
    if name is None:
        document = _every(settings)
        print_json(document) if json else _print_list(document)
        return
    from tracker.answers.benchmarks import answer_benchmark, benchmark_document

    document = benchmark_document(answer_benchmark(name, settings))
    print_json(document) if json else _print_one(document)


def _every(settings: Any) -> dict[str, Any]:
    from tracker.answers.benchmarks import answer_benchmarks, benchmarks_document
    from tracker.answers.vintages import data_document, tables_for
    from tracker.frontier.question import Question

    data = data_document(tables_for(settings), Question(), settings)
    return benchmarks_document(answer_benchmarks(settings), data)


def _print_list(document: dict[str, Any]) -> None:
    out = console()
    out.print(Text(f"{counted(len(document['benchmarks']), 'benchmark')}, {data_text(document)}"))
    table = Table(header_style="bold")
    right = {"models", "best open", "best closed", "solved", "months behind"}
    names = ("benchmark", "domain", "items", "models", "best open", "best closed", "solved", "months behind")
    for column in (*names, "task here"):
        table.add_column(column, justify="right" if column in right else "left")
    for row in document["benchmarks"]:
        table.add_row(
            cell(row["benchmark"]),
            row["domain"],
            "private" if row["is_private"] else "public",
            str(row["n_models"]),
            _percent(row["best_open_score"]),
            _percent(row["best_closed_score"]),
            _percent(row["solved"]),
            number(row["months_behind"]) + (" (old)" if row["is_stale"] else ""),
            cell(row["lm_eval_task"]),
        )
    print_table(table, least=("items", "models", "domain", "task here"), on=out)
    out.print(Text(
        "solved: the best score, from guessing to the highest possible; months behind by "
        f"{document['definition']}, old where no open model of the last 14 months has a score"
    ))  # fmt: skip


def _print_one(document: dict[str, Any]) -> None:
    out = console()
    out.print(Text(one_line(document["benchmark"]), style="bold"))
    out.print(Text(document["asks"]))
    items = "items are private" if document["is_private"] else "items are public"
    n_items = f"{document['n_items']:,} {items}" if document["n_items"] else items
    facts = [document["domain"], n_items, f"guessing gives {document['chance']:.1%}", document["url"]]
    out.print(Text(one_line(" · ".join(filter(None, facts))), style="dim"))
    out.print(Text(
        f"{document['state']}: the best score is {document['solved']:.1%} of the way from guessing to the"
        " highest possible"
    ))  # fmt: skip
    if lag := document["lag"]:
        ends = interval(lag["ci_low"], lag["ci_high"])
        stale = "; no open model of the last 14 months has a score" if document["is_stale"] else ""
        said = f"open models are behind by {number(lag['value'])} months ({lag['id']}; 90% interval {ends})"
        out.print(Text(f"{said}{stale}"))
    asked = f"; also in the suites {', '.join(document['suites'])}" if document["suites"] else ""
    command = document["command"]
    out.print(Text(f"run it here: {command}{asked}" if command else NOT_HERE))
    out.print(Text(data_text(document)))
    table = Table("model", "score", "90% interval", "weights", "released", "measured by", "evaluated")
    for row in document["scores"][:SHOWN]:
        table.add_row(
            cell(row["model"]), f"{row['score']:.1%}", _ends(row), row["access"], row["released"],
            cell(row["measured_by"]), row["evaluated_on"] or "–",
        )  # fmt: skip
    print_table(table, least=("evaluated", "released", "measured by"), on=out)
    if (left := len(document["scores"]) - SHOWN) > 0:
        out.print(Text(f"{left} more scores; `--json` lists all"))


def _ends(row: dict[str, Any]) -> str:
    low, high = row["ci_low"], row["ci_high"]
    return "–" if low is None or high is None else f"{low:.1%} … {high:.1%}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
