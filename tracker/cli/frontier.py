"""`tracker frontier`: how far open models are behind closed ones, by six definitions."""

from __future__ import annotations

import sys
from datetime import date
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from tracker.cli import print_json
from tracker.cli.models import n_params
from tracker.cli.tables import console, printable
from tracker.errors import TrackerError, UsageError
from tracker.settings import load_settings

JsonFlag = Annotated[bool, Parameter(name="--json", negative="")]
Names = Annotated[tuple[str, ...], Parameter(negative="")]

app = App(name="frontier", help="How far open models are behind closed ones, by six definitions.")

QUESTIONS = {
    "G1": "how much later a level is reached, mean over levels",
    "G2": "the same, caught up once the interval touches the level (Epoch AI's rule)",
    "G3": "age of the closed level that the best open model equals",
    "G4": "time until a closed record is no longer significantly ahead",
    "G5": "distance between the two best, mean over the window",
    "G6": "age of the closed level that open offers, mean over the window",
}


@app.default
def frontier(
    *,
    as_of: str | None = None,
    since: str | None = None,
    vintage: str | None = None,
    without: Names = (),
    only: Literal["private", "public"] | None = None,
    private_list: Literal["epoch_list", "extended_list"] = "extended_list",
    reported_by: Literal["first_party", "third_party"] | None = None,
    max_params: str | None = None,
    fits_gb: float | None = None,
    override: Names = (),
    benchmark: str | None = None,
    series: str | None = None,
    as_json: JsonFlag = False,
) -> None:
    """Say how far open models are behind closed ones; every months figure carries its definition's id.

    Parameters
    ----------
    as_of
        The day asked about; models released later do not count. Default: the day of the vintage.
    since
        First day that G5 and G6 average over. Default: twelve months before --as-of.
    vintage
        The published data as it stood on that day. Default: the newest.
    without
        Leave this model out; may be repeated.
    only
        Only private or only public benchmarks.
    private_list
        Which list says what is private.
    reported_by
        Only scores reported by the developers, or only by others.
    max_params
        Only open models with at most so many parameters, such as 40B.
    fits_gb
        Only open models whose 16-bit weights fit so many gigabytes.
    override
        Correct dates or labels: release_scored, weights_published, access_label or all; may be repeated.
    benchmark
        Compare on one benchmark's score instead of the index.
    series
        Compare on a dated series: SOURCE:BENCHMARK[/VARIANT] of what was ingested, such as
        lmarena:LMArena text/overall, or a .csv file (model, access, released, value, ci_low, ci_high).
        Goes with --as-of, --since and --without alone.
    as_json
        Print one JSON document: `as_of`, `vintage`, `best_open`, `best_closed`, `definitions`.
    """
    from tracker.frontier.answer import frontier_document
    from tracker.frontier.facts import PrivateList, ReportedBy
    from tracker.frontier.question import Only, Question
    from tracker.frontier.tables import load_tables

    question = Question(
        vintage=day("--vintage", vintage),
        as_of=day("--as-of", as_of),
        since=day("--since", since),
        without=without,
        only=Only(only) if only else None,
        private_list=PrivateList(private_list),
        reported_by=ReportedBy(reported_by) if reported_by else None,
        max_params=size_limit(max_params, fits_gb),
        overrides=override_kinds(override),
        benchmark=benchmark,
    )
    if series is None:
        document = frontier_document(load_tables(), question, load_settings().frontier_path)
    else:
        document = _series_document(series, question)
    if as_json:
        print_json(document)
    else:
        _print(document)


def _series_document(name: str, question: Any) -> dict[str, Any]:
    """The answer on a series.

    Raises:
        UsageError: an option was given that only the published tables know.
    """
    from dataclasses import replace

    from tracker.frontier.answer import axis_document
    from tracker.frontier.gap import Window
    from tracker.frontier.question import Question
    from tracker.series import read_series

    if replace(question, as_of=None, since=None, without=()) != Question():
        raise UsageError(
            "--series takes --as-of, --since and --without; the other options belong to the published tables"
        )
    settings = load_settings()
    found = read_series(name, settings)
    as_of = question.as_of or found.vintage
    window = Window(question.since or Window.year_to(as_of).since, as_of)
    document = axis_document(
        found.axis.without(question.without), window, settings.frontier_path, unit="rating"
    )
    return document | {"vintage": found.vintage.isoformat(), "notes": list(found.notes)}


def day(option: str, text: str | None) -> date | None:
    """The day that `2026-08-11` names.

    Raises:
        TrackerError: it is no date.
    """
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise TrackerError(f"{option} {text}: is not a date", hint=f"{option} 2026-08-11") from error


def size_limit(max_params: str | None, fits_gb: float | None) -> int | None:
    """The smaller of both limits, in parameters."""
    from tracker.frontier.population import params_that_fit

    limits = [n_params(max_params)] if max_params is not None else []
    if fits_gb is not None:
        limits.append(params_that_fit(fits_gb))
    return min(limits, default=None)


def override_kinds(names: tuple[str, ...]) -> Any:
    """The kinds of override that are named; `all` is every one.

    Raises:
        UnknownNameError: there is no such kind.
    """
    from tracker.errors import UnknownNameError
    from tracker.frontier.facts import OverrideKind

    if "all" in names:
        return frozenset(OverrideKind)
    known = [kind.value for kind in OverrideKind]
    for name in names:
        if name not in known:
            raise UnknownNameError("override", name, known=[*known, "all"])
    return frozenset(OverrideKind(name) for name in names)


def number(value: float | None, digits: int = 1) -> str:
    """The number for people; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """`3.2 … 5.1`; empty where there is none."""
    return "" if low is None or high is None else f"{low:.{digits}f} … {high:.{digits}f}"


def print_notes(document: dict[str, Any]) -> None:
    """The notes and the attribution, on stderr."""
    for line in [*document.get("notes", []), *document.get("attribution", [])]:
        print(printable(line), file=sys.stderr)


def _print(document: dict[str, Any]) -> None:
    key = next(name for name in ("index", "score", "rating") if name in document["best_open"])
    digits = 3 if key == "score" else 1
    out = console()
    out.print(Text(f"as of {document['as_of']}, data of {document['vintage']}, axis: {document['axis']}"))
    for group in ("open", "closed"):
        best = document[f"best_{group}"]
        counted = f"{document[f'n_{group}']} {group} models"
        out.print(Text(f"best {group}: {printable(best['model'])}, {number(best[key], digits)} ({counted})"))
    table = Table("id", "behind by", "90 % interval", "n", "censored", "what it asks")
    for row in document["definitions"]:
        width = digits if row["id"] == "G5" else 1
        value = f"{number(row['value'], width)} {row['unit']}" if row["value"] is not None else "–"
        asks = QUESTIONS[row["id"]] + (f" – {row['note']}" if row["note"] else "")
        table.add_row(
            row["id"], value, interval(row["ci_low"], row["ci_high"], width),
            str(row["n"]), str(row["n_censored"]), asks,
        )  # fmt: skip
    out.print(table)
    print_notes(document)
