"""One vintage as arrays of scores by model and benchmark, with notes on what was left out.

Data to which no index can be fitted is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.facts import BenchmarkFacts, PublishedScore, ReportedBy
from tracker.frontier.tables import Tables

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

MIN_BENCHMARKS = 4  # a model with fewer is left out; as published
MIN_MODELS = 10  # fewer are too few to compare; our choice
SCORE_EDGE = 0.001  # scores are kept this far from 0 and 1; as published


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """The scores of one vintage, sorted by model and benchmark; R rows, M models, N benchmarks."""

    vintage: date
    models: tuple[str, ...]
    benchmarks: tuple[str, ...]
    model_of: Indices  # (R,)
    benchmark_of: Indices  # (R,)
    score: Array  # (R,) centered, from SCORE_EDGE to 1 − SCORE_EDGE
    n_items: Array  # (N,) items of each benchmark; infinite if unknown
    pinned: int  # the benchmark whose slope is fixed
    notes: tuple[str, ...] = ()  # what was left out

    @property
    def n_benchmarks_of(self) -> Indices:
        """(M,) benchmarks that each model was scored on."""
        return np.bincount(self.model_of, minlength=len(self.models)).astype(np.intp)

    def rows_of(self, model: str) -> Indices:
        """The rows of one model.

        Raises:
            UnknownNameError: it is not in the vintage.
        """
        if model not in self.models:
            raise UnknownNameError("model", model, known=self.models)
        return np.flatnonzero(self.model_of == self.models.index(model))


def newest_vintage(tables: Tables, vintage: date | None) -> date:
    """`vintage`, or the newest one for None.

    Raises:
        TrackerError: there is no such vintage; the hint lists them.
    """
    if vintage is None:
        return tables.vintages[-1]
    if vintage not in tables.vintages:
        known = ", ".join(str(day) for day in tables.vintages)
        raise TrackerError(f"there is no vintage `{vintage}`", hint=f"known: {known}")
    return vintage


def select(tables: Tables, *, vintage: date | None = None, reported_by: ReportedBy | None = None) -> Dataset:
    """The scores of one vintage (None: the newest), optionally from one kind of reporter.

    Raises:
        TrackerError: too few models, groups that share no score, scores that are all equal, the
            benchmark that fixes the slope is missing, or a filter that leaves nothing.
    """
    vintage = newest_vintage(tables, vintage)
    rows = [row for row in tables.scores if row.vintage == vintage]
    if reported_by is not None:
        rows = [row for row in rows if row.reported_by is reported_by]
    name = f"vintage {vintage}" + (f", scores reported by {reported_by}" if reported_by else "")
    return dataset(rows, tables.benchmarks, name=name, vintage=vintage)


def dataset(
    rows: Iterable[PublishedScore], benchmarks: dict[str, BenchmarkFacts], *, name: str, vintage: date
) -> Dataset:
    """The rows as arrays, without models on too few benchmarks or benchmarks with a single model.

    Raises:
        TrackerError: as `select`; `name` says which data is meant.
    """
    kept, notes = pruned(list(rows))
    models = tuple(sorted({row.model for row in kept}, key=str.lower))
    columns = tuple(sorted({row.benchmark for row in kept}, key=str.lower))
    if len(models) < MIN_MODELS:
        raise TrackerError(
            f"{name}: only {len(models)} models have scores on at least {MIN_BENCHMARKS} benchmarks; "
            f"an index needs {MIN_MODELS}",
            hint="use a later vintage or fewer filters",
        )
    place = {model: i for i, model in enumerate(models)}
    column = {benchmark: i for i, benchmark in enumerate(columns)}
    kept.sort(key=lambda row: (place[row.model], column[row.benchmark]))
    found = Dataset(
        vintage=vintage,
        models=models,
        benchmarks=columns,
        model_of=np.array([place[row.model] for row in kept], dtype=np.intp),
        benchmark_of=np.array([column[row.benchmark] for row in kept], dtype=np.intp),
        score=np.clip(np.array([row.score for row in kept]), SCORE_EDGE, 1.0 - SCORE_EDGE),
        n_items=np.array([float(benchmarks[benchmark].n_items or np.inf) for benchmark in columns]),
        pinned=_slope_anchor(columns, benchmarks, name),
        notes=notes,
    )
    _check_connected(found, name)
    if np.ptp(found.score) == 0.0:
        raise TrackerError(f"{name}: all scores are equal, so models cannot be distinguished")
    return found


def pruned(rows: list[PublishedScore]) -> tuple[list[PublishedScore], tuple[str, ...]]:
    """Drop models with few benchmarks and benchmarks with one model until none is left; note which."""
    thin: set[str] = set()
    single: set[str] = set()
    while True:
        per_model = Counter(row.model for row in rows)
        per_benchmark = Counter(row.benchmark for row in rows)
        bad_models = {model for model, n in per_model.items() if n < MIN_BENCHMARKS}
        bad_benchmarks = {benchmark for benchmark, n in per_benchmark.items() if n < 2}
        if not bad_models and not bad_benchmarks:
            break
        thin |= bad_models
        single |= bad_benchmarks
        rows = [row for row in rows if row.model not in bad_models and row.benchmark not in bad_benchmarks]
    notes = []
    if thin:
        notes.append(f"{len(thin)} models with fewer than {MIN_BENCHMARKS} benchmarks are left out")
    if single:
        names = ", ".join(sorted(single))
        notes.append(f"benchmarks with a single model are left out: {names}")
    return rows, tuple(notes)


def _slope_anchor(columns: tuple[str, ...], benchmarks: dict[str, BenchmarkFacts], name: str) -> int:
    anchors = [row.benchmark for row in benchmarks.values() if row.slope_anchor]
    if len(anchors) != 1:
        raise TrackerError(f"exactly one benchmark must fix the slope of the index, found {len(anchors)}")
    if anchors[0] not in columns:
        raise TrackerError(
            f"{name}: no scores on {anchors[0]}, which fixes the slope of the index",
            hint="use fewer filters, or a vintage that has it",
        )
    return columns.index(anchors[0])


def _check_connected(data: Dataset, name: str) -> None:
    n_models = len(data.models)
    size = n_models + len(data.benchmarks)
    ones = np.ones(data.score.size)
    graph = coo_array((ones, (data.model_of, n_models + data.benchmark_of)), shape=(size, size))
    n_parts, part = connected_components(graph, directed=False)
    if n_parts == 1:
        return
    smallest = int(np.argmin(np.bincount(part[:n_models], minlength=n_parts)))
    members = [model for model, p in zip(data.models, part, strict=False) if p == smallest]
    raise TrackerError(
        f"{name}: the models fall into {n_parts} groups that share no benchmark, so they have no common "
        f"scale; the smallest group: {', '.join(members[:5])}",
        hint="add a score that connects them, or leave the group out",
    )
