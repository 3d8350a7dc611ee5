"""Answers as plain values for the command line and the app: the JSON contract in one place."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from tracker.frontier.axis import Axis
from tracker.frontier.cache import cached_draws, cached_gaps
from tracker.frontier.dataset import select
from tracker.frontier.facts import OverrideKind, PublishedIndex
from tracker.frontier.gap import Window, central_gaps
from tracker.frontier.index import INTERVAL, fit_index
from tracker.frontier.population import labels, small_name
from tracker.frontier.question import Fitted, Question, axis, fitted, window
from tracker.frontier.tables import ATTRIBUTION, Tables

Document = dict[str, Any]


def frontier_document(tables: Tables, question: Question, cache: Path | None) -> Document:
    """`as_of`, `vintage`, `best_open`, `best_closed`, `definitions`, and what the answer rests on.

    Raises:
        TrackerError: the question cannot be answered; says why.
    """
    days = window(tables, question)
    found = fitted(tables, question, cache) if question.benchmark is None else None
    chosen = axis(tables, question, found).until(days.as_of)
    unit = "index" if question.benchmark is None else "score"
    vintage = found.fit.data.vintage if found else (question.vintage or tables.vintages[-1])
    document = axis_document(chosen, days, cache, unit=unit)
    return document | {
        "vintage": vintage.isoformat(),
        "overrides": sorted(question.overrides),
        "notes": _notes(tables, question, found, chosen),
        "attribution": list(ATTRIBUTION),
    }


def axis_document(chosen: Axis, days: Window, cache: Path | None, *, unit: str) -> Document:
    """The part of the answer that any axis gives: the two best, the counts and the six definitions.

    Raises:
        TrackerError: no open or no closed model was out on the last day.
    """
    chosen = chosen.until(days.as_of)
    return {
        "as_of": days.as_of.isoformat(),
        "since": days.since.isoformat(),
        "vintage": days.as_of.isoformat(),
        "axis": chosen.name,
        "best_open": _best(chosen, unit, is_open=True),
        "best_closed": _best(chosen, unit, is_open=False),
        "n_open": int(chosen.is_open.sum()),
        "n_closed": int((~chosen.is_open).sum()),
        "definitions": [asdict(row) for row in cached_gaps(chosen, days, cache, unit=unit)],
        "overrides": [],
        "notes": [],
        "attribution": [],
    }


def override_document(tables: Tables, question: Question, cache: Path | None) -> Document:
    """What each kind of override, and all together, does to the six definitions; and every override."""
    days = window(tables, question)
    found = fitted(tables, question, cache)
    choices: list[tuple[str, frozenset[OverrideKind]]] = [("none", frozenset())]
    choices += [(kind.value, frozenset({kind})) for kind in OverrideKind]
    choices.append(("all", frozenset(OverrideKind)))
    effects = []
    for name, kinds in choices:
        chosen = axis(tables, replace(question, overrides=kinds), found)
        effects.append({"overrides": name, "definitions": central_gaps(chosen, days)})
    return {
        "as_of": days.as_of.isoformat(),
        "vintage": found.fit.data.vintage.isoformat(),
        "effects": effects,
        "overrides": [asdict(row) for row in tables.overrides],
    }


def fit_document(
    tables: Tables, question: Question, published: Sequence[PublishedIndex], cache: Path | None
) -> Document:
    """How a fit went: its size, objective and seconds, and its distance to the published values."""
    data = select(tables, vintage=question.vintage, reported_by=question.reported_by)
    began = time.perf_counter()
    fit = fit_index(data, question.options)
    fitted_at = time.perf_counter()
    draws = cached_draws(fit, cache, n_draws=question.n_draws)
    drawn_at = time.perf_counter()
    place = {model: i for i, model in enumerate(data.models)}
    errors = [
        abs(float(fit.index[place[row.model]]) - row.index)
        for row in published
        if row.vintage == data.vintage and row.model in place
    ]
    return {
        "vintage": data.vintage.isoformat(),
        "n_scores": int(data.score.size),
        "n_models": len(data.models),
        "n_benchmarks": len(data.benchmarks),
        "objective": fit.objective,
        "fit_s": fitted_at - began,
        "draws_s": drawn_at - fitted_at,
        "n_draws": int(draws.index.shape[0]),
        "published": _agreement(errors),
        "notes": list(data.notes),
    }


def index_document(tables: Tables, question: Question, cache: Path | None) -> Document:
    """`vintage`, `models` with index and interval, `benchmarks` with difficulty and slope."""
    found = fitted(tables, question, cache)
    fit, data = found.fit, found.fit.data
    by_model = labels(tables, question.overrides)
    low, high = np.quantile(found.draws.index, INTERVAL, axis=0)
    counts = data.n_benchmarks_of
    models = [
        {
            "model": model,
            "index": float(fit.index[i]),
            "ci_low": float(low[i]),
            "ci_high": float(high[i]),
            "access": by_model[model].access.value,
            "released": by_model[model].released.isoformat(),
            "n_benchmarks": int(counts[i]),
        }
        for i, model in enumerate(data.models)
    ]
    scatter = fit.scatter()
    benchmarks = [
        {
            "benchmark": benchmark,
            "difficulty": float(fit.difficulty[i]),
            "slope": float(fit.slope[i]),
            "scatter": float(scatter[i]),
            "n_models": int(np.sum(data.benchmark_of == i)),
        }
        for i, benchmark in enumerate(data.benchmarks)
    ]
    return {
        "vintage": data.vintage.isoformat(),
        "models": sorted(models, key=lambda row: -float(str(row["index"]))),
        "benchmarks": sorted(benchmarks, key=lambda row: -float(str(row["difficulty"]))),
        "objective": fit.objective,
        "n_draws": int(found.draws.index.shape[0]),
        "options": asdict(fit.options),
        "notes": list(data.notes),
        "attribution": list(ATTRIBUTION),
    }


def _agreement(errors: Sequence[float]) -> Document | None:
    if not errors:
        return None
    return {"n": len(errors), "mean_abs_error": float(np.mean(errors)), "max_abs_error": max(errors)}


def _best(chosen: Axis, unit: str, *, is_open: bool) -> Document:
    place = chosen.best(is_open=is_open)
    return {"model": chosen.models[place], unit: float(chosen.value[place])}


def _notes(tables: Tables, question: Question, found: Fitted | None, chosen: Axis) -> list[str]:
    notes = list(found.fit.data.notes) if found else []
    estimates = {small_name(row) for row in tables.small_open_models} & set(chosen.models)
    if estimates:
        notes.append(
            f"{len(estimates)} of the open models are estimates by a third party (TECI), dated by month only"
        )
    if question.max_params is not None:
        notes.append(f"open models: at most {question.max_params:,} parameters; closed models: all")
    if question.only is not None:
        notes.append(
            f"private by `{question.private_list}`; difficulties are held where the full fit has them"
        )
    if not question.overrides:
        n = len(tables.overrides)
        notes.append(
            f"dates and labels as the source has them; `tracker frontier overrides` lists {n} corrections"
        )
    return notes
