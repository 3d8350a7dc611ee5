"""vLLM's own scheduler and processes with a simulated card: it is given work as fast as it takes it."""

from __future__ import annotations

import pytest

from benchmarks.choice_stream import N_SUBJECTS, Speed, measured

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]

SLOW = Speed(step_ms=20.0, tokens_per_ms=10.0)  # a card that any processor keeps busy
N_QUESTIONS = 10 * N_SUBJECTS


@pytest.mark.parametrize("side", ["bench", "vllm"])
def test_each_question_is_computed_once_and_its_examples_once_for_each_subject(side: str) -> None:
    told = measured(side, SLOW, N_QUESTIONS)
    # 115 new tokens a question, and five examples of a subject for each ten questions
    assert 115 < told["tokens_per_question"] < 115 + 600 / 10 + 15
    assert told["card_s"] < told["wall_s"]
    assert told["busy"] > 0.5
