"""Does a bank of other models' answers save items? The regression estimate of a score, on real answers.

The bank is the share of other models that solve an item. A model answers a sample of the items; its score on
all of them is estimated by the regression of its answers on the bank, with the interval of the residuals
(Cochran, Sampling Techniques, 1977, §7). Samples are simple random ones, or spread over the bank: one item
from each of n neighborhoods of equal size. Beside them stands the plain score with Wilson's interval.
Simulated models follow the bank closely, not at all, or against it.
`python -m benchmarks.adjusted_score FOLDER` takes minutes. FOLDER has `mmlu_pro_responses.csv.gz`: a column
for each model and a row for each question, 0 or 1.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tracker.stats import Z95

REPEATS = 200  # samples of each real model
SIMULATED, SIMULATED_REPEATS = 300, 20  # models, samples of each
SLOPES = (0.0, 0.3, 1.0, 1.5, -0.5)  # of a simulated model's logit over that of the bank
BANKS = (3, 8, 15, 25)  # other models
SIZES = (100, 300, 1_000)  # items asked

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimates:
    """Of each sample (R,), the estimate and the ends of its interval."""

    value: Array
    low: Array
    high: Array


def plain(answers: Array, n_total: int) -> Estimates:
    """The means of samples (R, n) with Wilson's interval for a finite task, as `mean_interval` has it."""
    n = answers.shape[1]
    value = answers.mean(axis=1)
    n_effective = n * (n_total - 1) / (n_total - n)
    square = Z95**2
    centre = (value + square / (2 * n_effective)) / (1 + square / n_effective)
    root = np.sqrt(value * (1 - value) / n_effective + square / (4 * n_effective**2))
    reach = Z95 * root / (1 + square / n_effective) + 1 / (2 * n_total)
    return Estimates(value, centre - reach, centre + reach)


def adjusted(answers: Array, bank: Array, bank_mean: float, n_total: int) -> Estimates:
    """The regression estimates of samples (R, n) with values of the bank (R, n) and its mean over all."""
    n = answers.shape[1]
    own, known = answers.mean(axis=1), bank.mean(axis=1)
    away = bank - known[:, None]
    spread = np.maximum((away**2).sum(axis=1), 1e-12)
    slope = (away * (answers - own[:, None])).sum(axis=1) / spread
    value = own + slope * (bank_mean - known)
    residuals = answers - own[:, None] - slope[:, None] * away
    variance = (residuals**2).sum(axis=1) / (n - 2) / n * (n_total - n) / (n_total - 1)
    variance *= 1 + n * (bank_mean - known) ** 2 / spread
    reach = float(special.stdtrit(n - 2, 0.975)) * np.sqrt(variance)
    return Estimates(value, value - reach, value + reach)


def at_random(n: int, repeats: int, bank: Array, rng: np.random.Generator) -> Places:
    """Simple random samples (R, n)."""
    return np.array([rng.choice(len(bank), n, replace=False) for _ in range(repeats)])


def spread_out(n: int, repeats: int, bank: Array, rng: np.random.Generator) -> Places:
    """One item of each of n neighborhoods in the order of the bank; ties are in random order."""
    order = np.lexsort((rng.random(len(bank)), bank))
    ends = np.linspace(0, len(bank), n + 1)
    places = ends[:-1] + rng.random((repeats, n)) * (ends[1:] - ends[:-1])
    return np.asarray(order[places.astype(int)])


def study(models: Array, others: Callable[[int, int], Array], *, repeats: int, name: str) -> None:
    """Print error, half width and coverage on answers (N, M); `others` gives those of a bank (N, k)."""
    rng = np.random.default_rng(0)
    for n in SIZES:
        for size in BANKS:
            found: dict[str, list[tuple[Array, Array, Array]]] = {}
            for number in range(models.shape[1]):
                own, known = models[:, number], others(number, size)
                bank = (known.sum(axis=1) + 0.5) / (size + 1)
                for design, draw in (("random", at_random), ("spread", spread_out)):
                    at = draw(n, repeats, bank, rng)
                    for way, some in (
                        ("plain", plain(own[at], len(own))),
                        ("adjusted", adjusted(own[at], bank[at], float(bank.mean()), len(own))),
                    ):
                        truth = float(own.mean())
                        holds = ((some.low <= truth) & (truth <= some.high)).astype(float)
                        entry = (abs(some.value - truth), (some.high - some.low) / 2, holds)
                        found.setdefault(f"{design}, {way}", []).append(entry)
            _print(f"{name} | {n:5} | {size:2}", found)


def _print(head: str, found: Mapping[str, Sequence[tuple[Array, Array, Array]]]) -> None:
    cells = []
    for name, entries in found.items():
        error, half_width, holds = (np.concatenate([entry[k] for entry in entries]) for k in range(3))
        figures = f"{100 * error.mean():.2f} ±{100 * half_width.mean():.2f} {holds.mean():.2%}"
        cells.append(f"{name} {figures}")
    print(head, *cells, sep=" | ", flush=True)


def main() -> None:
    path = Path(sys.argv[1]) / "mmlu_pro_responses.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "question_id" and all(row[name] for row in rows)]
    real = np.array([[float(row[name]) for name in names] for row in rows])
    rng = np.random.default_rng(1)

    def others(number: int, size: int) -> Array:
        left = [one for one in range(real.shape[1]) if one != number]
        return real[:, rng.choice(left, size, replace=False)]

    print("models | items asked | bank | each: mean error, half width (points), coverage", flush=True)
    study(real, others, repeats=REPEATS, name=f"{real.shape[1]} real")
    share = (real.sum(axis=1) + 0.5) / (real.shape[1] + 1)
    logit = np.log(share / (1 - share))
    levels, slopes = rng.normal(0, 1.2, SIMULATED), rng.choice(SLOPES, SIMULATED)
    chances = 1 / (1 + np.exp(-(levels + slopes * logit[:, None])))
    simulated = (rng.random(chances.shape) < chances).astype(float)
    study(
        simulated,
        lambda _number, size: real[:, rng.choice(real.shape[1], size, replace=False)],
        repeats=SIMULATED_REPEATS,
        name=f"{SIMULATED} simulated",
    )


if __name__ == "__main__":
    main()
