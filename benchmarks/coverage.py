"""Coverage of the printed intervals, simulated from a known truth.

The truth is the scores that the index predicts when fitted to the newest vintage. Each repeat adds noise (the
standardized residuals of the fit, permuted within their benchmark, with random signs), fits, draws, and
checks whether each nominal 90% interval contains the value that the method gives without noise: of the index,
of the contamination difference, of the gaps on all, private and public benchmarks and among small open
models, and of models placed from a few of their scores. G2, G4 and G7 are rules about intervals and have no
value without noise: their target is the mean of the rule over the repeats. Then the gaps on single benchmarks
whose number of items is known, from binomial noise. `python -m benchmarks.coverage 60` takes about half an
hour on two cores; the default is a quick check.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from tracker.frontier.axis import DAYS_PER_MONTH, Axis, Flags, steps
from tracker.frontier.contamination import unseen_rows
from tracker.frontier.dataset import SCORE_EDGE, Array, Dataset, select
from tracker.frontier.definitions import DEFINITIONS, Window
from tracker.frontier.facts import PrivateList
from tracker.frontier.gap import central_gaps, gap_intervals
from tracker.frontier.index import ANCHORS, INTERVAL, DrawMethod, IndexDraws, IndexFit, draw_index, fit_index
from tracker.frontier.placement import Measured, Placement, Scale, place
from tracker.frontier.population import at_most, benchmark_axis, index_axis, labels, projected_axis, sizes
from tracker.frontier.projection import project
from tracker.frontier.question import private_rows
from tracker.frontier.tables import Tables, load_tables

REPEATS = 3
N_DRAWS = 200
ITEM_BENCHMARKS = ("GPQA diamond", "HLE", "SimpleBench")
SMALL = 40_000_000_000  # parameters: the size-limited view
PLACED = 12  # models placed in each repeat, each from up to three of its scores
SLACK = 1e-9

Interval = tuple[float, float]
Fitted = tuple[IndexFit, IndexDraws, Array]  # with the upper ends that G2 uses


@dataclass(frozen=True)
class Views:
    """The axes whose gaps are printed, from one fit."""

    tables: Tables
    window: Window

    def __call__(self, fitted: Fitted) -> dict[str, Axis]:
        fit, draws, high = fitted
        by_model = labels(self.tables)
        whole = index_axis(fit, draws, by_model, high=high)
        private = private_rows(self.tables, fit.data, PrivateList.EXTENDED)
        axes = {"index": whole}
        for name, rows in (("private", private), ("public", ~private)):
            placed = project(fit, draws, rows)
            axes[name] = projected_axis(name, fit.data.models, by_model, placed.value, placed.draws)
        axes["at most 40 B"] = at_most(whole, sizes(self.tables), max_params=SMALL)
        return axes


@dataclass(frozen=True)
class Placed:
    """A placement with the true values that it should contain."""

    found: Placement
    index: float
    months: float


@dataclass
class Tally:
    """Estimates and intervals of one axis's definitions over the repeats."""

    estimates: dict[str, list[float]]
    intervals: dict[str, list[Interval]]

    @classmethod
    def empty(cls) -> Tally:
        return cls({each.id: [] for each in DEFINITIONS}, {each.id: [] for each in DEFINITIONS})

    def add(self, axis: Axis, window: Window) -> None:
        central = central_gaps(axis, window)
        for name, ends in gap_intervals(axis, window).items():
            value = central[name]
            if value is not None and ends is not None:
                self.estimates[name].append(value)
                self.intervals[name].append(ends)

    def print(self, what: str, known: dict[str, float | None]) -> None:
        shares = []
        for each in DEFINITIONS:
            name = each.id
            target = float(np.mean(self.estimates[name])) if each.needs_draws else known[name]
            if target is not None and self.intervals[name]:
                shares.append(f"{name} {np.mean([held(ends, target) for ends in self.intervals[name]]):.0%}")
        print(f"{what}: {', '.join(shares)}", flush=True)


def true_months(axis: Axis, index: float, released: date) -> float:
    """Months from the day on which closed models of `axis` reached this index to the model's release."""
    closed = ~axis.is_open
    reached = steps(axis.released[closed], axis.value[closed]).reached(np.array([index]))[0]
    return (released.toordinal() - min(float(reached), float(axis.released.max()))) / DAYS_PER_MONTH


def held(ends: Interval, target: float) -> bool:
    return ends[0] - SLACK <= target <= ends[1] + SLACK


def noisy(fit: IndexFit, rng: np.random.Generator) -> Dataset:
    """The data of the fit with scores resampled around its predictions."""
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


def refitted(data: Dataset, seed: int) -> Fitted:
    fit = fit_index(data)
    draws = draw_index(fit, n_draws=N_DRAWS, seed=seed)
    _, high = draw_index(fit, n_draws=N_DRAWS, seed=seed, method=DrawMethod.ROWS).interval()
    return fit, draws, high


def without_noise(fit: IndexFit) -> Fitted:
    """The fit as its own draws, so that every view has its true value."""
    draws = draw_index(fit, n_draws=2)
    still = replace(
        draws,
        index=np.tile(fit.index, (2, 1)),
        difficulty=np.tile(fit.difficulty, (2, 1)),
        slope=np.tile(fit.slope, (2, 1)),
    )
    return fit, still, fit.index


def placed_and_true(
    tables: Tables, truth: IndexFit, fitted: Fitted, axes: tuple[Axis, Axis], rng: np.random.Generator
) -> Iterator[Placed]:
    """Models placed from up to three of their scores in this repeat."""
    fit, draws, _ = fitted
    data = fit.data
    facts = {name: replace(row, lm_eval_task=name) for name, row in tables.benchmarks.items()}
    scale = Scale(fit, draws, axes[0], facts, data.vintage)
    for m in rng.choice(len(data.models), PLACED, replace=False):
        rows = rng.permutation(np.flatnonzero(data.model_of == m))[:3]
        scores = []
        for row in rows:
            name = data.benchmarks[data.benchmark_of[row]]
            width = facts[name].ceiling - facts[name].chance
            raw = facts[name].chance + width * float(data.score[row])
            scores.append(Measured(name, min(max(raw, 0.0), 1.0), None))
        released = labels(tables)[data.models[m]].released
        seed = int(rng.integers(2**31))
        found = place(scores, scale, released=released, bridges=None, seed=seed)
        if isinstance(found, Placement):
            index = float(truth.index[m])
            yield Placed(found, index, true_months(axes[1], index, released))


def on_one_benchmark(tables: Tables, benchmark: str, n_repeats: int) -> None:
    """Print the coverage of each definition's interval on that benchmark."""
    facts = tables.benchmarks[benchmark]
    assert facts.n_items is not None
    truth = benchmark_axis(tables, benchmark, labels(tables))
    window = Window.year_to(tables.vintages[-1])
    width = facts.ceiling - facts.chance
    raw_truth = facts.chance + width * truth.value
    rng = np.random.default_rng(5)
    tally = Tally.empty()
    for _ in range(n_repeats):
        raw = rng.binomial(facts.n_items, raw_truth) / facts.n_items
        value = (raw - facts.chance) / width
        error = np.sqrt(raw * (1.0 - raw) / facts.n_items) / width
        draws = value + rng.normal(size=(N_DRAWS, value.size)) * error
        seen = replace(truth, value=value, draws=draws, high=np.quantile(draws, INTERVAL[1], axis=0))
        tally.add(seen, window)
    tally.print(benchmark, central_gaps(replace(truth, high=truth.value), window))


def print_by_size(index_held: Flags, counts: Array) -> None:
    print(f"index: {index_held.mean():.1%} of {index_held.size}")
    for low, high in ((4, 5), (6, 8), (9, 12), (13, 20), (21, 99)):
        chosen = (counts >= low) & (counts <= high)
        print(f"  models on {low} to {high} benchmarks: {index_held[:, chosen].mean():.1%}")


def differences_held(tables: Tables, fitted: Fitted, truth: IndexFit) -> Flags:
    """Whether each interval of a known contamination difference contains the truth."""
    fit, draws, _ = fitted
    rows = unseen_rows(tables, fit, labels(tables), PrivateList.EPOCH)
    placed, target = project(fit, draws, rows), project(truth, draws, rows)
    low, high = np.quantile(placed.draws - draws.index, INTERVAL, axis=0)
    true_difference = target.value - truth.index
    inside: Flags = (low <= true_difference) & (true_difference <= high)
    return inside[np.isfinite(placed.value)]


def simulate(tables: Tables, n_repeats: int) -> None:
    """Run the repeats on the index and print the coverage."""
    fit = fit_index(select(tables))
    expected = np.clip(fit.data.score - fit.residual, SCORE_EDGE, 1.0 - SCORE_EDGE)
    truth = fit_index(replace(fit.data, score=expected))
    views = Views(tables, Window.year_to(fit.data.vintage))
    true_axes = views(without_noise(truth))
    tallies = {name: Tally.empty() for name in true_axes}
    free = np.array([model not in dict(ANCHORS) for model in fit.data.models])
    index_held, differences = [], []
    placed: list[Placed] = []
    rng = np.random.default_rng(11)
    for _ in range(n_repeats):
        fitted = refitted(noisy(fit, rng), int(rng.integers(2**31)))
        low, high = fitted[1].interval()
        index_held.append(((low <= truth.index) & (truth.index <= high))[free])
        differences.append(differences_held(tables, fitted, truth))
        axes = views(fitted)
        for name, axis in axes.items():
            tallies[name].add(axis, views.window)
        placed += placed_and_true(tables, truth, fitted, (axes["index"], true_axes["index"]), rng)
    print_by_size(np.array(index_held), fit.data.n_benchmarks_of[free])
    print(f"contamination difference: {np.concatenate(differences).mean():.1%}")
    on_index = np.mean([held((row.found.ci_low, row.found.ci_high), row.index) for row in placed])
    in_months = np.mean(
        [held((row.found.months_ci_low, row.found.months_ci_high), row.months) for row in placed]
    )
    print(f"placed from up to three scores: index {on_index:.1%}, months {in_months:.1%} of {len(placed)}")
    for name, tally in tallies.items():
        tally.print(f"gaps, {name}", central_gaps(true_axes[name], views.window))


def main() -> None:
    n_repeats = int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS
    tables = load_tables()
    print(f"{n_repeats} data sets, {N_DRAWS} draws each; nominal 90%")
    simulate(tables, n_repeats)
    for benchmark in ITEM_BENCHMARKS:
        on_one_benchmark(tables, benchmark, 2 * n_repeats)


if __name__ == "__main__":
    main()
