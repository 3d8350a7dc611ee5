"""vLLM's own scheduler and processes with a simulated card: it is given work as fast as it takes it."""

from __future__ import annotations

import pytest

from benchmarks.card_wait import Speed, answers, choices, measured

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]

SLOW = Speed(step_ms=20.0, tokens_per_ms=20.0)  # a card that any processor keeps busy
FAST = Speed(step_ms=1.0, tokens_per_ms=200.0)


def test_each_question_is_computed_once_and_its_examples_once_for_each_subject() -> None:
    told = measured("bench", SLOW, choices(0.05))
    # 115 new tokens a question, and five examples of a subject for each twelve questions
    assert 115 < told["tokens_per_question"] < 115 + 600 / 12 + 15
    assert told["wall_s"] / 2 < told["card_s"] < told["wall_s"]


def test_the_card_computes_the_same_answers_through_the_bench_as_without_it() -> None:
    through, alone = (measured(side, FAST, answers(0.02), slots=16) for side in ("bench", "vllm"))
    assert through["tokens_per_question"] == pytest.approx(alone["tokens_per_question"], rel=0.02)
