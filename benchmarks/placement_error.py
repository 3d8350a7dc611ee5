"""Error of placements: known models placed as if they were new.

First, with published lm-eval scores: each bridge is left out of the calibration, placed by the others, and
compared with its published index, by range of the index, variant and size. An interval is as wide as the
other bridges say, so its coverage is that of a further model. Then with samples: each task's score is redrawn
with the error of so many random items. Last, with the scores of the publishers' own harness, the model
removed from the fit. Targets: mean error at most 2.14 points above 95 with the tasks of `anchor-small`, 2.3
with GPQA diamond alone, coverage 90 ± 4% in every range that is offered; 1.5 points with published scores.
About three minutes; `python -m benchmarks.placement_error lm-eval` prints the first part alone, in one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tracker.frontier.bridges import (
    Bridge,
    ModelVariant,
    index_names,
    shipped_bridges,
    task_curve,
    task_scales,
)
from tracker.frontier.dataset import dataset
from tracker.frontier.facts import BenchmarkFacts
from tracker.frontier.index import ANCHORS, IndexFit, fit_index
from tracker.frontier.instruments import (
    LeftOut,
    calibrated_depth,
    instruments,
    left_out,
    reading_of,
)
from tracker.frontier.placement import Measured, Placement, Scale, place
from tracker.frontier.question import Fitted, Question, axis, fitted
from tracker.frontier.tables import Tables, load_harness_scores, load_tables
from tracker.stats import Z90
from tracker.suites import get_suite

ANCHOR_TASKS = ("mmlu", "gsm8k", "arc_challenge", "hellaswag", "winogrande")
LEADERBOARD_TASKS = ("leaderboard_mmlu_pro", "leaderboard_bbh")
GPQA = ("gpqa_diamond_cot_zeroshot",)
SETS = {
    "anchor-small; place below 105": ANCHOR_TASKS,
    "place, 105 to 115": (*ANCHOR_TASKS, *LEADERBOARD_TASKS),
    "place, 115 to 125": ("mmlu", *LEADERBOARD_TASKS),
    "MMLU-Pro and BBH": LEADERBOARD_TASKS,
    "GPQA diamond": GPQA,
    "GPQA diamond and MATH level 5": (*GPQA, "leaderboard_math_hard"),
}
RANGES = ((0, 95), (95, 105), (105, 113), (113, 125), (125, 139), (139, 160))
SIZES = ((0, 4e9), (4e9, 10e9), (10e9, 40e9), (40e9, 1e13))
SAMPLES = (50, 100, 200, 500)
N_REPEATS = 5
ITEMS_PER_S = 10

BASKETS = (
    ("GPQA diamond", "OTIS Mock AIME 2024-2025", "MATH level 5"),
    ("GPQA diamond", "MATH level 5"),
    ("GPQA diamond",),
    ("MMLU", "GSM8K", "ARC AI2", "HellaSwag", "Winogrande"),
)
N_DRAWS = 200


def of_lm_eval(tables: Tables, fit: IndexFit) -> None:
    """Print the tables for published lm-eval scores."""
    scales = task_scales(tables.benchmarks)
    bridges = shipped_bridges(load_harness_scores(), index_names(tables.models.values()), scales)
    sizes = {row.model: row.n_params or 0 for row in tables.models.values()}
    print_curves(fit, bridges, tables)
    for name, tasks in SETS.items():
        wanted = [scales[task] for task in tasks]
        known, _ = instruments(wanted, fit, bridges)
        span = known.span()
        assert span is not None
        checks = left_out(wanted, fit, bridges)
        inside = [row for row in checks if span[0] <= row.truth <= span[1]]
        print(f"\n{name}: offered from {span[0]:.0f} to {span[1]:.0f}")
        report("  offered", inside, inside)
        for low, high in RANGES:
            report(f"  {low} to {high}", [row for row in checks if low <= row.truth < high], inside)
        for variant in ModelVariant:
            report(f"  {variant}", [row for row in inside if row.variant is variant], inside)
        for small, large in SIZES:
            chosen = [row for row in inside if small < sizes[row.model] <= large]
            report(f"  {small / 1e9:.0f}B to {large / 1e9:.0f}B", chosen, inside)
        for n in SAMPLES:
            print_sampled(n, tasks, fit, bridges, tables)


def print_curves(fit: IndexFit, bridges: Sequence[Bridge], tables: Tables) -> None:
    """Print the offset of each task, whose root mean square is the prior of a task without bridges."""
    offsets, slopes = [], []
    for scale in task_scales(tables.benchmarks).values():
        curve = task_curve(scale, fit, bridges)
        if curve is None or not curve.is_calibrated:
            continue
        error = float(np.sqrt(curve.covariance[0, 0]))
        print(
            f"{curve.task}: {curve.n_bridges} bridges, difficulty {curve.difficulty:.1f} ± {error:.1f}, "
            f"slope {curve.slope:.3f}, offset {curve.offset or 0.0:+.1f}, instruct {curve.parameters[2]:+.1f}"
        )
        if curve.offset is not None and scale.benchmark is not None:
            column = fit.data.benchmarks.index(scale.benchmark)
            offsets.append(curve.offset)
            slopes.append(float(np.log(curve.slope / fit.slope[column])))
    print(f"root mean square offset {rms(offsets):.1f}, of log(slope) {rms(slopes):.2f}")


def print_items(tables: Tables) -> None:
    """Print how many items each suite asks, and the minutes that takes at `ITEMS_PER_S`."""
    size = {row.lm_eval_task: row.n_items or 0 for row in tables.benchmarks.values() if row.lm_eval_task}
    place = get_suite("place")
    n = place.sample or 0
    asked = {
        "anchor-small, all items": sum(size[task] for task in ANCHOR_TASKS),
        "place below 105": n * len(ANCHOR_TASKS),
        "place, 105 to 115": n * len((*ANCHOR_TASKS, *LEADERBOARD_TASKS)),
        "place, 115 to 125": n * len(("mmlu", *LEADERBOARD_TASKS)),
        "place, thinking": n + min(n, size[GPQA[0]]) + n,
    }
    for name, items in asked.items():
        print(f"{name}: {items:,} items, {items / ITEMS_PER_S / 60:.1f} minutes at {ITEMS_PER_S} items/s")


def rms(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def report(name: str, rows: Sequence[LeftOut], inside: Sequence[LeftOut]) -> None:
    """Print error and coverage, each interval calibrated by the other models of the offered range."""
    if not rows:
        return
    error = np.array([row.error for row in rows])
    depths = [calibrated_depth([other for other in inside if other is not row]) for row in rows]
    held = np.mean([row.depth <= depth for row, depth in zip(rows, depths, strict=True)])
    width = np.mean([row.width * depth / Z90 for row, depth in zip(rows, depths, strict=True)])
    print(
        f"{name}: {len(rows)} models, mean error {np.abs(error).mean():.2f}, bias {error.mean():+.2f}, "
        f"in the interval {held:.0%}, width {width:.1f}"
    )


def print_sampled(
    n: int, tasks: Sequence[str], fit: IndexFit, bridges: Sequence[Bridge], tables: Tables
) -> None:
    """Print the same with scores from `n` random items of each task."""
    scales = task_scales(tables.benchmarks)
    rng = np.random.default_rng(0)
    wanted = [scales[task] for task in tasks]
    known, _ = instruments(wanted, fit, bridges)
    span, checks = known.span(), left_out(wanted, fit, bridges)
    assert span is not None
    inside = [row for row in checks if span[0] <= row.truth <= span[1]]
    errors, held, widths = [], [], []
    for check in inside:
        others = [row for row in bridges if row.model != check.model]
        mine = {row.task: row for row in bridges if row.model == check.model}
        read, usable = instruments([scale for scale in wanted if scale.task in mine], fit, others)
        depth = calibrated_depth([other for other in inside if other is not check])
        for _ in range(N_REPEATS):
            rows, variance = [], []
            for scale in usable:
                width = scale.ceiling - scale.chance
                raw = min(max(scale.chance + width * mine[scale.task].score, 0.0), 1.0)
                seen = rng.binomial(n, raw) / n
                rows.append(replace(mine[scale.task], score=scale.centered(seen)))
                variance.append(((seen * n + 2) / (n + 4)) * (1 - (seen * n + 2) / (n + 4)) / n / width**2)
            reading = replace(reading_of(rows), item_variance=np.array(variance))
            profile = read.profile(reading, stretch=depth / Z90)
            low, high = profile.interval(Z90)
            errors.append(profile.index - check.truth)
            held.append(low <= check.truth <= high)
            widths.append(high - low)
    error = np.array(errors)
    print(
        f"  {n} items of each task: mean error {np.abs(error).mean():.2f}, bias {error.mean():+.2f}, "
        f"in the interval {np.mean(held):.0%}, width {np.mean(widths):.1f}"
    )


def measured(fit: IndexFit, model: str, facts: dict[str, BenchmarkFacts]) -> dict[str, Measured]:
    """The model's published scores as if they had been measured here, by benchmark."""
    found = {}
    for row in fit.data.rows_of(model):
        benchmark = fit.data.benchmarks[fit.data.benchmark_of[row]]
        width = facts[benchmark].ceiling - facts[benchmark].chance
        value = facts[benchmark].chance + width * float(fit.data.score[row])
        found[benchmark] = Measured(benchmark, value, None)
    return found


def errors(tables: Tables, whole: Fitted, basket: tuple[str, ...]) -> list[tuple[float, bool]]:
    """For each model, placed minus true index, and whether the interval contains the truth."""
    data = whole.fit.data
    facts = {name: replace(row, lm_eval_task=name) for name, row in tables.benchmarks.items()}
    scale = Scale(whole.fit, whole.draws, axis(tables, Question(n_draws=N_DRAWS), whole), facts, data.vintage)
    rows = [row for row in tables.scores if row.vintage == data.vintage]
    found = []
    scores = {model: measured(whole.fit, model, facts) for model in data.models}
    usable = [m for m in data.models if set(basket) <= set(scores[m]) and m not in dict(ANCHORS)]
    for model in usable[::2]:
        others = [row for row in rows if row.model != model]
        without = dataset(others, tables.benchmarks, name=f"all but {model}", vintage=data.vintage)
        if without.benchmarks != data.benchmarks:
            continue
        alone = replace(scale, fit=fit_index(without))
        placed = place([scores[model][name] for name in basket], alone, bridges=None)
        truth = float(whole.fit.index[data.models.index(model)])
        assert isinstance(placed, Placement)
        found.append((placed.index - truth, placed.ci_low <= truth <= placed.ci_high))
    return found


def of_publishers(tables: Tables, whole: Fitted) -> None:
    """Print the errors with published scores, for every second model that has them."""
    for basket in BASKETS:
        found = errors(tables, whole, basket)
        error = np.array([row[0] for row in found])
        held = np.mean([row[1] for row in found])
        print(
            f"{' + '.join(basket)}: {error.size} models, mean error {np.abs(error).mean():.2f}, "
            f"median {np.median(np.abs(error)):.2f}, bias {error.mean():+.2f}, in the interval {held:.0%}"
        )


def main() -> None:
    tables = load_tables()
    whole = fitted(tables, Question(n_draws=N_DRAWS), None)
    print_items(tables)
    of_lm_eval(tables, whole.fit)
    if "lm-eval" not in sys.argv[1:]:
        print("\npublished scores, as if measured here")
        of_publishers(tables, whole)


if __name__ == "__main__":
    main()
