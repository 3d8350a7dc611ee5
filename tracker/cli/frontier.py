"""`tracker frontier`: how far open models are behind closed models, by each definition of the gap."""

from __future__ import annotations

import sys
from datetime import date
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from tracker.cli import print_json
from tracker.cli.help import AXIS, DATA, FILTERS, JsonDocument, command_app
from tracker.cli.tables import console
from tracker.foreign_text import one_line
from tracker.settings import load_settings

Vintage = Annotated[
    str | None,
    Parameter(group=DATA, help="Published data as of this day; default: the newest."),
]
AsOf = Annotated[
    str | None,
    Parameter(
        group=DATA,
        help="Day to evaluate, with the data known then and no later models; default: the newest data.",
    ),
]
Names = tuple[str, ...]
OLD_STYLE = "dark_orange"  # of data older than `tracker.answers.vintages.OLD_DAYS`
PrivateListName = Literal["epoch_list", "extended_list"]

app = command_app(name="frontier")


@app.default
def frontier(
    *,
    as_of: AsOf = None,
    since: Annotated[str | None, Parameter(group=DATA)] = None,
    vintage: Vintage = None,
    without: Annotated[Names, Parameter(group=FILTERS)] = (),
    only: Annotated[Literal["private", "public"] | None, Parameter(group=FILTERS)] = None,
    private_list: Annotated[PrivateListName, Parameter(group=FILTERS)] = "extended_list",
    reported_by: Annotated[Literal["first_party", "third_party"] | None, Parameter(group=FILTERS)] = None,
    redistributable: Annotated[bool, Parameter(group=FILTERS)] = False,
    max_params: Annotated[str | None, Parameter(group=FILTERS)] = None,
    fits_gb: Annotated[float | None, Parameter(group=FILTERS)] = None,
    bits: Annotated[float | None, Parameter(group=FILTERS)] = None,
    override: Annotated[Names, Parameter(group=DATA)] = (),
    benchmark: Annotated[str | None, Parameter(group=AXIS)] = None,
    series: Annotated[str | None, Parameter(group=AXIS)] = None,
    as_json: JsonDocument = False,
) -> None:
    """Show how far open models are behind closed models, in months and points, by each definition of the gap.

    Parameters
    ----------
    since
        First day of averages over days; default: twelve months before `--as-of`.
    without
        Leave out this model; repeatable.
    only
        Only private or only public benchmarks.
    private_list
        List that says which benchmarks are private.
    reported_by
        Only scores reported by the developer (first_party) or by others (third_party).
    redistributable
        Only scores whose license allows redistribution: Epoch AI's own evaluations, and leaderboards with an
        open license.
    max_params
        Only open models with at most N parameters, e.g. 40B.
    fits_gb
        Only open models that fit in N GB of memory (10^9 bytes), and the best of them over time; with 16-bit
        weights unless `--bits` says otherwise.
    bits
        Bits of a weight for `--fits-gb`, e.g. 4; 4 and 8 take 4.89 and 8.5 bits, as in files of Q4_K_M and
        Q8_0. Scores stay those of the published weights: quantization is
        assumed to cost nothing.
    override
        Correct dates or labels: release_scored, weights_published, access_label or all; repeatable.
    benchmark
        Compare models by their scores on this benchmark instead of by the index.
    series
        Compare an ingested series, SOURCE:BENCHMARK[/VARIANT], e.g. "lmarena:LMArena text/overall", or a .csv
        file with the columns model, access, released, value, ci_low, ci_high. Only `--as-of`, `--since` and
        `--without` can be combined with it.
    as_json
        Print one JSON document: `as_of`, `vintage`, `age_days`, `best_open`, `best_closed`, `headline`,
        `definitions`, `measured`, `not_placed`, `best_that_fits`.
    """
    from tracker.answers.asked import FrontierOptions, answer_asked, asked_document
    from tracker.cli.frontier_measured import print_best_that_fits, print_measured

    asked = FrontierOptions(
        as_of=as_of,
        since=since,
        vintage=vintage,
        without=without,
        only=only,
        private_list=private_list,
        reported_by=reported_by,
        redistributable=redistributable,
        max_params=max_params,
        fits_gb=fits_gb,
        bits=bits,
        override=override,
        benchmark=benchmark,
        series=series,
    )
    settings = load_settings()
    found = answer_asked(asked, settings)
    document = asked_document(asked, found, settings)
    if as_json:
        print_json(document)
    else:
        _print(document, found.unit)
        print_best_that_fits(document, found.unit)
        print_measured(document)


def number(value: float | None, digits: int = 1) -> str:
    """The rounded number; a dash if there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """`3.2 … 5.1`; empty if there is no interval."""
    return "" if low is None or high is None else f"{low:.{digits}f} … {high:.{digits}f}"


def data_text(document: dict[str, Any]) -> str:
    """Day and age of the data: `data of 11 Aug 2026, 109 days old`."""
    from tracker.answers.vintages import DataAge

    return DataAge(date.fromisoformat(document["vintage"]), document["age_days"]).text


def print_notes(document: dict[str, Any]) -> None:
    """Print the notes and the attribution on stderr."""
    for line in [*document.get("notes", []), *document.get("attribution", [])]:
        print(one_line(line), file=sys.stderr)


def _print(document: dict[str, Any], unit: str) -> None:
    digits = 3 if unit == "score" else 1
    out = console()
    style = OLD_STYLE if document["is_old"] else ""
    out.print(
        Text.assemble(
            f"as of {document['as_of']}, ", (data_text(document), style), f", axis: {document['axis']}"
        )
    )
    for group in ("open", "closed"):
        best = document[f"best_{group}"]
        counted = f"{document[f'n_{group}']} {group} models"
        out.print(
            Text(f"best {group}: {one_line(best['model'])}, {number(best['value'], digits)} ({counted})")
        )
    for row in document["definitions"]:
        if row["id"] == document["headline"]:
            out.print(Text(f"open models trail by: {_headline(row)}"))
    table = Table("id", "behind by", "90% interval", "n", "censored", "definition")
    for row in document["definitions"]:
        width = digits if row["unit"] == unit else 1
        value = f"{number(row['value'], width)} {row['unit']}" if row["value"] is not None else "–"
        asks = row["question"] + (f" – {row['note']}" if row["note"] else "")
        table.add_row(
            row["id"], value, interval(row["ci_low"], row["ci_high"], width),
            str(row["n"]), str(row["n_censored"]), asks,
        )  # fmt: skip
    out.print(table)
    print_notes(document)


def _headline(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return f"unknown ({row['id']}: {row['note']})"
    ends = interval(row["ci_low"], row["ci_high"])
    return f"{number(row['value'])} {row['unit']} ({row['id']}{f', 90% interval {ends}' if ends else ''})"
