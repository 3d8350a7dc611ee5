from __future__ import annotations

from types import SimpleNamespace

import pytest

from runners.engines import ChatPrompt, GenerationRequest
from runners.engines.thinking import ThinkingMarks
from runners.engines.vllm.answers import AnswerReader, ids_before_end, lacks_rows
from runners.engines.vllm.scoring import Probe

MARKS = ThinkingMarks("<think>", "</think>", (0,))
CHAT = ChatPrompt("Question", [])
OPEN = ChatPrompt("Question<think>", [])


class Letters:
    """A tokenizer for which every letter is a token."""

    all_special_tokens = ("<end>",)

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


def written(text: str, finish_reason: str = "stop") -> SimpleNamespace:
    """What vLLM gives back, in the attributes that are read."""
    times = SimpleNamespace(scheduled_ts=10.0, first_token_ts=10.5, last_token_ts=12.0)
    completion = SimpleNamespace(token_ids=[ord(c) for c in text], finish_reason=finish_reason)
    return SimpleNamespace(
        outputs=[completion], prompt_token_ids=[1, 2, 3], num_cached_tokens=2, metrics=times
    )


@pytest.mark.parametrize(
    ("prompt", "text", "thinking", "answer"),
    [
        (CHAT, " plain answer<end>", None, " plain answer"),
        (CHAT, "<think>hm\nhm</think>\n\nyes\nno", "hm\nhm", "yes"),
        (OPEN, "hm\nhm</think>\n\nyes\nno", "hm\nhm", "yes"),
        (OPEN, "hm</think>so <think>hm</think>yes", "hmso hm", "yes"),
        (OPEN, "hm</think>yes\n<think>hm</think>no", "hm", "yes"),
        (OPEN, "hm, hm", "hm, hm", ""),
        (CHAT, "<think>hm", "hm", ""),
    ],
    ids=[
        "none",
        "opened by itself",
        "opened by the prompt",
        "twice",
        "after the stop",
        "cut off",
        "cut off too",
    ],
)
def test_vllm_answers_the_answer_is_what_stands_between_thinking_and_stop(
    prompt: ChatPrompt, text: str, thinking: str | None, answer: str
) -> None:
    request = GenerationRequest(prompt, 50, stop=("\n",))
    got = AnswerReader(Letters(), MARKS, may_think=True).generation(request, written(text))
    assert (got.thinking, got.text, got.finish_reason) == (thinking, answer, "stop")


@pytest.mark.parametrize(
    ("text", "is_cut"),
    [("hm</think>yes\nand more", False), ("hm</think>yes", True), ("hm\nhm", True)],
    ids=["it went on after the stop string", "no stop string", "one inside the thinking"],
)
@pytest.mark.parametrize("reason", ["length", "repetition"])
def test_vllm_answers_an_answer_is_truncated_only_if_its_end_is_missing(
    text: str, reason: str, *, is_cut: bool
) -> None:
    request = GenerationRequest(OPEN, 50, stop=("\n",))
    got = AnswerReader(Letters(), MARKS, may_think=True).generation(request, written(text, reason))
    assert got.finish_reason == (reason if is_cut else "stop")


def test_vllm_answers_times_are_counted_from_the_start_of_the_work() -> None:
    got = AnswerReader(Letters(), None, may_think=True).generation(GenerationRequest("a", 9), written("b"))
    assert (got.ttft_s, got.latency_s, got.cached_tokens, got.prompt_tokens) == (0.5, 2.0, 2, 3)


def test_vllm_answers_only_where_thinking_can_be_do_stop_strings_wait() -> None:
    thinks = AnswerReader(Letters(), MARKS, may_think=True)
    assert thinks.stops_late(GenerationRequest(CHAT, 1))
    assert not thinks.stops_late(GenerationRequest("plain", 1))
    assert not AnswerReader(Letters(), MARKS, may_think=False).stops_late(GenerationRequest(CHAT, 1))
    assert not AnswerReader(Letters(), None, may_think=True).stops_late(GenerationRequest(CHAT, 1))


@pytest.mark.parametrize(
    ("n_cached", "n_rows", "lacks"),
    [(0, 9, False), (0, 6, False), (4, 6, False), (5, 6, True), (0, 5, True), (0, 0, True)],
    ids=["all", "enough", "cached before them", "one cached", "one lost", "all lost"],
)
def test_vllm_answers_rows_that_are_missing_are_noticed(n_cached: int, n_rows: int, *, lacks: bool) -> None:
    probe = Probe(tuple(range(11)), first_row=4)  # needs six rows, then the last token's
    logprobs = SimpleNamespace(start_indices=list(range(n_rows)), end_indices=list(range(n_rows)))
    output = SimpleNamespace(num_cached_tokens=n_cached, prompt_logprobs=logprobs)
    assert lacks_rows(probe, output) is lacks
    assert not lacks_rows(Probe((1, 2, 3), first_row=2), output)


@pytest.mark.parametrize(
    ("reason", "stopped_by", "kept"),
    [("stop", None, 2), ("stop", 7, 2), ("stop", "\n\n", 3), ("length", None, 3)],
    ids=["the end of text", "another end token", "a stop string", "the budget"],
)
def test_the_token_that_ended_an_answer_is_no_part_of_it(
    reason: str, stopped_by: int | str | None, kept: int
) -> None:
    completion = SimpleNamespace(token_ids=[5, 6, 7], finish_reason=reason, stop_reason=stopped_by)
    assert list(ids_before_end(completion)) == [5, 6, 7][:kept]
