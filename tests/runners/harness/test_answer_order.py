"""The order in which answers begin where stored ones tell which are long; nothing else depends on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from runners.engines import GenerationRequest
from runners.harness.answer_order import longest_first
from runners.harness.lm_tasks import load_task
from runners.harness.questions import TaskQuestion
from runners.harness.walk import RunningSuite, prepare
from tests.runners.harness.test_sampling import (
    ENGINE,
    THREE,
    DiceEngine,
    OrderedEngine,
    engine,
    items_of,
    model_in,
    suite,
)
from tracker.records import EngineSettings, Job, RunRequest, Suite, Task
from tracker.records.shards import Share
from tracker.settings import Settings

__all__ = ["engine"]
EXPECTED = {  # tokens; the budgets are 16, 64 and 32
    "sums_few_shot": tuple(range(1, 41)),
    "sums_a": (*range(40, 0, -1),),
}


def walked(
    settings: Settings,
    engine: DiceEngine,
    asked: Suite,
    expected: Mapping[str, tuple[int, ...]],
    *,
    run_id: str = "run-1",
    n_answers: int | None = None,
    share: Share | None = None,
) -> RunningSuite:
    request = RunRequest(run_id, asked)
    job = Job(
        model_in(engine.folder), EngineSettings(engine=ENGINE), (request,), str(settings.items_path),
        limit=40, expected_tokens=expected,
    )  # fmt: skip
    tasks = prepare(asked, cache_path=settings.home / "cache")
    found = RunningSuite(
        engine, job, request, tasks, lambda event: None,
        lambda: n_answers is not None and len(engine.asked) >= n_answers, share=share,
    )  # fmt: skip
    found.run_tasks()
    return found


class InOrderEngine(OrderedEngine):
    """Ends its answers in the order in which it begins them."""

    @staticmethod
    def n_steps(_place: int) -> int:
        return 1


def test_answers_expected_to_be_longest_begin_first_and_change_no_score_and_no_item(
    settings: Settings, engine: DiceEngine, tmp_path: Path
) -> None:
    other = settings.model_copy(update={"home": tmp_path / "other"})
    ordered, three = InOrderEngine(engine.folder), suite(tasks=THREE, repeats=2)
    sorted_run, plain = walked(settings, ordered, three, EXPECTED), walked(other, engine, three, {})
    # of `sums_a` two repeats of 40 to 32 tokens, then all of `sums_b`, of which only the budget is known
    begun = [one.max_output_tokens for one in ordered.asked]
    assert (ordered.n_calls, begun[:18], begun[18:100]) == (1, [64] * 18, [32] * 80 + [64] * 2)
    assert sorted(begun[-4:]) == [16, 16, 64, 64]  # two repeats of one token each
    assert sorted_run.tally.scores == plain.tally.scores
    assert sorted_run.tally.metrics == plain.tally.metrics
    for one, same in zip(sorted_run.tally.scores, plain.tally.scores, strict=True):
        assert items_of(settings, one) == items_of(other, same)


def test_answers_expected_to_be_longest_begin_first_after_a_stop_as_well(
    settings: Settings, engine: DiceEngine, tmp_path: Path
) -> None:
    other = settings.model_copy(update={"home": tmp_path / "other"})
    whole = walked(other, InOrderEngine(engine.folder), suite(tasks=THREE), EXPECTED).tally
    walked(settings, InOrderEngine(engine.folder), suite(tasks=THREE), EXPECTED, n_answers=30)
    resumed = InOrderEngine(engine.folder)
    tally = walked(settings, resumed, suite(tasks=THREE), EXPECTED, run_id="run-2").tally
    assert (tally.n_items, tally.n_reused_items, len(resumed.asked)) == (120, 30, 90)
    assert [score.value for score in tally.scores] == [score.value for score in whole.scores]
    begun = [one.max_output_tokens for one in resumed.asked]
    assert begun[:20] == [32] * 19 + [64]  # nine that are longer and 21 of these are stored


@pytest.mark.parametrize(
    ("share", "longest"),
    [(None, [1, 5, 0]), (Share(0, 2), [0, 2, 6]), (Share(1, 2), [1, 5, 7])],
    ids=["one worker", "the first of two", "the second of two"],
)
def test_a_single_task_begins_with_its_longest_answers(
    settings: Settings, engine: DiceEngine, share: Share | None, longest: list[int]
) -> None:
    ordered = InOrderEngine(engine.folder)
    walked(settings, ordered, suite("sums"), {"sums": (0, 9, 0, 1, 5, 7)}, share=share)
    questions = {question.prompt: question.doc_id for question in questions_of(settings)}
    assert [questions[request.prompt] for request in ordered.asked[:3]] == longest


def test_an_engine_that_sorts_gets_the_questions_in_the_order_of_the_task(
    settings: Settings, engine: DiceEngine
) -> None:
    walked(settings, engine, suite("sums"), {"sums": tuple(range(1, 41))})
    numbers = [int(request.prompt.split()[1]) for request in engine.asked]
    assert numbers == sorted(numbers)


def questions_of(settings: Settings) -> list[TaskQuestion]:
    asked = suite("sums")
    (leaf,) = load_task(Task("sums"), asked, cache_path=settings.home / "cache").leaves
    return leaf.questions(docs=tuple(range(8)), chat_prompt=None)


def places(questions: Sequence[TaskQuestion]) -> list[int]:
    return [question.doc_id for question in questions]


@pytest.mark.parametrize(
    ("expected", "order"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"sums": (1, 2, 3, 4, 5, 6)}, [5, 4, 3, 6, 7, 2, 1, 0]),
        ({"sums": (1, 0, 9, 0, 5)}, [2, 1, 3, 4, 5, 6, 7, 0]),  # unknown: as the median of 1, 5 and 9
        ({"sums": (0, 0)}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"sums": (900, 901, 3)}, [0, 1, 3, 4, 5, 6, 7, 2]),  # no answer is longer than its budget
        ({"parity": (1, 2, 3, 4, 5, 6)}, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_longest_first_by_what_is_known(
    settings: Settings, expected: dict[str, tuple[int, ...]], order: list[int]
) -> None:
    assert places(longest_first(questions_of(settings), expected)) == order


@pytest.mark.parametrize(("seed", "order"), [(None, [0, 1, 2]), (7, [1, 2, 0])])
def test_longest_first_keeps_the_order_of_equal_prompts_whose_seeds_are_numbered(
    settings: Settings, seed: int | None, order: list[int]
) -> None:
    sampled = GenerationRequest("Q: 1 + 1 =\nA:", 16, temperature=0.7, seed=seed)
    first, second, third, *_ = questions_of(settings)
    same = [replace(one, prompt=sampled.prompt, requests=(sampled,)) for one in (first, second)]
    assert places(longest_first([*same, third], {"sums": (1, 9, 5)})) == order
