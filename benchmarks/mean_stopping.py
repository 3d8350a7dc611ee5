"""One interval for the mean of a suite: how often it holds, and how many items and tokens it takes.

The suites are simulated with the sizes and typical costs of real ones: each model has a share of right
answers of its own in every task, and each task a finite set of items. The rule is that of `--until-mean`.
Beside it: draws by weight alone, and `--until` for each task, which ends when each task is known as well.
`python -m benchmarks.mean_stopping 1000` takes an hour on one core; with a folder of responses as second
argument, real answers are replayed as well: the file `mmlu_pro_responses.csv.gz` with a column for each model
and a row for each question (0 or 1), and `mmlu_pro.csv.gz` with the subject of each question.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from runners.harness.mean_stopping import BY_WEIGHT, Drawn, DrawnAnswer, StrataDraw
from runners.harness.task_run import BLOCKS
from tracker.stats import anytime_interval, refutes

REPEATS = 200
BESIDE = 20  # one model in so many is also stopped by the other rules

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Suite:
    """The tasks of a simulated suite."""

    name: str
    sizes: tuple[int, ...]
    scores: tuple[float, ...]  # of a typical model
    costs: tuple[float, ...]  # of an answer, in output tokens; each varies by its own factor
    half_width: float
    spread: float = 0.08  # standard deviation of a model's scores around these

    def answers(self, rng: np.random.Generator) -> list[Array]:
        """One model's score of every item, in random order."""
        shares = np.clip(np.array(self.scores) + self.spread * rng.standard_normal(len(self.scores)), 0, 1)
        return [
            (rng.random(size) < share).astype(float) for size, share in zip(self.sizes, shares, strict=True)
        ]


CHOICE, SHORT, LONG = 30.0, 150.0, 6_000.0  # tokens: a choice, a short answer, one with thinking
SUITES = (
    Suite("anchor-small", (14_042, 1_319, 1_172, 10_042, 1_267), (0.65, 0.7, 0.6, 0.8, 0.72),
          (CHOICE, SHORT, CHOICE, CHOICE, CHOICE), 0.02),
    Suite("anchor-reasoning", (198, 30, 30, 1_324), (0.5, 0.3, 0.25, 0.6),
          (LONG, 2 * LONG, 2 * LONG, LONG / 2), 0.03),
    Suite("two alike", (2_000, 2_000), (0.5, 0.5), (CHOICE, CHOICE), 0.03),
    Suite("one sure, one not", (2_000, 2_000), (0.99, 0.5), (CHOICE, CHOICE), 0.02, spread=0.01),
    Suite("one dear", (2_000, 2_000, 2_000), (0.6, 0.6, 0.6), (CHOICE, CHOICE, LONG), 0.03),
    Suite("near the ends", (1_000, 1_000, 500), (0.985, 0.01, 0.995), (CHOICE,) * 3, 0.01, spread=0.005),
    Suite("57 small", (100,) * 57, (0.55,) * 57, (CHOICE,) * 57, 0.03, spread=0.15),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class End:
    """Where a suite ended."""

    n_items: int
    cost: float
    is_covered: bool  # the interval contains the mean of all items
    error: float  # of the estimate, absolute


Cost = Callable[[int], float]


def ended(answers: Sequence[Array], cost: Cost, half_width: float, *, seed: int, by_weight: float) -> End:
    """One model on tasks of equal weight, stopped by the rule of `--until-mean`."""
    sizes = [len(task) for task in answers]
    draw = StrataDraw([1 / len(sizes)] * len(sizes), sizes, half_width, seed, by_weight=by_weight)
    total = 0.0
    while block := draw.next_block():
        given = [_answer(answers, one, cost) for one in block]
        total += sum(answer.cost for answer in given)
        draw.accept(block, given)
        if draw.is_narrow:
            break
    draws, truth = draw.draws(), fmean(float(task.mean()) for task in answers)
    if draws is None:
        raise RuntimeError("a whole suite was asked")
    is_covered = not refutes(draws, truth, half_width=half_width)
    return End(len(draw.drawn), total, is_covered, abs(draws.mean - truth))


def _answer(answers: Sequence[Array], one: Drawn, cost: Cost) -> DrawnAnswer:
    return DrawnAnswer(float(answers[one.stratum][one.place]), cost(one.stratum))


def ended_one_by_one(answers: Sequence[Array], cost: Cost, half_width: float) -> End:
    """The same with `--until` for each task. The mean of their scores has no interval then."""
    n_items, total, means = 0, 0.0, []
    for stratum, task in enumerate(answers):
        n, size = 0, BLOCKS[0]
        while n < len(task):
            n, size = min(n + size, len(task)), min(2 * size, BLOCKS[1])
            if anytime_interval(task[:n], n_total=len(task), half_width=half_width).half_width <= half_width:
                break
        n_items += n
        total += sum(cost(stratum) for _ in range(n))
        means.append(float(task[:n].mean()))
    truth = fmean(float(task.mean()) for task in answers)
    return End(n_items, total, True, abs(fmean(means) - truth))


def simulated(suite: Suite, repeats: int) -> None:
    """Print what the rule does on this suite."""
    rng = np.random.default_rng(0)

    def cost(stratum: int) -> float:
        return float(suite.costs[stratum] * rng.lognormal(-0.125, 0.5))

    ends: list[list[End]] = [[], [], []]
    for seed in range(repeats):
        answers = suite.answers(rng)
        ends[0].append(ended(answers, cost, suite.half_width, seed=seed, by_weight=BY_WEIGHT))
        if seed % BESIDE == 0:
            ends[1].append(ended(answers, cost, suite.half_width, seed=seed, by_weight=1.0))
            ends[2].append(ended_one_by_one(answers, cost, suite.half_width))
    _print(suite.name, suite.half_width, sum(suite.sizes), ends)


def replayed(folder: Path, half_width: float, repeats: int) -> None:
    """Print what the rule does on the answers of real models to MMLU-Pro, whose subjects are the tasks."""
    with gzip.open(folder / "mmlu_pro.csv.gz", "rt") as file:
        subjects = {row["question_id"]: row["category"] for row in csv.DictReader(file)}
    with gzip.open(folder / "mmlu_pro_responses.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    names = sorted({subjects[row["question_id"]] for row in rows})
    models = [name for name in rows[0] if name != "question_id" and all(row[name] for row in rows)]
    rng = np.random.default_rng(1)
    ends: list[list[End]] = [[], [], []]
    for model in models:
        tasks = [
            np.array([float(row[model]) for row in rows if subjects[row["question_id"]] == name])
            for name in names
        ]
        for seed in range(repeats):
            answers = [rng.permutation(task) for task in tasks]
            ends[0].append(ended(answers, _alike, half_width, seed=seed, by_weight=BY_WEIGHT))
            if seed % BESIDE == 0:
                ends[1].append(ended(answers, _alike, half_width, seed=seed, by_weight=1.0))
                ends[2].append(ended_one_by_one(answers, _alike, half_width))
    _print(f"MMLU-Pro, {len(models)} models", half_width, len(rows), ends)


def _alike(_stratum: int) -> float:
    return CHOICE


def _print(name: str, half_width: float, n_total: int, ends: Sequence[Sequence[End]]) -> None:
    cells = [
        f"{fmean(one.n_items for one in some):8,.0f} {fmean(one.cost for one in some):12,.0f}"
        for some in ends
    ]
    covered = fmean(one.is_covered for one in ends[0])
    error = 100 * fmean(one.error for one in ends[0])
    print(
        f"{name:22} ±{100 * half_width:.0f} {n_total:7,} | {len(ends[0]):5} {covered:7.4f} {error:5.2f} | "
        + " | ".join(cells),
        flush=True,
    )


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS
    print("suite, half width, items | models covered error in points | items and cost: --until-mean", end="")
    print(" | by weight alone | --until for each task", flush=True)
    for suite in SUITES:
        simulated(suite, repeats)
    if len(sys.argv) > 2:
        for half_width in (0.02, 0.03):
            replayed(Path(sys.argv[2]), half_width, max(1, repeats // 20))


if __name__ == "__main__":
    main()
