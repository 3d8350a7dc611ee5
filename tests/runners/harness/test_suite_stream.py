"""Several suites of one load in one window: asked together, scored and ended each for itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from runners.child import Pipe
from runners.engines import Generation, GenerationRequest
from runners.hardware import MemoryWatch
from runners.harness import walk
from runners.harness.events import decode
from runners.harness.worker import JobStop, Reporter, Session
from tests.runners.harness.test_sampling import (
    ENGINE,
    DiceEngine,
    DyingEngine,
    OrderedEngine,
    PickyEngine,
    engine,
    model_in,
    suite,
)
from tracker.files.items import read_items, read_run, stored_parts
from tracker.records import EngineSettings, Item, Job, Run, RunRequest, RunStatus, Task
from tracker.settings import Settings

__all__ = ["engine"]
FIRST = suite(tasks=(Task("sums_few_shot"), Task("parity")), name="first")
SECOND = suite(
    tasks=(Task("sums_a", max_output_tokens=64), Task("sums_b", max_output_tokens=32)), name="second"
)


def measured(
    settings: Settings,
    engine: DiceEngine,
    *suites: object,
    numbers: str = "12",
    stop: Callable[[], bool] | None = None,
    **options: object,
) -> list[Run]:
    """The suites run in this process on a loaded engine."""
    requests = tuple(RunRequest(f"run-{n}", one) for n, one in zip(numbers, suites, strict=True))  # type: ignore[arg-type]
    made = Job(
        model_in(engine.folder), EngineSettings(engine=ENGINE), requests, str(settings.items_path), limit=40
    )
    settings.items_path.mkdir(parents=True, exist_ok=True)
    with (settings.home / "events").open("ab") as file:
        session = Session(replace(made, **options), Reporter(Pipe(file)), stop or JobStop())  # type: ignore[arg-type]
        session.begin()
        with MemoryWatch() as watch:
            session.run_all(engine, watch, load_s=0.0)
    return [read_run(settings.items_path / request.run_id) for request in requests]


def items_of(settings: Settings, run: Run) -> dict[str, dict[int, Item]]:
    return {
        score.task: dict(read_items(stored_parts(settings.items_path, score.fingerprint)))
        for score in run.scores
    }


def test_suites_of_one_load_are_one_window_and_score_what_each_scores_alone(
    settings: Settings, engine: DiceEngine
) -> None:
    other = settings.model_copy(update={"home": settings.home / "other"})
    ordered = OrderedEngine(engine.folder)
    together, alone = measured(settings, ordered, FIRST, SECOND), measured(other, engine, FIRST, SECOND)
    assert ordered.n_calls == 1
    assert [one.max_output_tokens for one in ordered.asked[-5:]] == [16] * 5  # of the first suite
    for one, same in zip(together, alone, strict=True):
        assert (one.status, one.scores, one.metrics) == (RunStatus.COMPLETE, same.scores, same.metrics)
        assert (one.n_items, one.n_reused_items, one.warnings) == (80, 0, same.warnings)
        assert (one.prompts, one.sampling_values) == (same.prompts, same.sampling_values)
        assert items_of(settings, one) == items_of(other, same)
        assert (one.cost.prompt_tokens, one.cost.output_tokens) == (
            same.cost.prompt_tokens,
            same.cost.output_tokens,
        )
        assert one.cost.duration_s > 0
    assert together[0].cost.tokens_per_s == pytest.approx(together[1].cost.tokens_per_s)
    assert sum(run.cost.prefilled_tokens for run in together) == ordered.prefilled_tokens
    again = measured(settings, ordered, FIRST, SECOND, numbers="34")
    assert [run.n_reused_items for run in again] == [80, 80]
    assert ordered.n_calls == 1
    events = [decode(line) for line in (settings.home / "events").read_bytes().splitlines()]
    assert [(e.run_id, e.task, e.n_total) for e in events if e.event == "task"][:2] == [
        ("run-1", "first, 1 task", 40),
        ("run-2", "second, 2 tasks", 80),
    ]


def test_suites_of_one_load_share_the_answers_to_a_task_that_both_have(
    settings: Settings, engine: DiceEngine
) -> None:
    ordered = OrderedEngine(engine.folder)
    both = replace(SECOND, tasks=(*SECOND.tasks, Task("sums_few_shot")))
    first, second = measured(settings, ordered, FIRST, both)
    assert (first.n_items, second.n_items, second.n_reused_items) == (80, 120, 40)
    assert len(ordered.asked) == 120
    assert [(reuse.run_id, reuse.n_items) for reuse in second.reused] == [("run-1", 40)]


def test_suites_of_one_load_are_asked_alone_if_the_engine_cannot_do_one_of_them(
    settings: Settings, engine: DiceEngine
) -> None:
    first, second = measured(settings, PickyEngine(engine.folder), FIRST, SECOND)
    assert (first.status, first.n_items, first.n_reused_items) == (RunStatus.COMPLETE, 80, 0)
    assert (second.status, second.reason) == (RunStatus.PARTIAL, "tasks_unavailable")
    assert [score.task for score in second.scores] == ["sums_b"]


def test_suites_of_one_load_that_are_complete_are_scored_if_the_engine_dies_and_the_rest_is_resumed(
    settings: Settings, engine: DiceEngine
) -> None:
    runs = measured(settings, DyingEngine(engine.folder), FIRST, SECOND)
    assert [(run.status, run.reason) for run in runs] == [(RunStatus.FAILED, "out_of_memory")] * 2
    assert [[score.task for score in run.scores] for run in runs] == [[], ["sums_a", "sums_b"]]
    resumed = OrderedEngine(engine.folder)
    first, second = measured(settings, resumed, FIRST, SECOND, numbers="34")
    assert [run.status for run in (first, second)] == [RunStatus.COMPLETE] * 2
    assert (second.n_reused_items, len(resumed.asked)) == (80, 40 - first.n_reused_items)
    assert 0 < first.n_reused_items < 40


def test_suites_of_one_load_that_are_stopped_keep_and_score_what_each_has(
    settings: Settings, engine: DiceEngine
) -> None:
    ordered = OrderedEngine(engine.folder)
    runs = measured(settings, ordered, FIRST, SECOND, stop=lambda: len(ordered.asked) >= 95)
    assert [run.status for run in runs] == [RunStatus.INTERRUPTED] * 2
    assert [[score.task for score in run.scores] for run in runs] == [["sums_few_shot"], ["sums_a", "sums_b"]]
    n_answers = sum(run.n_items for run in runs)
    assert len(ordered.asked) == n_answers == 95
    resumed = measured(settings, ordered, FIRST, SECOND, numbers="34")
    assert sum(run.n_reused_items for run in resumed) == n_answers


class ForgetfulEngine(OrderedEngine):
    """Cannot compare choices for want of memory, and counts truncated prompts."""

    def answer(self, place: int, request: GenerationRequest) -> Generation:
        self.cut_requests += place == 0
        return super().answer(place, request)

    def _answer_one(self) -> None:
        self._rules["out_of_memory_at"] = self._n_answered + 1
        super()._answer_one()


def test_suites_of_one_load_answered_before_the_engine_dies_are_scored(
    settings: Settings, engine: DiceEngine
) -> None:
    first, second = measured(settings, ForgetfulEngine(engine.folder), FIRST, SECOND)
    assert [(run.status, run.reason) for run in (first, second)] == [(RunStatus.FAILED, "out_of_memory")] * 2
    assert [score.task for score in (*first.scores, *second.scores)] == ["sums_few_shot", "sums_a", "sums_b"]
    told = "of 2 suites asked together, 1 prompt was truncated on the left to the model's 4096 tokens"
    assert told in first.warnings
    assert told in second.warnings


@pytest.mark.parametrize(
    "options",
    [{"minutes": 60.0}, {"until_half_width": 0.1}],
    ids=["time may run out", "scores end a task"],
)
def test_suites_whose_order_matters_follow_each_other(
    settings: Settings, engine: DiceEngine, options: dict[str, float]
) -> None:
    ordered = OrderedEngine(engine.folder)
    measured(settings, ordered, FIRST, SECOND, **options)
    budgets = [one.max_output_tokens for one in ordered.asked]
    assert budgets.index(64) > max(n for n, budget in enumerate(budgets) if budget == 16)


class NotingEngine(OrderedEngine):
    """Notes the budgets of the answers of each call, in the order in which they are begun."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.begun: list[list[int]] = []

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        self.begun.append([request.max_output_tokens for request in requests])
        yield from super().generate(requests)


def test_suites_under_a_time_budget_are_one_window_in_their_order(
    settings: Settings, engine: DiceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = replace(FIRST, tasks=(Task("sums_few_shot"),))
    mixed = replace(SECOND, tasks=(*SECOND.tasks, Task("parity"), Task("sums")))
    noting = NotingEngine(engine.folder)
    runs = measured(settings, noting, written, mixed, minutes=60.0)
    assert [run.status for run in runs] == [RunStatus.COMPLETE] * 2
    window, after_parity = noting.begun
    assert (window, after_parity) == ([16] * 40 + [64] * 40 + [32] * 40, [16] * 40)


def test_suites_out_of_time_score_the_first_of_each_draw_that_all_have_an_answer(
    settings: Settings, engine: DiceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = replace(FIRST, tasks=(Task("sums_few_shot"),))
    ended = OrderedEngine(engine.folder)
    is_over = SimpleNamespace(monotonic=lambda: math.inf if len(ended.asked) >= 100 else 0.0)
    monkeypatch.setattr(walk, "time", is_over)
    first, second = measured(settings, ended, written, SECOND, minutes=60.0)
    assert len(ended.asked) == 100
    assert [(run.status, run.reason) for run in (first, second)] == [(RunStatus.PARTIAL, "time_budget")] * 2
    order = np.random.default_rng(0).permutation(40).tolist()
    for run in (first, second):
        for score in run.scores:
            has_items = items_of(settings, run)[score.task]
            assert score.n_items == next((n for n, doc in enumerate(order) if doc not in has_items), 40)
    assert [score.task for score in first.scores + second.scores][:2] == ["sums_few_shot", "sums_a"]
    n_behind = 100 - first.n_items - second.n_items
    told = [int(text.split()[2]) for run in (first, second) for text in run.warnings if "behind" in text]
    assert sum(told) == n_behind > 0
    monkeypatch.undo()
    again = measured(settings, engine, written, SECOND, numbers="34")
    assert sum(run.n_reused_items for run in again) == 100
    assert [run.status for run in again] == [RunStatus.COMPLETE] * 2


def test_suites_on_an_engine_that_sorts_follow_each_other(settings: Settings, engine: DiceEngine) -> None:
    measured(settings, engine, FIRST, SECOND)
    assert [one.max_output_tokens for one in engine.asked] == [16] * 40 + [64] * 40 + [32] * 40
