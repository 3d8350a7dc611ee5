"""A run of the store is placed on the index, or the reason is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.some_runs import run, score
from tracker.cli.bench_output import document
from tracker.frontier.placement import Placement, Unplaced
from tracker.placing import place_run
from tracker.records import Run
from tracker.settings import Settings
from tracker.store import Store, publish

PLACEMENT_CONTRACT = {
    "index", "ci_low", "ci_high", "months_behind", "months_ci_low", "months_ci_high", "tasks",
}  # fmt: skip


@pytest.fixture
def anchored() -> Run:
    """A run of two tasks that are on the scale of the index."""
    a_run = run(1)
    scores = tuple(score(task, a_run.model, value) for task, value in (("mmlu", 0.65), ("gsm8k", 0.7)))
    return replace(a_run, suite="anchor-small", scores=scores, limit=None)


def test_a_run_of_anchored_tasks_is_placed_and_says_that_it_is_uncalibrated(
    settings: Settings, anchored: Run
) -> None:
    with Store.open(settings) as store:
        store.add_run(anchored)
    publish(settings)
    placement = place_run(anchored, settings)
    assert isinstance(placement, Placement)
    assert placement.ci_low < placement.index < placement.ci_high
    assert (placement.tasks, placement.calibrated) == (("mmlu", "gsm8k"), False)
    shown = document(anchored, placement)["placement"]
    assert shown.keys() >= PLACEMENT_CONTRACT
    better = replace(anchored, scores=tuple(replace(s, value=0.9) for s in anchored.scores))
    higher = place_run(better, settings)
    assert isinstance(higher, Placement)
    assert higher.index > placement.ci_high


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"suite": "quick", "scores": run(1).scores}, "none of the tasks is on the scale"),
        ({"limit": 50}, "--limit"),
    ],
    ids=["quick", "the first fifty items"],
)
def test_a_run_that_cannot_be_placed_says_why(
    settings: Settings, anchored: Run, change: dict[str, object], says: str
) -> None:
    unplaced = place_run(replace(anchored, **change), settings)  # type: ignore[arg-type]
    assert isinstance(unplaced, Unplaced)
    assert says in unplaced.reason
    shown = document(anchored, unplaced)
    assert (shown["placement"], shown["placement_note"]) == (None, unplaced.reason)
