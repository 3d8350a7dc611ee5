"""How well is a model placed from a few benchmarks? Leave one out, on published scores.

For every second model that has the named benchmarks: the index is fitted without it, the model is placed
from those scores alone, and the place is compared with the one that the fit over everything gives it.
Target: mean error ≤ 1.5 points for GPQA diamond + OTIS Mock AIME + MATH level 5. Draws come from the fit
over everything. Takes about two minutes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tracker.frontier.dataset import dataset
from tracker.frontier.facts import BenchmarkFacts
from tracker.frontier.index import ANCHORS, IndexFit, fit_index
from tracker.frontier.placement import Measured, Placement, Scale, place
from tracker.frontier.question import Fitted, Question, axis, fitted
from tracker.frontier.tables import Tables, load_tables

BASKETS = (
    ("GPQA diamond", "OTIS Mock AIME 2024-2025", "MATH level 5"),
    ("GPQA diamond", "MATH level 5"),
    ("GPQA diamond",),
    ("MMLU", "GSM8K", "ARC AI2", "HellaSwag", "Winogrande"),
)
N_DRAWS = 200


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
    """Of each model: placed minus true index, and whether the interval holds the truth."""
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
        placed = place([scores[model][name] for name in basket], replace(scale, fit=fit_index(without)))
        truth = float(whole.fit.index[data.models.index(model)])
        assert isinstance(placed, Placement)
        found.append((placed.index - truth, placed.ci_low <= truth <= placed.ci_high))
    return found


def main() -> None:
    tables = load_tables()
    whole = fitted(tables, Question(n_draws=N_DRAWS), None)
    for basket in BASKETS:
        found = errors(tables, whole, basket)
        error = np.array([row[0] for row in found])
        held = np.mean([row[1] for row in found])
        print(
            f"{' + '.join(basket)}: {error.size} models, mean error {np.abs(error).mean():.2f}, "
            f"median {np.median(np.abs(error)):.2f}, bias {error.mean():+.2f}, in the interval {held:.0%}"
        )


if __name__ == "__main__":
    main()
