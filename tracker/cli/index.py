"""`tracker index`: fit the capability index, show it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from tracker.cli import print_json
from tracker.cli.frontier import JsonFlag, day, interval, number, print_notes
from tracker.cli.tables import console, printable
from tracker.settings import load_settings

SHOWN = 30  # models in the table for people; --json has all

app = App(name="index", help="The capability index: fit it, show it.")
Flag = Annotated[bool, Parameter(negative="")]


@app.command
def fit(
    *,
    vintage: str | None = None,
    reported_by: Literal["first_party", "third_party"] | None = None,
    ridge: float = 0.1,
    log_slope: Flag = False,
    binomial: Flag = False,
    draws: int = 500,
    as_json: JsonFlag = False,
) -> None:
    """Fit the index and its bootstrap draws anew, and say how the fit went.

    Parameters
    ----------
    vintage
        The published data as it stood on that day. Default: the newest.
    reported_by
        Only scores reported by the developers, or only by others.
    ridge
        Strength of the penalty; published: 0.1.
    log_slope
        Penalise the logarithm of slopes instead of the slopes.
    binomial
        Use a likelihood that knows how many items a benchmark has.
    draws
        Bootstrap refits behind the intervals.
    as_json
        Print one JSON document: `vintage`, `objective`, `fit_s`, `draws_s`, `published`.
    """
    from tracker.errors import TrackerError
    from tracker.frontier.answer import fit_document
    from tracker.frontier.facts import ReportedBy
    from tracker.frontier.index import FitOptions
    from tracker.frontier.question import Question
    from tracker.frontier.tables import load_published_index, load_tables

    if draws < 2:
        raise TrackerError(f"--draws {draws}: an interval needs at least 2")
    question = Question(
        vintage=day("--vintage", vintage),
        reported_by=ReportedBy(reported_by) if reported_by else None,
        options=FitOptions(ridge=ridge, log_slope=log_slope, binomial=binomial),
        n_draws=draws,
    )
    document = fit_document(load_tables(), question, load_published_index(), load_settings().frontier_path)
    if as_json:
        print_json(document)
    else:
        _print_fit(document)


@app.command
def show(
    *,
    vintage: str | None = None,
    reported_by: Literal["first_party", "third_party"] | None = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the index of every model with its 90 % interval, and each benchmark's difficulty and slope.

    Parameters
    ----------
    vintage
        The published data as it stood on that day. Default: the newest.
    reported_by
        Only scores reported by the developers, or only by others.
    as_json
        Print one JSON document: `vintage`, `models`, `benchmarks`.
    """
    from tracker.frontier.answer import index_document
    from tracker.frontier.facts import ReportedBy
    from tracker.frontier.question import Question
    from tracker.frontier.tables import load_tables

    reporter = ReportedBy(reported_by) if reported_by else None
    question = Question(vintage=day("--vintage", vintage), reported_by=reporter)
    document = index_document(load_tables(), question, load_settings().frontier_path)
    if as_json:
        print_json(document)
    else:
        _print_index(document)


def _print_fit(document: dict[str, Any]) -> None:
    out = console()
    out.print(Text(
        f"vintage {document['vintage']}: {document['n_scores']:,} scores, {document['n_models']} models, "
        f"{document['n_benchmarks']} benchmarks; objective {document['objective']:.6f}"
    ))  # fmt: skip
    out.print(Text(f"fit {document['fit_s']:.2f} s, {document['n_draws']} draws {document['draws_s']:.1f} s"))
    if published := document["published"]:
        out.print(Text(
            f"against {published['n']} published values: mean error {published['mean_abs_error']:.3f}, "
            f"largest {published['max_abs_error']:.3f}"
        ))  # fmt: skip
    print_notes(document)


def _print_index(document: dict[str, Any]) -> None:
    out = console()
    models = Table("model", "index", "90 % interval", "access", "released", "benchmarks")
    for row in document["models"][:SHOWN]:
        models.add_row(
            printable(row["model"]), number(row["index"]), interval(row["ci_low"], row["ci_high"]),
            row["access"], row["released"], str(row["n_benchmarks"]),
        )  # fmt: skip
    out.print(models)
    left = len(document["models"]) - SHOWN
    if left > 0:
        out.print(Text(f"… and {left} more models; --json lists all"))
    benchmarks = Table("benchmark", "difficulty", "slope", "models")
    for row in document["benchmarks"]:
        benchmarks.add_row(
            printable(row["benchmark"]),
            number(row["difficulty"]),
            number(row["slope"], 3),
            str(row["n_models"]),
        )
    out.print(benchmarks)
    print_notes(document)
