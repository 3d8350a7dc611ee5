"""The vLLM engine answers as the transformers engine does, and computes what is shared once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import pytest

from runners.engines import ChatPrompt, Continuation, ContinuationRequest, Engine, GenerationRequest

# both in float32: their kernels add in another order
LOG_PROB_TOLERANCE = 1e-3
ROUNDING = 1e-4  # the same kernels, other batches
# near ties; one of the texts below may go another way
EQUAL_TEXTS = 0.95

LOOP = "max_pattern_size=8,min_count=4"

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]

SHOTS = "".join(f"Question: what is {n} plus {n}?\nAnswer: {2 * n}\n\n" for n in range(1, 11))
WORDS = ["red", "green", "blue", "white", "black", "brown", "grey", "pink", "gold", "dark", "light", "warm"]


def question(n: int, *choices: str) -> list[ContinuationRequest]:
    context = f"{SHOTS}Question: what is {n} plus {n + 1}?\nAnswer:"
    return [ContinuationRequest(context, choice) for choice in choices]


def questions() -> list[ContinuationRequest]:
    """Contexts of every length around a block, choices that part early, late and not at all."""
    requests: list[ContinuationRequest] = []
    for n, word in enumerate(WORDS):
        context = f"{SHOTS}{' '.join(WORDS[: n + 1])}"
        requests += [ContinuationRequest(context, f" {word}"), ContinuationRequest(context, " and then some")]
        requests += [ContinuationRequest(context, " and then none"), ContinuationRequest(context, " I do")]
    requests += [ContinuationRequest("", "Once upon a time"), ContinuationRequest("The sky is ", "blue")]
    requests += [requests[0], ContinuationRequest("A", f" {' '.join(WORDS * 3)} one")]
    return [*requests, ContinuationRequest("A", f" {' '.join(WORDS * 3)} two")]


def answers(engine: Engine, requests: Sequence[ContinuationRequest]) -> list[Continuation]:
    found = dict(engine.log_probs(requests))
    return [found[place] for place in range(len(requests))]


def n_prefilled(engine: Engine) -> int:
    return int(getattr(engine, "prefilled_tokens"))  # noqa: B009


def test_log_probs_are_those_of_transformers(vllm_engine: Engine, reference: Engine) -> None:
    ours, theirs = answers(vllm_engine, questions()), answers(reference, questions())
    worst = max(abs(a.log_prob - b.log_prob) for a, b in zip(ours, theirs, strict=True))
    print(f"largest difference of a summed log-prob: {worst:.2e}")
    assert worst <= LOG_PROB_TOLERANCE
    assert [a.is_greedy for a in ours] == [b.is_greedy for b in theirs]
    assert [(a.prompt_tokens, a.output_tokens) for a in ours] == [
        (b.prompt_tokens, b.output_tokens) for b in theirs
    ]


def test_log_probs_are_the_same_in_chunks_that_follow_each_other(
    vllm_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = answers(vllm_engine, questions())
    monkeypatch.setattr("runners.engines.vllm.engine.PAIRS_AT_ONCE", 7)
    in_chunks = answers(vllm_engine, questions())
    assert [a.log_prob for a in in_chunks] == pytest.approx([a.log_prob for a in whole], abs=ROUNDING)
    assert [(a.is_greedy, a.prompt_tokens, a.output_tokens) for a in in_chunks] == [
        (a.is_greedy, a.prompt_tokens, a.output_tokens) for a in whole
    ]


def test_reading_the_cache_changes_nothing_beyond_rounding(vllm_engine: Engine) -> None:
    requests = question(40, " eighty one", " eighty two", " ninety", " I do not know")
    cold, warm = [], []
    for request in requests:
        assert getattr(vllm_engine, "_llm").reset_prefix_cache()  # noqa: B009
        cold += answers(vllm_engine, [request])
    for request in requests:
        assert getattr(vllm_engine, "_llm").reset_prefix_cache()  # noqa: B009
        answers(vllm_engine, question(40, " zebra"))
        warm += answers(vllm_engine, [request])
    worst = max(abs(a.log_prob - b.log_prob) for a, b in zip(cold, warm, strict=True))
    print(f"largest difference by the cache: {worst:.2e}")
    assert worst <= ROUNDING
    assert [a.cached_tokens for a in cold] == [0, 0, 0, 0]
    assert all(a.cached_tokens > a.prompt_tokens / 2 for a in warm)


def test_what_is_asked_twice_is_answered_twice(vllm_engine: Engine) -> None:
    requests = question(41, " eighty one", " eighty two", " I do not know")
    first, second = answers(vllm_engine, requests), answers(vllm_engine, requests)
    assert [a.log_prob for a in first] == pytest.approx([a.log_prob for a in second], abs=ROUNDING)
    assert [a.is_greedy for a in first] == [a.is_greedy for a in second]


def test_what_was_computed_is_counted(vllm_engine: Engine) -> None:
    requests = [r for n in range(50, 60) for r in question(n, " one hundred", " two hundred", " no", " yes")]
    before = n_prefilled(vllm_engine)
    found = answers(vllm_engine, requests)
    n_computed = n_prefilled(vllm_engine) - before
    assert sum(a.prompt_tokens + a.output_tokens - 1 - a.cached_tokens for a in found) == n_computed
    n_stock = sum(a.prompt_tokens + a.output_tokens for a in found)
    print(f"tokens prefilled: {n_computed} where stock lm-eval takes {n_stock}: 1/{n_stock / n_computed:.1f}")
    assert n_computed * 5 <= n_stock


def test_choices_of_one_token_are_one_request(vllm_engine: Engine) -> None:
    requests = [ContinuationRequest("Letters of the alphabet, one by one:", f" {x}") for x in "ABCD"]
    before = n_prefilled(vllm_engine)
    found = answers(vllm_engine, requests)
    assert n_prefilled(vllm_engine) - before == found[0].prompt_tokens
    assert {a.output_tokens for a in found} == {1}


def test_greedy_answers_are_those_of_transformers(vllm_engine: Engine, reference: Engine) -> None:
    asked = [f"What is {n} plus {n}?" for n in range(2, 8)] + [f"Name a {w} thing." for w in WORDS[:4]]
    prompts = [vllm_engine.chat_prompt([{"role": "user", "content": text}]) for text in asked]
    assert prompts == [reference.chat_prompt([{"role": "user", "content": text}]) for text in asked]
    requests = [GenerationRequest(prompt, 20, stop=("\n\n",)) for prompt in prompts]
    requests += [GenerationRequest(f"{SHOTS}Question: what is {n} plus 1?\nAnswer:", 6) for n in range(10)]
    ours, theirs = dict(vllm_engine.generate(requests)), dict(reference.generate(requests))
    equal = [
        (ours[n].text, ours[n].finish_reason, ours[n].prompt_tokens)
        == (theirs[n].text, theirs[n].finish_reason, theirs[n].prompt_tokens)
        for n in range(len(requests))
    ]
    print(f"equal answers: {sum(equal)} of {len(equal)}")
    assert sum(equal) >= EQUAL_TEXTS * len(equal)


def test_an_answer_ends_before_its_stop_string(vllm_engine: Engine) -> None:
    ((_, answer),) = vllm_engine.generate([GenerationRequest("1, 2, 3, 4,", 40, stop=(" 8",))])
    assert (answer.text, answer.finish_reason) == (" 5, 6, 7,", "stop")


def test_an_answer_without_room_is_cut_and_says_so(vllm_engine: Engine) -> None:
    ((_, answer),) = vllm_engine.generate([GenerationRequest("1, 2, 3, 4,", 5)])
    assert (answer.finish_reason, answer.output_tokens) == ("length", 5)


def test_a_prompt_too_long_leaves_room_for_the_answer(vllm_engine: Engine) -> None:
    max_len = vllm_engine.info.max_model_len
    budget = max_len - 50  # so that little of the prompt is left to be read
    ((_, answer),) = vllm_engine.generate([GenerationRequest("1 2 3 " * 100, budget, stop=("1", "2", "3"))])
    assert answer.prompt_tokens == 50


def test_answers_come_one_by_one_with_their_times(vllm_engine: Engine) -> None:
    requests = [GenerationRequest("1, 2, 3,", n) for n in (40, 2, 20)]
    found = list(vllm_engine.generate(requests))
    assert [place for place, _ in found] == [1, 2, 0]
    for _, answer in found:
        assert answer.ttft_s is not None
        assert answer.latency_s is not None
        assert 0 < answer.ttft_s <= answer.latency_s


def test_a_caller_that_has_enough_leaves_nothing_running(vllm_engine: Engine) -> None:
    with closing(vllm_engine.generate([GenerationRequest("Once", n) for n in (1, 500, 500)])) as stream:  # type: ignore[type-var]
        next(stream)
    ((_, answer),) = vllm_engine.generate([GenerationRequest("1, 2, 3,", 4)])
    assert answer.output_tokens == 4


def test_sampled_answers_can_be_repeated(vllm_engine: Engine) -> None:
    requests = [GenerationRequest("Once upon a time", 12, temperature=1.0, top_p=0.9) for _ in range(3)]
    first, second = dict(vllm_engine.generate(requests)), dict(vllm_engine.generate(requests))
    assert [first[n].text for n in range(3)] == [second[n].text for n in range(3)]
    assert len({first[n].text for n in range(3)}) > 1


def test_an_answer_in_a_loop_is_cut_off_where_vllm_and_transformers_agree(
    vllm_engine: Engine, reference: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [GenerationRequest("1 2 3 " * 4, 60), GenerationRequest("Once upon a time", 30)]
    whole = dict(vllm_engine.generate(asked))
    for engine in (vllm_engine, reference):
        settings = replace(getattr(engine, "_settings"), repetition_detection=LOOP)  # noqa: B009
        monkeypatch.setattr(engine, "_settings", settings)
    ours, theirs = dict(vllm_engine.generate(asked)), dict(reference.generate(asked))
    assert [whole[n].finish_reason for n in range(2)] == ["length", "length"]
    assert [ours[n].finish_reason for n in range(2)] == ["repetition", "length"]
    assert ours[0].output_tokens < whole[0].output_tokens
    assert whole[0].text.startswith(ours[0].text)
    assert [(ours[n].text, ours[n].output_tokens) for n in range(2)] == [
        (theirs[n].text, theirs[n].output_tokens) for n in range(2)
    ]


def test_thinking_is_separated_from_the_answer(vllm_engine: Engine, reference: Engine) -> None:
    shots = "".join(f"Q: is {word} a colour?\n<think>\nlet me see\n</think>\nyes\n\n" for word in WORDS)
    prompt = ChatPrompt(f"{shots}Q: is violet a colour?\n<think>\n", [])
    request = GenerationRequest(prompt, 24, stop=("\n\n", "let"))  # neither may end the thinking
    ((_, answer),) = vllm_engine.generate([request])
    assert (answer.thinking, answer.text, answer.finish_reason) == ("let me see", "yes", "stop")
    ((_, theirs),) = reference.generate([request])
    assert (theirs.thinking, theirs.text, theirs.finish_reason) == ("let me see", "yes", "stop")


def test_thinking_that_is_cut_off_is_no_answer(vllm_engine: Engine) -> None:
    ((_, answer),) = vllm_engine.generate([GenerationRequest("Q: why is the sky blue?\n<think>", 6)])
    assert (answer.text, answer.finish_reason) == ("", "length")
    assert answer.thinking
