"""`tracker frontier lags|jaggedness|contamination|pareto|overrides`: what lies behind the one number."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from tracker.cli import print_json
from tracker.cli.frontier import JsonFlag, Names, app, day, interval, number, override_kinds, print_notes
from tracker.cli.tables import console, count, plain, printable
from tracker.errors import UsageError
from tracker.settings import load_settings

PrivateListName = Literal["epoch_list", "extended_list"]
SHOWN = 25  # rows in a table for people; --json has all


@app.command
def lags(
    *,
    as_of: str | None = None,
    vintage: str | None = None,
    private_list: PrivateListName = "extended_list",
    override: Names = (),
    as_json: JsonFlag = False,
) -> None:
    """Show the standing lag (G3) on each benchmark, with the newest open model that was scored on it.

    Parameters
    ----------
    as_of
        The day asked about. Default: the day of the vintage.
    vintage
        The published data as it stood on that day. Default: the newest.
    private_list
        Which list says what is private.
    override
        Correct dates or labels, as in `tracker frontier`.
    as_json
        Print one JSON document: `benchmarks`, `median_private`, `median_public`.
    """
    from tracker.frontier.facts import PrivateList
    from tracker.frontier.lags import lags as benchmark_lags
    from tracker.frontier.lags import median_months
    from tracker.frontier.population import labels
    from tracker.frontier.tables import ATTRIBUTION, load_tables

    tables = load_tables()
    rows = benchmark_lags(
        tables,
        labels(tables, override_kinds(override)),
        vintage=day("--vintage", vintage),
        as_of=day("--as-of", as_of),
        private_list=PrivateList(private_list),
    )
    document: dict[str, Any] = {
        "definition": "G3",
        "private_list": private_list,
        "median_private": median_months(rows, is_private=True),
        "median_public": median_months(rows, is_private=False),
        "benchmarks": [plain(asdict(row)) for row in rows],
        "notes": ["medians are over benchmarks with an open model of the last 14 months"],
        "attribution": list(ATTRIBUTION),
    }
    if as_json:
        print_json(document)
    else:
        _print_lags(document)


@app.command
def jaggedness(*, vintage: str | None = None, least: int = 8, as_json: JsonFlag = False) -> None:
    """Show how uneven each model is, with its worst and best benchmarks.

    Parameters
    ----------
    vintage
        The published data as it stood on that day. Default: the newest.
    least
        Only models with at least so many benchmarks: few make a model look smooth.
    as_json
        Print one JSON document: `models`.
    """
    from tracker.frontier.dataset import select
    from tracker.frontier.index import fit_index
    from tracker.frontier.jaggedness import jaggedness as measure
    from tracker.frontier.tables import ATTRIBUTION, load_tables

    data = select(load_tables(), vintage=day("--vintage", vintage))
    rows = measure(fit_index(data), least_benchmarks=least)
    document = {"models": [plain(asdict(row)) for row in rows], "attribution": list(ATTRIBUTION)}
    if as_json:
        print_json(document)
        return
    table = Table("model", "index", "J1", "J2", "J3", "benchmarks", "p", "worst", "best")
    for row in rows[:SHOWN]:
        table.add_row(
            printable(row.model), number(row.index), number(row.j1, 3), number(row.j2, 2), number(row.j3),
            str(row.n_benchmarks), number(row.p_value, 3),
            ", ".join(standing.benchmark for standing in row.worst[:2]),
            ", ".join(standing.benchmark for standing in row.best[:2]),
        )  # fmt: skip
    console().print(table)
    print_notes(document)


@app.command
def contamination(
    *, vintage: str | None = None, private_list: PrivateListName = "epoch_list", as_json: JsonFlag = False
) -> None:
    """Compare each model's index on what it cannot have seen with its index on everything.

    Parameters
    ----------
    vintage
        The published data as it stood on that day. Default: the newest.
    private_list
        Which list says what is private.
    as_json
        Print one JSON document: `models`.
    """
    from tracker.frontier.contamination import contamination as measure
    from tracker.frontier.facts import PrivateList
    from tracker.frontier.population import labels
    from tracker.frontier.question import Question, fitted
    from tracker.frontier.tables import ATTRIBUTION, load_tables

    tables = load_tables()
    found = fitted(tables, Question(vintage=day("--vintage", vintage)), load_settings().frontier_path)
    rows = measure(tables, found.fit, found.draws, labels(tables), PrivateList(private_list))
    document = {
        "private_list": private_list,
        "models": [plain(asdict(row)) for row in rows],
        "attribution": list(ATTRIBUTION),
    }
    if as_json:
        print_json(document)
        return
    table = Table("model", "index", "unseen", "difference", "90 % interval", "unseen benchmarks", "of")
    for row in rows[:SHOWN]:
        table.add_row(
            printable(row.model), number(row.index), number(row.unseen_index), number(row.difference),
            interval(row.ci_low, row.ci_high), str(row.n_unseen), str(row.n_benchmarks),
        )  # fmt: skip
    console().print(table)
    print_notes(document)


@app.command
def pareto(
    *,
    cost: Literal["params", "price", "memory", "time"] = "params",
    task: str | None = None,
    vintage: str | None = None,
    as_json: JsonFlag = False,
) -> None:
    """Show which models give most for what they cost, with the probability that nothing beats them.

    Parameters
    ----------
    cost
        Parameters of open models, or US dollars per million output tokens of all models, by published
        scores; or peak memory or time per output token of the models measured here.
    task
        With memory or time: the score on this task instead of the index.
    vintage
        The published data as it stood on that day. Default: the newest.
    as_json
        Print one JSON document: `cost`, `axis`, `models`.
    """
    from tracker.offers import MeasuredCost

    if cost in tuple(MeasuredCost):
        if vintage is not None:
            raise UsageError("--vintage chooses published scores; --cost memory and time are measured here")
        document = _measured_pareto(MeasuredCost(cost), task)
    elif task is not None:
        raise UsageError("--task goes with what was measured here", hint="--cost memory or --cost time")
    else:
        document = _published_pareto(cost, vintage)
    if as_json:
        print_json(document)
    else:
        _print_pareto(document)


def _published_pareto(cost: str, vintage: str | None) -> dict[str, Any]:
    from tracker.frontier.pareto import pareto_frontier
    from tracker.frontier.population import prices, sizes
    from tracker.frontier.question import Question, axis, fitted
    from tracker.frontier.tables import ATTRIBUTION, load_tables

    tables = load_tables()
    question = Question(vintage=day("--vintage", vintage))
    chosen = axis(tables, question, fitted(tables, question, load_settings().frontier_path))
    rows = pareto_frontier(chosen, sizes(tables) if cost == "params" else prices(tables))
    return {
        "cost": cost,
        "axis": "index",
        "models": [plain(asdict(row)) for row in rows],
        "attribution": list(ATTRIBUTION),
    }


def _measured_pareto(cost: Any, task: str | None) -> dict[str, Any]:
    from tracker.offers import measured_offers

    found = measured_offers(load_settings(), cost, task=task)
    models = [plain(asdict(row)) for row in found.offers]
    return {"cost": cost.value, "axis": found.axis, "models": models, "notes": list(found.notes)}


COSTS = {"params": "parameters", "price": "$ per Mtok out", "memory": "peak memory", "time": "tokens/s"}


def _print_pareto(document: dict[str, Any]) -> None:
    cost, axis = document["cost"], document["axis"]
    table = Table("model", COSTS[cost], printable(axis), "90 % interval", "on the frontier")
    digits = 1 if axis == "index" else 3
    for row in document["models"]:
        if row["on_frontier"] or row["probability"] >= 0.05:
            table.add_row(
                printable(row["model"]), _spent(cost, row["cost"]), number(row["value"], digits),
                interval(row["ci_low"], row["ci_high"], digits), f"{row['probability']:.0%}",
            )  # fmt: skip
    console().print(table)
    print_notes(document)


def _spent(cost: str, value: float) -> str:
    if cost == "params":
        return count(int(value))
    if cost == "memory":
        return f"{value / 1e9:.2f} GB"
    return f"{1.0 / value:,.1f}" if cost == "time" else f"{value:g}"


@app.command
def overrides(*, as_of: str | None = None, vintage: str | None = None, as_json: JsonFlag = False) -> None:
    """Show what correcting dates and labels does to each definition, and every correction with its reason.

    Parameters
    ----------
    as_of
        The day asked about. Default: the day of the vintage.
    vintage
        The published data as it stood on that day. Default: the newest.
    as_json
        Print one JSON document: `effects`, `overrides`.
    """
    from tracker.frontier.answer import override_document
    from tracker.frontier.question import Question
    from tracker.frontier.tables import load_tables

    question = Question(vintage=day("--vintage", vintage), as_of=day("--as-of", as_of))
    document = override_document(load_tables(), question, load_settings().frontier_path)
    if as_json:
        print_json(plain(document))
        return
    _print_overrides(document)


def _print_lags(document: dict[str, Any]) -> None:
    table = Table("benchmark", "G3 months", "private", "best open", "newest open scored", "released", "stale")
    for row in document["benchmarks"]:
        table.add_row(
            printable(row["benchmark"]), number(row["months"]), _yes(row["is_private"]),
            printable(row["best_open"]), printable(row["newest_open"]), row["newest_open_released"],
            _yes(row["is_stale"]),
        )  # fmt: skip
    console().print(table)
    for name in ("private", "public"):
        median = document[f"median_{name}"]
        listed = document["private_list"]
        console().print(Text(f"median G3 on {name} benchmarks ({listed}): {number(median)} months"))
    print_notes(document)


def _print_overrides(document: dict[str, Any]) -> None:
    names = list(document["effects"][0]["definitions"])
    effects = Table("corrected", *(f"{name} {'points' if name == 'G5' else 'months'}" for name in names))
    for row in document["effects"]:
        effects.add_row(row["overrides"], *(number(row["definitions"][name]) for name in names))
    console().print(effects)
    table = Table("kind", "model", "field", "value", "reason")
    for row in document["overrides"]:
        table.add_row(*(printable(str(row[key])) for key in ("kind", "model", "field", "value", "reason")))
    console().print(table)


def _yes(flag: bool) -> str:
    return "yes" if flag else ""
