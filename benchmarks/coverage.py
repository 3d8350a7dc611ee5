"""Do the printed intervals cover what they promise? Simulated from a known truth.

The truth is the scores that the index fitted to the newest vintage expects; each repeat adds noise (the
fit's own standardised residuals, shuffled within their benchmark, signs at random), fits, draws, and asks
whether each nominal 90 % interval holds the value that the method gives without noise. G2 and G4 are rules
about intervals and have no value without noise: their target is the mean of the rule over the repeats.
Then the gaps on single benchmarks whose number of items is known, from binomial noise.
`python -m benchmarks.coverage 40` takes about ten minutes; the default is a quick look.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace

import numpy as np

from tracker.frontier.axis import Axis, Flags
from tracker.frontier.contamination import unseen_rows
from tracker.frontier.dataset import SCORE_EDGE, Dataset, select
from tracker.frontier.facts import PrivateList
from tracker.frontier.gap import DEFINITIONS, Window, central_gaps, gap_draws, gap_interval
from tracker.frontier.index import ANCHORS, INTERVAL, DrawMethod, IndexFit, draw_index, fit_index
from tracker.frontier.population import benchmark_axis, index_axis, labels
from tracker.frontier.projection import project
from tracker.frontier.tables import Tables, load_tables

REPEATS = 3
N_DRAWS = 200
ITEM_BENCHMARKS = ("GPQA diamond", "HLE", "SimpleBench")
RULES = ("G2", "G4")  # defined through intervals


@dataclass(frozen=True)
class Repeat:
    index_held: Flags  # (M,)
    difference_held: Flags  # of the contamination differences
    estimates: dict[str, float]
    intervals: dict[str, tuple[float, float]]


def noisy(fit: IndexFit, rng: np.random.Generator) -> Dataset:
    """The fit's data with scores drawn anew around what it expects."""
    data = fit.data
    expected = np.clip(data.score - fit.residual, SCORE_EDGE, 1.0 - SCORE_EDGE)
    spread = np.sqrt(expected * (1.0 - expected))
    standard = fit.residual / spread
    scatter = fit.scatter()
    drawn = np.empty_like(standard)
    for b in range(len(data.benchmarks)):
        rows = np.flatnonzero(data.benchmark_of == b)
        unit = standard[rows] * np.sqrt(scatter[b] / np.mean(standard[rows] ** 2))
        drawn[rows] = rng.choice(unit, rows.size) * rng.choice([-1.0, 1.0], rows.size)
    return replace(data, score=np.clip(expected + drawn * spread, SCORE_EDGE, 1.0 - SCORE_EDGE))


def ends_of(name: str, axis: Axis, window: Window, *, on_index: bool) -> tuple[float, float]:
    """The interval that would be printed; nothing holds a value where there is none."""
    return gap_interval(name, gap_draws(name, axis, window), on_index=on_index) or (math.inf, -math.inf)


def repeat(tables: Tables, fit: IndexFit, truth: IndexFit, rng: np.random.Generator) -> Repeat:
    """One data set from the truth, and which of its intervals hold it."""
    by_model = labels(tables)
    found = fit_index(noisy(fit, rng))
    seed = int(rng.integers(2**31))
    draws = draw_index(found, n_draws=N_DRAWS, seed=seed)
    _, high = draw_index(found, n_draws=N_DRAWS, seed=seed, method=DrawMethod.ROWS).interval()
    low_index, high_index = draws.interval()
    axis = index_axis(found, draws, by_model, high=high)
    window = Window.year_to(found.data.vintage)
    central = central_gaps(axis, window)
    intervals = {}
    for name in DEFINITIONS:
        intervals[name] = ends_of(name, axis, window, on_index=True)
    rows = unseen_rows(tables, found, by_model, PrivateList.EPOCH)
    placed, target = project(found, draws, rows), project(truth, draws, rows)
    low, high_difference = np.quantile(placed.draws - draws.index, INTERVAL, axis=0)
    true_difference = target.value - truth.index
    known = np.isfinite(placed.value)
    return Repeat(
        index_held=(low_index <= truth.index) & (truth.index <= high_index),
        difference_held=((low <= true_difference) & (true_difference <= high_difference))[known],
        estimates={name: float(value) for name, value in central.items() if value is not None},
        intervals=intervals,
    )


def on_one_benchmark(tables: Tables, benchmark: str, n_repeats: int) -> dict[str, float]:
    """Share of repeats in which each definition's interval on that benchmark holds its target."""
    facts = tables.benchmarks[benchmark]
    assert facts.n_items is not None
    truth = benchmark_axis(tables, benchmark, labels(tables))
    window = Window.year_to(tables.vintages[-1])
    known = central_gaps(replace(truth, high=truth.value), window)
    width = facts.ceiling - facts.chance
    raw_truth = facts.chance + width * truth.value
    rng = np.random.default_rng(5)
    estimates: dict[str, list[float]] = {name: [] for name in DEFINITIONS}
    ends: dict[str, list[tuple[float, float]]] = {name: [] for name in DEFINITIONS}
    for _ in range(n_repeats):
        raw = rng.binomial(facts.n_items, raw_truth) / facts.n_items
        value = (raw - facts.chance) / width
        error = np.sqrt(raw * (1.0 - raw) / facts.n_items) / width
        draws = value + rng.normal(size=(N_DRAWS, value.size)) * error
        axis = replace(truth, value=value, draws=draws, high=np.quantile(draws, INTERVAL[1], axis=0))
        central = central_gaps(axis, window)
        for name in DEFINITIONS:
            estimates[name].append(float(central[name] or 0.0))
            ends[name].append(ends_of(name, axis, window, on_index=False))
    target = {
        name: float(np.mean(estimates[name])) if name in RULES else float(known[name] or 0.0)
        for name in DEFINITIONS
    }
    return {
        name: float(np.mean([low <= target[name] <= high for low, high in ends[name]]))
        for name in DEFINITIONS
    }


def main() -> None:
    n_repeats = int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS
    tables = load_tables()
    fit = fit_index(select(tables))
    expected = np.clip(fit.data.score - fit.residual, SCORE_EDGE, 1.0 - SCORE_EDGE)
    truth = fit_index(replace(fit.data, score=expected))
    by_model = labels(tables)
    nothing = draw_index(truth, n_draws=2)
    still = replace(nothing, index=truth.index[None, :])
    true_axis = index_axis(truth, still, by_model, high=truth.index)
    known = central_gaps(true_axis, Window.year_to(fit.data.vintage))
    rng = np.random.default_rng(11)
    repeats = [repeat(tables, fit, truth, rng) for _ in range(n_repeats)]
    free = np.array([model not in dict(ANCHORS) for model in fit.data.models])
    index_held = np.array([row.index_held[free] for row in repeats])
    counts = fit.data.n_benchmarks_of[free]
    print(f"{n_repeats} repeats, {N_DRAWS} draws each; nominal 90 %")
    print(f"index: {index_held.mean():.1%} of {index_held.size}")
    for low, high in ((4, 5), (6, 8), (9, 12), (13, 20), (21, 99)):
        chosen = (counts >= low) & (counts <= high)
        print(f"  models on {low} to {high} benchmarks: {index_held[:, chosen].mean():.1%}")
    held = np.concatenate([row.difference_held for row in repeats])
    print(f"contamination difference: {held.mean():.1%} of {held.size}")
    for name in DEFINITIONS:
        estimates = [row.estimates[name] for row in repeats]
        target = float(np.mean(estimates)) if name in RULES else float(known[name] or 0.0)
        inside = [row.intervals[name][0] <= target <= row.intervals[name][1] for row in repeats]
        what = "mean of the rule" if name in RULES else "value without noise"
        print(f"{name}: {np.mean(inside):.1%} ({what} {target:.2f})")
    for benchmark in ITEM_BENCHMARKS:
        shares = on_one_benchmark(tables, benchmark, 2 * n_repeats)
        print(f"{benchmark}: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))


if __name__ == "__main__":
    main()
