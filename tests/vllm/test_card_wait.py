"""vLLM's own scheduler and processes with a simulated card: it is given work as fast as it takes it."""

from __future__ import annotations

import pytest

from benchmarks.card_wait import Speed, answers, choices, measured

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]

SLOW = Speed(step_ms=20.0, tokens_per_ms=10.0)  # a card that any processor keeps busy


@pytest.mark.parametrize("side", ["bench", "vllm"])
def test_each_question_is_computed_once_and_its_examples_once_for_each_subject(side: str) -> None:
    told = measured(side, SLOW, choices(0.05))
    # 115 new tokens a question, and five examples of a subject for each twelve questions
    assert 115 < told["tokens_per_question"] < 115 + 600 / 12 + 15
    assert told["card_s"] < told["wall_s"]
    assert told["busy"] > 0.5


def test_the_card_computes_the_same_answers_through_the_bench_as_without_it() -> None:
    through, alone = (measured(side, SLOW, answers(0.03), slots=16) for side in ("bench", "vllm"))
    assert through["tokens_per_question"] == pytest.approx(alone["tokens_per_question"], rel=0.02)
    assert through["card_s"] == pytest.approx(alone["card_s"], rel=0.1)
