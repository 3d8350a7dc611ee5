"""`tracker index`: fit or show the capability index."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from tracker.answers.options import day
from tracker.cli import print_json
from tracker.cli.frontier import Vintage, data_text, interval, number, print_notes
from tracker.cli.help import FILTERS, JsonDocument, command_app
from tracker.cli.tables import cell, console, print_table
from tracker.settings import load_settings

SHOWN = 30  # models in the table for people; --json has all
MOST_DRAWS = 100_000  # 200 times the default

app = command_app(name="index", help="Fit or show the capability index.")
Reporter = Annotated[Literal["first_party", "third_party"] | None, Parameter(group=FILTERS)]
Redistributable = Annotated[bool, Parameter(group=FILTERS)]


@app.command
def fit(
    *,
    vintage: Vintage = None,
    reported_by: Reporter = None,
    redistributable: Redistributable = False,
    ridge: float = 0.1,
    log_slope: bool = False,
    binomial: bool = False,
    draws: int = 500,
    as_json: JsonDocument = False,
) -> None:
    """Fit the index and its bootstrap draws, and report the quality of the fit.

    Parameters
    ----------
    reported_by
        Only scores reported by the developer (first_party) or by others (third_party).
    redistributable
        Only scores whose license allows redistribution: Epoch AI's own evaluations, and leaderboards with an
        open license.
    ridge
        Strength of the penalty; the published index uses 0.1.
    log_slope
        Penalize the logarithms of the slopes instead of the slopes.
    binomial
        Use a binomial likelihood, which accounts for the number of items in each benchmark.
    draws
        Number of bootstrap refits for the intervals.
    as_json
        Print one JSON document: `vintage`, `objective`, `fit_s`, `draws_s`, `published`.
    """
    from tracker.answers.frontier import fit_document
    from tracker.answers.vintages import tables_for
    from tracker.errors import TrackerError
    from tracker.frontier.facts import ReportedBy
    from tracker.frontier.index import FitOptions
    from tracker.frontier.question import Question

    if not 2 <= draws <= MOST_DRAWS:
        raise TrackerError(
            f"`--draws {draws}` must be from 2 to {MOST_DRAWS:,}", hint="example: `--draws 500`"
        )
    question = Question(
        vintage=day("vintage", vintage),
        reported_by=ReportedBy(reported_by) if reported_by else None,
        redistributable=redistributable,
        options=FitOptions(ridge=ridge, log_slope=log_slope, binomial=binomial),
        n_draws=draws,
    )
    settings = load_settings()
    document = fit_document(tables_for(settings, question), question, settings)
    if as_json:
        print_json(document)
    else:
        _print_fit(document)


@app.command
def show(
    *,
    vintage: Vintage = None,
    reported_by: Reporter = None,
    redistributable: Redistributable = False,
    as_json: JsonDocument = False,
) -> None:
    """Show each model's index with its 90% interval, and each benchmark's difficulty and slope.

    Parameters
    ----------
    reported_by
        Only scores reported by the developer (first_party) or by others (third_party).
    redistributable
        Only scores whose license allows redistribution: Epoch AI's own evaluations, and leaderboards with an
        open license.
    as_json
        Print one JSON document: `vintage`, `models`, `benchmarks`.
    """
    from tracker.answers.frontier import index_document
    from tracker.answers.vintages import tables_for
    from tracker.frontier.facts import ReportedBy
    from tracker.frontier.question import Question

    reporter = ReportedBy(reported_by) if reported_by else None
    question = Question(
        vintage=day("vintage", vintage), reported_by=reporter, redistributable=redistributable
    )
    settings = load_settings()
    document = index_document(tables_for(settings, question), question, settings)
    if as_json:
        print_json(document)
    else:
        _print_index(document)


@app.command
def vintages(*, as_json: JsonDocument = False) -> None:
    """List every vintage of the published data, shipped or ingested, the newest first.

    Parameters
    ----------
    as_json
        Print one JSON document: `vintages`.
    """
    from tracker.answers.vintages import vintages_document

    document = vintages_document(load_settings())
    if as_json:
        print_json(document)
        return
    table = Table("data of", "days old", "source", "ingested", "models", "scores", "refit differs by", "note")
    for row in document["vintages"]:
        note = row["reason"] or ""
        table.add_row(
            row["day"], str(row["age_days"]), row["source"], row["ingested_on"] or "–", str(row["n_models"]),
            f"{row['n_scores']:,}", number(row["refit_mean_error"], 3),
            cell(note if row["is_used"] else f"not used: {note}"),
        )  # fmt: skip
    console().print(table)


def _print_fit(document: dict[str, Any]) -> None:
    out = console()
    out.print(Text(
        f"{data_text(document)}: {document['n_scores']:,} scores, {document['n_models']} models, "
        f"{document['n_benchmarks']} benchmarks; objective {document['objective']:.6f}"
    ))  # fmt: skip
    out.print(Text(f"fit {document['fit_s']:.2f} s, {document['n_draws']} draws {document['draws_s']:.1f} s"))
    _print_agreement(document)
    print_notes(document)


def _print_agreement(document: dict[str, Any]) -> None:
    if published := document["published"]:
        console().print(Text(
            f"against {published['n']} published values: mean error {published['mean_abs_error']:.3f}, "
            f"largest {published['max_abs_error']:.3f}"
        ))  # fmt: skip


def _print_index(document: dict[str, Any]) -> None:
    out = console()
    out.print(Text(data_text(document)))
    _print_agreement(document)
    models = Table("model", "index", "90% interval", "published", "access", "released", "benchmarks")
    for row in document["models"][:SHOWN]:
        models.add_row(
            cell(row["model"]), number(row["index"]), interval(row["ci_low"], row["ci_high"]),
            number(row["published_index"]), row["access"], row["released"], str(row["n_benchmarks"]),
        )  # fmt: skip
    print_table(models, least=("benchmarks", "published", "access"), on=out)
    left = len(document["models"]) - SHOWN
    if left > 0:
        out.print(Text(f"{left} more models; `--json` lists all"))
    benchmarks = Table("benchmark", "difficulty", "slope", "models")
    for row in document["benchmarks"]:
        benchmarks.add_row(
            cell(row["benchmark"]),
            number(row["difficulty"]),
            number(row["slope"], 3),
            str(row["n_models"]),
        )
    out.print(benchmarks)
    print_notes(document)
