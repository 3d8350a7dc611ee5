"""`tracker frontier history|outlook|lags|jaggedness|…`: the gap over time, and the details behind it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from rich.table import Column, Table
from rich.text import Text

from tracker.answers.options import day
from tracker.cli import print_json
from tracker.cli.frontier import (
    OLD_STYLE,
    AsOf,
    Names,
    PrivateListName,
    Vintage,
    app,
    data_text,
    interval,
    number,
    print_notes,
)
from tracker.cli.help import JsonDocument
from tracker.cli.tables import cell, console, count, plain
from tracker.errors import UsageError
from tracker.foreign_text import printable
from tracker.frontier.definitions import HEADLINE
from tracker.settings import load_settings

SHOWN = 25  # rows in a table for people; --json has all
SHOWN_BENCHMARKS = 2  # names in a cell


@app.command
def lags(
    *,
    as_of: AsOf = None,
    vintage: Vintage = None,
    private_list: PrivateListName = "extended_list",
    override: Names = (),
    as_json: JsonDocument = False,
) -> None:
    """Show the lag on each benchmark, with the newest open model scored on it.

    Parameters
    ----------
    private_list
        List that says which benchmarks are private.
    override
        Correct dates or labels, as in `tracker frontier`.
    as_json
        Print one JSON document: `benchmarks`, `median_private`, `median_public`.
    """
    from tracker.answers.asked import override_kinds
    from tracker.answers.frontier import benchmark_lags, lags_document
    from tracker.answers.vintages import data_document, tables_for
    from tracker.frontier.facts import PrivateList
    from tracker.frontier.question import Question

    settings = load_settings()
    question = Question(
        vintage=day("vintage", vintage),
        as_of=day("as_of", as_of),
        private_list=PrivateList(private_list),
        overrides=override_kinds(override),
    )
    tables = tables_for(settings, question)
    data = data_document(tables, question, settings)
    document = plain(lags_document(benchmark_lags(tables, question), question.private_list, data))
    if as_json:
        print_json(document)
    else:
        _print_lags(document)


@app.command
def jaggedness(*, vintage: Vintage = None, least: int = 8, as_json: JsonDocument = False) -> None:
    """Show how uneven each model is, with its worst and best benchmarks.

    Parameters
    ----------
    least
        Only models with scores on at least N benchmarks; with fewer, a model looks more even than it is.
    as_json
        Print one JSON document: `models`.
    """
    from tracker.answers.frontier import uneven_models
    from tracker.answers.vintages import data_document, tables_for
    from tracker.frontier.question import Question
    from tracker.frontier.tables import ATTRIBUTION

    settings, question = load_settings(), Question(vintage=day("vintage", vintage))
    tables = tables_for(settings, question)
    rows = uneven_models(tables, question, least_benchmarks=least)
    data = data_document(tables, question, settings)
    document = {**data, "models": [plain(asdict(row)) for row in rows], "attribution": list(ATTRIBUTION)}
    if as_json:
        print_json(document)
        return
    table = Table("model", "index", "J1", "J2", "J3", "benchmarks", "p", "worst", "best")
    for row in rows[:SHOWN]:
        table.add_row(
            cell(row.model), number(row.index), number(row.j1, 3), number(row.j2, 2), number(row.j3),
            str(row.n_benchmarks), number(row.p_value, 3),
            ", ".join(standing.benchmark for standing in row.worst[:2]),
            ", ".join(standing.benchmark for standing in row.best[:2]),
        )  # fmt: skip
    console().print(table)
    print_notes(document)


@app.command
def contamination(
    *, vintage: Vintage = None, private_list: PrivateListName = "epoch_list", as_json: JsonDocument = False
) -> None:
    """Compare each model's index on benchmarks it cannot have seen with its index on all benchmarks.

    Parameters
    ----------
    private_list
        List that says which benchmarks are private.
    as_json
        Print one JSON document: `models`.
    """
    from tracker.answers.frontier import unseen_models
    from tracker.answers.vintages import data_document, tables_for
    from tracker.frontier.facts import PrivateList
    from tracker.frontier.question import Question
    from tracker.frontier.tables import ATTRIBUTION

    settings = load_settings()
    question = Question(vintage=day("vintage", vintage), private_list=PrivateList(private_list))
    tables = tables_for(settings, question)
    rows = unseen_models(tables, question, settings.frontier_path)
    document = {
        **data_document(tables, question, settings),
        "private_list": private_list,
        "models": [plain(asdict(row)) for row in rows],
        "attribution": list(ATTRIBUTION),
    }
    if as_json:
        print_json(document)
        return
    table = Table("model", "index", "unseen", "difference", "90% interval", "unseen benchmarks", "of")
    for row in rows[:SHOWN]:
        table.add_row(
            cell(row.model), number(row.index), number(row.unseen_index), number(row.difference),
            interval(row.ci_low, row.ci_high), str(row.n_unseen), str(row.n_benchmarks),
        )  # fmt: skip
    console().print(table)
    print_notes(document)


@app.command
def pareto(
    *,
    cost: Literal["params", "price", "memory", "time", "speed"] = "params",
    task: str | None = None,
    vintage: Vintage = None,
    as_json: JsonDocument = False,
) -> None:
    """Show the models with the best score for their cost, with the probability that none beats them.

    Parameters
    ----------
    cost
        params: parameters of open models; price: US dollars per million output tokens; memory and time: peak
        memory and time per output token of models measured here; speed: time per output token of one request
        at a time, as `tracker bench MODEL --speed` measured it.
    task
        With `--cost memory`, `time` or `speed`: use the score on this task instead of the index.
    as_json
        Print one JSON document: `cost`, `axis`, `models`.
    """
    from tracker.answers.pareto import (
        MeasuredCost,
        PublishedCost,
        measured_offers,
        pareto_document,
        published_offers,
    )
    from tracker.frontier.question import Question

    if cost in tuple(MeasuredCost):
        if vintage is not None:
            raise UsageError(
                f"`--vintage` cannot be combined with `--cost {cost}`, which is measured here",
                hint="use `--cost params` or `--cost price`",
            )
        found = measured_offers(load_settings(), MeasuredCost(cost), task=task)
    elif task is not None:
        raise UsageError(
            f"`--task` cannot be combined with `--cost {cost}`, which uses published scores",
            hint="use `--cost memory`, `--cost time` or `--cost speed`",
        )
    else:
        question = Question(vintage=day("vintage", vintage))
        found = published_offers(load_settings(), PublishedCost(cost), question)
    document = plain(pareto_document(found))
    if as_json:
        print_json(document)
    else:
        _print_pareto(document)


@app.command
def history(
    *,
    definition: str = HEADLINE,
    as_of: AsOf = None,
    vintage: Vintage = None,
    without: Names = (),
    only: Literal["private", "public"] | None = None,
    max_params: str | None = None,
    override: Names = (),
    benchmark: str | None = None,
    as_json: JsonDocument = False,
) -> None:
    """Show the gap at the end of each month of three years, with its interval.

    Every month end is computed from the same data, with the models released by then.

    Parameters
    ----------
    definition
        Definition of the gap, as `tracker frontier` lists them.
    without
        Leave out this model; repeatable.
    only
        Only private or only public benchmarks.
    max_params
        Only open models with at most N parameters, e.g. 40B.
    override
        Correct dates or labels, as in `tracker frontier`.
    benchmark
        Compare models by their scores on this benchmark instead of by the index.
    as_json
        Print one JSON document: `definition`, `unit`, `months`.
    """
    from tracker.answers.asked import FrontierOptions
    from tracker.answers.outlook import gap_history, history_document

    asked = FrontierOptions(
        as_of=as_of, vintage=vintage, without=without, only=only, max_params=max_params,
        override=override, benchmark=benchmark,
    )  # fmt: skip
    found = gap_history(asked.question(), load_settings(), name=definition)
    document = history_document(found)
    if as_json:
        print_json(document)
        return
    console().print(Text(data_text(document), OLD_STYLE if document["is_old"] else ""))
    digits = 3 if found.unit == "score" else 1
    table = Table("month end", f"{found.definition}: {found.unit} behind", "90% interval", "n")
    for row in found.months:
        ends = interval(row.ci_low, row.ci_high, digits)
        table.add_row(row.as_of.isoformat(), number(row.value, digits), ends, str(row.n))
    console().print(table)
    print_notes(document)


@app.command
def outlook(
    *,
    as_of: AsOf = None,
    vintage: Vintage = None,
    without: Names = (),
    override: Names = (),
    as_json: JsonDocument = False,
) -> None:
    """Show when open models are expected at today's best closed level, and whether the gap closes.

    Parameters
    ----------
    without
        Leave out this model; repeatable.
    override
        Correct dates or labels, as in `tracker frontier`.
    as_json
        Print one JSON document: `distance`, `trend`, `catch_up`, `sentences`.
    """
    from tracker.answers.asked import FrontierOptions
    from tracker.answers.outlook import outlook as look_ahead
    from tracker.answers.outlook import outlook_document

    asked = FrontierOptions(as_of=as_of, vintage=vintage, without=without, override=override)
    document = outlook_document(look_ahead(asked.question(), load_settings()))
    if as_json:
        print_json(document)
        return
    console().print(Text(data_text(document), OLD_STYLE if document["is_old"] else ""))
    for sentence in document["sentences"]:
        console().print(Text(printable(sentence)))
    print_notes(document)


COSTS = {
    "params": "parameters",
    "price": "$ per Mtok output",
    "memory": "peak memory",
    "time": "tokens/s",
    "speed": "tokens/s, one request",
}


def _print_pareto(document: dict[str, Any]) -> None:
    cost, axis = document["cost"], document["axis"]
    is_measured = any(row["measured_on"] for row in document["models"])
    table = Table("model", COSTS[cost], Column(cell(axis)), "90% interval", "on the frontier")
    if is_measured:
        table.add_column("measured on")
    digits = 1 if axis == "index" else 3
    for row in document["models"]:
        if row["on_frontier"] or row["probability"] >= 0.05:
            table.add_row(
                cell(row["model"]), _spent(cost, row["cost"]), number(row["value"], digits),
                interval(row["ci_low"], row["ci_high"], digits), f"{row['probability']:.0%}",
                *([cell(f"{row['device'] or 'unknown'}, {row['measured_on']}")] if is_measured else []),
            )  # fmt: skip
    console().print(table)
    print_notes(document)


def _spent(cost: str, value: float) -> str:
    if cost == "params":
        return count(int(value))
    if cost == "memory":
        return f"{value / 1e9:.2f} GB"
    return f"{1.0 / value:,.1f}" if cost in ("time", "speed") else f"{value:g}"


@app.command
def overrides(*, as_of: AsOf = None, vintage: Vintage = None, as_json: JsonDocument = False) -> None:
    """Show how corrections of dates and labels change each definition, and the reason for each correction.

    Parameters
    ----------
    as_json
        Print one JSON document: `effects`, `overrides`.
    """
    from tracker.answers.frontier import override_document
    from tracker.answers.vintages import tables_for
    from tracker.frontier.question import Question

    settings = load_settings()
    question = Question(vintage=day("vintage", vintage), as_of=day("as_of", as_of))
    document = override_document(tables_for(settings, question), question, settings)
    if as_json:
        print_json(plain(document))
        return
    _print_overrides(document)


@app.command
def licenses(*, vintage: Vintage = None, as_json: JsonDocument = False) -> None:
    """Show who measured the published scores, under which terms, and how many scores each has.

    Parameters
    ----------
    as_json
        Print one JSON document: `by_redistribution`, `terms`.
    """
    from tracker.answers.licenses import terms_document
    from tracker.answers.vintages import tables_for
    from tracker.frontier.question import Question

    question = Question(vintage=day("vintage", vintage))
    document = terms_document(tables_for(load_settings(), question), question.vintage)
    if as_json:
        print_json(document)
        return
    table = Table("measured by", "license", "redistribution", "scores", "benchmarks")
    for row in document["terms"]:
        listed = row["benchmarks"]
        table.add_row(
            cell(row["measured_by"]),
            cell(row["license"]),
            row["redistribution"].replace("_", " "),
            str(row["n_scores"]),
            cell(", ".join(listed) if len(listed) <= SHOWN_BENCHMARKS else f"{len(listed)} benchmarks"),
        )
    console().print(table)
    counts = document["by_redistribution"]
    console().print(
        Text(
            f"{document['n_scores']:,} scores of {document['vintage']}: redistribution allowed for "
            f"{counts['allowed']:,}, not allowed for {counts['not_allowed']:,}, not stated for "
            f"{counts['not_stated']:,}"
        )
    )
    print_notes(document)


def _print_lags(document: dict[str, Any]) -> None:
    table = Table(
        "benchmark",
        f"{document['definition']} months",
        "private",
        "best open",
        "newest open scored",
        "released",
        "stale",
    )
    for row in document["benchmarks"]:
        table.add_row(
            cell(row["benchmark"]), number(row["months"]), _yes(row["is_private"]),
            cell(row["best_open"]), cell(row["newest_open"]), row["newest_open_released"],
            _yes(row["is_stale"]),
        )  # fmt: skip
    console().print(table)
    for name in ("private", "public"):
        median = document[f"median_{name}"]
        listed = document["private_list"]
        console().print(
            Text(f"median {document['definition']} on {name} benchmarks ({listed}): {number(median)} months")
        )
    print_notes(document)


def _print_overrides(document: dict[str, Any]) -> None:
    from tracker.frontier.definitions import DEFINITIONS

    names = [each.id for each in DEFINITIONS]
    effects = Table("corrected", *(f"{each.id} {each.unit or 'points'}" for each in DEFINITIONS))
    for row in document["effects"]:
        effects.add_row(row["overrides"], *(number(row["definitions"][name]) for name in names))
    console().print(effects)
    table = Table("kind", "model", "field", "value", "reason")
    for row in document["overrides"]:
        table.add_row(*(cell(row[key]) for key in ("kind", "model", "field", "value", "reason")))
    console().print(table)


def _yes(flag: bool) -> str:
    return "yes" if flag else ""
