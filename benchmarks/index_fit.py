"""Speed of refitting the index, compared with the published method in the same run.

Prints, on the newest shipped vintage: one refit and 500 bootstrap refits of ours; one published refit and
some published bootstrap refits (scipy, warm-started, as published), scaled to 500; and how far each result
is from the published values. Targets (docs/design.md §9): refit ≤ 0.2 s, 500 draws ≤ 20 s on 2 cores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np

from tracker.frontier.dataset import Array, Dataset, select
from tracker.frontier.index import DRAWS, DrawMethod, FitOptions, draw_index, fit_index, problem_of
from tracker.frontier.published import fit_as_published, fitted_vector
from tracker.frontier.tables import load_published_index, load_tables

REPEATS = 5  # of the central refits; the fastest counts
PUBLISHED_DRAWS = 10  # of 500: each takes about a second


def fastest_s(action: Callable[[], object]) -> float:
    """Wall time of the fastest of several calls."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return min(times)


def published_draws_s(data: Dataset, n_draws: int) -> float:
    """Wall time of bootstrap refits by the published optimizer, started at its own central solution."""
    problem = problem_of(data, FitOptions())
    central = fitted_vector(problem, weights=None, first=None)
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    for _ in range(n_draws):
        weights = np.zeros(data.score.size)
        for m in range(len(data.models)):
            rows = np.flatnonzero(data.model_of == m)
            weights[rows] = rng.multinomial(rows.size, np.full(rows.size, 1.0 / rows.size))
        fitted_vector(problem, weights=weights, first=central)
    return time.perf_counter() - began


def distance(data: Dataset, index: Array) -> str:
    """Mean and largest difference from the published index."""
    rows = [row for row in load_published_index() if row.vintage == data.vintage]
    errors = [abs(float(index[data.models.index(row.model)]) - row.index) for row in rows]
    return f"mean {np.mean(errors):.4f}, max {max(errors):.3f} over {len(errors)} published values"


def main() -> None:
    data = select(load_tables())
    print(
        f"{len(data.models)} models, {len(data.benchmarks)} benchmarks, {data.score.size} scores; "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    fit = fit_index(data)
    ours, published = fastest_s(lambda: fit_index(data)), fastest_s(lambda: fit_as_published(data))
    print(f"refit: ours {ours:.3f} s (target 0.2), published {published:.3f} s, ratio {published / ours:.1f}")
    print(f"  ours (exact minimum, objective {fit.objective:.9f}): {distance(data, fit.index)}")
    print(f"  published stopping point: {distance(data, fit_as_published(data).index[0])}")
    slow = published_draws_s(data, PUBLISHED_DRAWS) * DRAWS / PUBLISHED_DRAWS
    print(f"{DRAWS} draws, published method: {slow:.0f} s (from {PUBLISHED_DRAWS})")
    for method in DrawMethod:
        began = time.perf_counter()
        draw_index(fit, n_draws=DRAWS, method=method)
        took = time.perf_counter() - began
        print(f"{DRAWS} draws, ours, {method}: {took:.1f} s (target 20), ratio {slow / took:.0f}")


if __name__ == "__main__":
    main()
