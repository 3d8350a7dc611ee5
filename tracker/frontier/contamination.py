"""Compare models on benchmarks whose questions they cannot have seen.

A model's index on benchmarks that are private, or that came out after the model, against its index on
all. Epoch AI's mask (eci-public `scripts/fit_subset.py` at 6ece2e1). A negative
difference means better on what it may have seen. This is a hint, not proof: private benchmarks also differ in
other ways.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracker.frontier.facts import PrivateList
from tracker.frontier.index import INTERVAL, IndexDraws, IndexFit
from tracker.frontier.population import Label
from tracker.frontier.projection import project
from tracker.frontier.tables import Tables


@dataclass(frozen=True, slots=True)
class Contamination:
    """One model's index on benchmarks it cannot have seen, and on all."""

    model: str
    index: float
    unseen_index: float
    difference: float  # unseen minus general
    ci_low: float
    ci_high: float
    n_unseen: int
    n_benchmarks: int


def unseen_rows(
    tables: Tables, fit: IndexFit, by_model: dict[str, Label], private_list: PrivateList
) -> npt.NDArray[np.bool_]:
    """(R,) whether the benchmark is private or younger than the model; unknown dates count as seen."""
    data = fit.data
    private = np.array([tables.benchmarks[name].is_private(private_list) for name in data.benchmarks])
    dates = [tables.benchmarks[name].released for name in data.benchmarks]
    benchmark_day = np.array([day.toordinal() if day else 0 for day in dates])
    model_day = np.array([by_model[model].released.toordinal() for model in data.models])
    rows: npt.NDArray[np.bool_] = private[data.benchmark_of] | (
        benchmark_day[data.benchmark_of] > model_day[data.model_of]
    )
    return rows


def contamination(
    tables: Tables, fit: IndexFit, draws: IndexDraws, by_model: dict[str, Label], private_list: PrivateList
) -> tuple[Contamination, ...]:
    """Every model with three or more unseen benchmarks and a seen one, the lowest difference first."""
    data = fit.data
    placed = project(fit, draws, unseen_rows(tables, fit, by_model, private_list))
    apart = placed.draws - draws.index
    counts = data.n_benchmarks_of
    found = []
    for m, model in enumerate(data.models):
        if not np.isfinite(placed.value[m]) or placed.n_rows[m] == counts[m]:
            continue
        low, high = np.quantile(apart[:, m], INTERVAL)
        found.append(
            Contamination(
                model=model,
                index=float(fit.index[m]),
                unseen_index=float(placed.value[m]),
                difference=float(placed.value[m] - fit.index[m]),
                ci_low=float(low),
                ci_high=float(high),
                n_unseen=int(placed.n_rows[m]),
                n_benchmarks=int(counts[m]),
            )
        )
    return tuple(sorted(found, key=lambda row: row.difference))
