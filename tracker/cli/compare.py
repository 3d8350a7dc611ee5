"""`tracker compare A B`: compare two models on the items that both answered."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from tracker.cli import print_json
from tracker.cli.help import JsonDocument
from tracker.cli.tables import cell, console, months_cell, warn_of_missing
from tracker.errors import UsageError
from tracker.foreign_text import one_line
from tracker.frontier.definitions import STANDING_LAG
from tracker.settings import load_settings

Row = dict[str, Any]
SIDES = ("first", "second")
SHORT = 8  # characters of a revision, enough to distinguish a handful


def compare(
    first: str,
    second: str,
    *,
    suite: str | None = None,
    task: str | None = None,
    published: bool = False,
    as_json: JsonDocument = False,
) -> None:
    """Compare two models measured here on the items that both answered, with 95% intervals.

    With `--published`, compare two models of the index, open or closed, by published scores, with 90%
    intervals.

    Parameters
    ----------
    first
        Model measured here, as `tracker models` lists it, its folder, or `demo`; with `--published` a model
        of the index, such as "Kimi K3".
    second
        Model to compare it with.
    suite
        Only this suite.
    task
        Only this task.
    published
        Compare by published scores.
    as_json
        Print one JSON document: `first`, `second`, `missing_parts`, `tasks`; each of these names its runs.
        With `--published`: `models`, `index_differences`, `benchmarks`.
    """
    if published:
        if suite or task:
            raise UsageError("`--published` cannot be combined with `--suite` or `--task`")
        _compare_published(first, second, as_json=as_json)
        return
    from tracker.answers.comparison import compare_named, comparison_document

    found = compare_named(first, second, load_settings(), suite=suite, task=task)
    document = comparison_document(found)
    warn_of_missing(found.missing)
    if as_json:
        print_json(document)
    else:
        _print(found.first, found.second, document["tasks"])


def _compare_published(first: str, second: str, *, as_json: bool) -> None:
    from tracker.answers.published_comparison import (
        answer_published_comparison,
        published_comparison_document,
    )

    found = answer_published_comparison((first, second), load_settings())
    document = published_comparison_document(found)
    if as_json:
        print_json(document)
        return
    out, (index,) = console(), document["index_differences"]
    for row in document["models"]:
        behind = months_cell(row["months_behind"], row["months_bound"], STANDING_LAG).plain
        ends = f" ({row['ci_low']:.1f} … {row['ci_high']:.1f})" if row["ci_low"] is not None else ""
        facts = f"{row['access']}, {row['released']}: index {row['index']:.1f}{ends}"
        out.print(Text(one_line(f"{row['model']} · {facts}, months behind closed models {behind}")))
    ends = f" ({index['ci_low']:+.1f} … {index['ci_high']:+.1f})" if index["ci_low"] is not None else ""
    out.print(Text(f"index, first minus second: {index['difference']:+.1f}{ends}, 90% interval"))
    table = Table("benchmark", "items", "first", "second", "difference", "90% interval", "measured by")
    for row in document["benchmarks"]:
        low, high = row["ci_low"], row["ci_high"]
        by = dict.fromkeys(score["measured_by"] for score in row["scores"])
        table.add_row(
            cell(row["benchmark"]), "private" if row["is_private"] else "public",
            *(f"{100 * score['score']:.1f}" for score in row["scores"]),
            _percent(row["difference"], sign=True),
            "–" if low is None else f"{_percent(low, sign=True)} … {_percent(high, sign=True)}",
            cell(", ".join(by)),
        )  # fmt: skip
    out.print(table)


def _subject_lines(subjects: list[tuple[str, Row]]) -> list[str]:
    """The distinct settings that were compared, with their suites if there are several."""
    suites: dict[str, list[str]] = {}
    for suite, subject in subjects:
        settings = [subject["engine"], subject["dtype"], subject["quantization"] or "as published"]
        if subject["imported_from"]:
            settings = [subject["origin_note"]]
        revision = subject["revision"].rpartition(":")[2][:SHORT]
        line = " · ".join([*filter(None, settings), f"revision {revision}"])
        suites.setdefault(line, []).append(suite)
    if len(suites) == 1:
        return list(suites)
    return [f"{line} (in {', '.join(dict.fromkeys(names))})" for line, names in suites.items()]


def _print(first: str, second: str, tasks: list[Row]) -> None:
    out = console()
    for side, model_id in zip(SIDES, (first, second), strict=True):
        for line in _subject_lines([(row["suite"], row[f"{side}_run"]) for row in tasks]):
            out.print(Text(one_line(f"{side + ':':7} {model_id} · {line}")))
    table = Table(
        "suite", "task", "items", "first", "second", "difference", "95% interval", "only first",
        "only second", "McNemar p", "detectable",
    )  # fmt: skip
    for row in tasks:
        table.add_row(
            cell(row["suite"]), cell(row["task"]), str(row["n_items"]),
            _percent(row["first_value"]), _percent(row["second_value"]),
            _percent(row["difference"], sign=True),
            f"{_percent(row['ci_low'], sign=True)} … {_percent(row['ci_high'], sign=True)}",
            _or_dash(row["n_only_first"]), _or_dash(row["n_only_second"]),
            "–" if row["mcnemar_p"] is None else f"{row['mcnemar_p']:.3f}",
            _percent(row["smallest_detectable_difference"]),
        )  # fmt: skip
    out.print(table)


def _percent(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    return f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"


def _or_dash(value: int | None) -> str:
    return "–" if value is None else str(value)
