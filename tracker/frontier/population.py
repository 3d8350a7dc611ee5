"""The models on an axis with their labels and dates, and the filters on them.

Labels and dates are the source's own, as in every published gap, unless overrides are requested.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from tracker.errors import UnknownNameError
from tracker.frontier.axis import Array, Axis
from tracker.frontier.dataset import newest_vintage
from tracker.frontier.facts import Access, OverrideKind, SmallOpenModel
from tracker.frontier.index import DRAWS, INTERVAL, IndexDraws, IndexFit
from tracker.frontier.tables import Tables
from tracker.stats import Z90

HIGH_ERROR = (
    0.2  # in addition to the counting error; benchmarks/coverage.py, 2026-11-24: 60 data sets, 222 models
)


@dataclass(frozen=True, slots=True)
class Label:
    """The access label and date under which a model is counted."""

    access: Access
    released: date


@dataclass(frozen=True, slots=True)
class Rated:
    """A dated model with one value and its standard error: a point of an Elo series or a benchmark."""

    model: str
    is_open: bool
    released: date
    value: float
    stderr: float | None  # None: not known


def labels(tables: Tables, overrides: Collection[OverrideKind] = ()) -> dict[str, Label]:
    """Every model's label and date, corrected by the chosen kinds of override."""
    found = {row.model: Label(row.access, row.released) for row in tables.models.values()}
    for row in tables.overrides:
        if row.kind not in overrides:
            continue
        old = found[row.model]
        if row.field == "access":
            found[row.model] = Label(Access(row.value), old.released)
        else:
            found[row.model] = Label(old.access, date.fromisoformat(row.value))
    return found


def index_axis(fit: IndexFit, draws: IndexDraws, by_model: dict[str, Label], *, high: Array) -> Axis:
    """The labeled models of a fit on the index; `high` (M,) is the upper end used by G2.

    Those ends come from resampling each model's n scores, which gives a half-width within a factor of about
    exp(1/√(2(n−1))); the rest of the factor was measured between simulated data sets.
    """
    chosen = _axis("index", fit.data.models, by_model, (fit.index, draws.index, high))
    place = {model: i for i, model in enumerate(fit.data.models)}
    counts = fit.data.n_benchmarks_of[[place[model] for model in chosen.models]]
    return replace(chosen, high_error=np.sqrt(0.5 / np.maximum(counts - 1, 1) + HIGH_ERROR**2))


def projected_axis(
    name: str, models: Sequence[str], by_model: dict[str, Label], value: Array, draws: Array
) -> Axis:
    """An axis of values of any origin; models without a value (NaN) or label are left out.

    Raises:
        TrackerError: no open or no closed model is left.
    """
    known = np.isfinite(value) & np.isfinite(draws).all(axis=0)
    kept = [model for model, flag in zip(models, known, strict=True) if flag]
    high = np.quantile(draws[:, known], INTERVAL[1], axis=0)
    return _axis(name, kept, by_model, (value[known], draws[:, known], high))


def _axis(
    name: str, models: Sequence[str], by_model: dict[str, Label], numbers: tuple[Array, Array, Array]
) -> Axis:
    labelled = np.array([by_model[model].access is not Access.UNKNOWN for model in models], dtype=np.bool_)
    kept = [model for model, flag in zip(models, labelled, strict=True) if flag]
    value, draws, high = numbers
    return Axis(
        name=name,
        models=tuple(kept),
        is_open=np.array([by_model[model].access is Access.OPEN for model in kept], dtype=np.bool_),
        released=np.array([float(by_model[model].released.toordinal()) for model in kept]),
        value=value[labelled],
        draws=draws[:, labelled],
        high=high[labelled],
    )


def series_axis(name: str, rated: Sequence[Rated], *, n_draws: int = DRAWS, seed: int = 0) -> Axis:
    """A dated series, such as a rating board, with normal draws if every standard error is known.

    `n_draws`: with 1 there is no uncertainty, only the values.

    Raises:
        TrackerError: no open or no closed model is among them.
    """
    value = np.array([row.value for row in rated])
    draws = value[None, :]
    errors = [row.stderr for row in rated]
    if n_draws > 1 and rated and all(error is not None for error in errors):
        scale = np.array([error or 0.0 for error in errors])
        draws = value + np.random.default_rng(seed).normal(size=(n_draws, value.size)) * scale
    return Axis(
        name,
        tuple(row.model for row in rated),
        np.array([row.is_open for row in rated], dtype=np.bool_),
        np.array([float(row.released.toordinal()) for row in rated]),
        value,
        draws,
        np.quantile(draws, INTERVAL[1], axis=0),
    )


def benchmark_axis(
    tables: Tables,
    benchmark: str,
    by_model: dict[str, Label],
    *,
    vintage: date | None = None,
    n_draws: int = DRAWS,
) -> Axis:
    """One benchmark as an axis of centered scores, with draws if its number of items is known.

    `n_draws`: 1 where no interval is asked for.

    Raises:
        UnknownNameError: no such benchmark in the vintage.
        TrackerError: no open or no closed model has a score on it.
    """
    vintage = newest_vintage(tables, vintage)
    rows = [row for row in tables.scores if row.vintage == vintage]
    if benchmark not in {row.benchmark for row in rows}:
        raise UnknownNameError("benchmark", benchmark, known={row.benchmark for row in rows})
    facts = tables.benchmarks[benchmark]
    width = facts.ceiling - facts.chance
    rated = []
    for row in rows:
        label = by_model[row.model]
        if row.benchmark != benchmark or label.access is Access.UNKNOWN:
            continue
        raw = facts.chance + width * row.score
        stderr = None
        if facts.n_items is not None:
            stderr = float(np.sqrt(raw * (1.0 - raw) / facts.n_items)) / width
        rated.append(Rated(row.model, label.access is Access.OPEN, label.released, row.score, stderr))
    return series_axis(benchmark, rated, n_draws=n_draws)


def at_most(axis: Axis, sizes: dict[str, int], *, max_params: int) -> Axis:
    """The axis with all closed models, and open models of known size up to `max_params`.

    Raises:
        TrackerError: no open model is that small.
    """
    small = np.array([sizes.get(model, max_params + 1) <= max_params for model in axis.models])
    return axis.keep(~axis.is_open | small)


def with_small_models(axis: Axis, small: Sequence[SmallOpenModel], *, seed: int = 0) -> Axis:
    """The index axis with a third party's estimates of small open models added.

    Their draws follow the published interval, each side with its own width; they are independent of
    the other draws, since what they share is not published.
    """
    value = np.array([row.index for row in small])
    below = np.array([max(row.index - row.index_ci_low, 0.0) for row in small]) / Z90
    above = np.array([max(row.index_ci_high - row.index, 0.0) for row in small]) / Z90
    z = np.random.default_rng(seed).normal(size=(axis.draws.shape[0], value.size))
    draws = value + np.where(z < 0.0, z * below, z * above)
    return Axis(
        axis.name,
        (*axis.models, *(small_name(row) for row in small)),
        np.append(axis.is_open, np.ones(value.size, dtype=np.bool_)),
        np.append(axis.released, [float(row.released.toordinal()) for row in small]),
        np.append(axis.value, value),
        np.concatenate([axis.draws, draws], axis=1),
        np.append(axis.high, [row.index_ci_high for row in small]),
        None if axis.high_error is None else np.append(axis.high_error, np.zeros(value.size)),
    )


def small_name(row: SmallOpenModel) -> str:
    """The name under which an estimate is listed."""
    return f"{row.model} ({row.variant}, TECI)"


def sizes(tables: Tables) -> dict[str, int]:
    """Parameters of every open model of known size, including estimated small models."""
    known = {row.model: row.n_params for row in tables.models.values() if row.n_params is not None}
    return known | {small_name(row): row.n_params for row in tables.small_open_models}


def prices(tables: Tables) -> dict[str, float]:
    """US dollars per million output tokens of every model with a known price."""
    return {
        row.model: row.price_out_usd_per_mtok
        for row in tables.models.values()
        if row.price_out_usd_per_mtok is not None
    }
