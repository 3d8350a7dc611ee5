"""The transformers engine answers as a plain reading would, with less to compute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import MambaConfig, MistralConfig

from runners.engines import ChatPrompt, ContinuationRequest, GenerationRequest
from runners.engines.encoding import encode_pairs, plan_inputs
from runners.engines.transformers.decoding import Decoder, decodes_shared
from runners.engines.transformers.engine import TransformersEngine
from runners.engines.transformers.scoring import score_unpacked
from runners.models.demo import demo_model
from tests.builders.tiny_models import (
    save_random,
    save_speaker,
    tiny_config,
    tiny_tokenizer,
)
from tracker.errors import EngineError
from tracker.records import EngineSettings, Model, RepetitionLimits
from tracker.settings import Settings

TOKENIZER = tiny_tokenizer()
WORDS = ("the", " fox", " 7", "\n\nQuestion:", " Answer:", " B", " jumps over", "é")
NEAR = 1e-4  # nats, summed over a choice in float32: design.md §9

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map("".join)
requests = st.lists(st.builds(ContinuationRequest, texts | st.just(""), texts), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return save_random(tmp_path_factory.mktemp("random"), TOKENIZER)


@pytest.fixture(scope="module")
def engine(random_model: Model) -> Iterator[TransformersEngine]:
    engine = TransformersEngine(random_model, EngineSettings())
    yield engine
    engine.close()


def plain_log_probs(engine: TransformersEngine, asked: list[ContinuationRequest]) -> dict[int, Any]:
    """The answers of a reading without any reuse."""
    pairs = encode_pairs(engine._tokenizer, asked)
    inputs = [pair.input_ids(engine.info.max_model_len) for pair in pairs]
    return dict(score_unpacked(engine._unpacked, pairs, inputs))


def assert_same(ours: dict[int, Any], plain: dict[int, Any]) -> None:
    assert ours.keys() == plain.keys()
    for place, answer in plain.items():
        assert ours[place].log_prob == pytest.approx(answer.log_prob, abs=NEAR)
        assert replace(ours[place], log_prob=0, cached_tokens=0) == replace(
            answer, log_prob=0, cached_tokens=0
        )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=requests, max_tokens=st.integers(1, 40))
def test_transformers_engine_reuse_changes_no_log_prob_and_computes_no_token_twice(
    engine: TransformersEngine, asked: list[ContinuationRequest], max_tokens: int
) -> None:
    engine._reader.max_tokens = max_tokens
    engine._reader.forget()
    before = engine.prefilled_tokens
    ours = dict(engine.log_probs(asked))
    n_prefilled = engine.prefilled_tokens - before
    assert_same(ours, plain_log_probs(engine, asked))
    inputs = [pair.input_ids(128) for pair in encode_pairs(TOKENIZER, asked)]
    assert n_prefilled == len({ids[:n] for ids in inputs for n in range(1, len(ids) + 1)})
    asked_tokens = sum(a.prompt_tokens + a.output_tokens - 1 for a in ours.values())
    assert sum(a.cached_tokens for a in ours.values()) == asked_tokens - n_prefilled


def test_transformers_engine_a_second_call_continues_from_the_beginning_it_shares_with_the_first(
    engine: TransformersEngine,
) -> None:
    few_shot = "Question: is 7 prime? Answer: yes\n\n" * 3
    first = [ContinuationRequest(f"{few_shot}Question: fox", " A")]
    second = [ContinuationRequest(f"{few_shot}Question: dog", " A")]
    engine._reader.forget()
    list(engine.log_probs(first))
    ((_, answer),) = engine.log_probs(second)
    assert answer.cached_tokens > 0.8 * answer.prompt_tokens
    assert_same({0: answer}, plain_log_probs(engine, second))


def test_transformers_engine_a_call_that_is_left_early_spoils_nothing(engine: TransformersEngine) -> None:
    asked = [ContinuationRequest(f"the fox{word}", " jumps over") for word in WORDS]
    engine._reader.max_tokens = 4
    next(engine.log_probs(asked))
    assert_same(dict(engine.log_probs(asked)), plain_log_probs(engine, asked))


def test_transformers_engine_a_float32_head_gives_the_log_probs_of_the_hidden_states(
    random_model: Model,
) -> None:
    asked = [ContinuationRequest("the quick brown", word) for word in (" fox", " jumps over", " 7")]
    rounded = TransformersEngine(random_model, EngineSettings(dtype="bfloat16"))
    whole = TransformersEngine(random_model, EngineSettings(dtype="bfloat16", head_dtype="float32"))
    weights = whole._weights
    n_differing = 0
    for place, answer in whole.log_probs(asked):
        (pair,) = encode_pairs(TOKENIZER, [asked[place]])
        ids = torch.tensor([[*pair.context, *pair.continuation]])
        hidden = weights.model(ids[:, :-1]).last_hidden_state[0].double()
        logits = hidden @ rounded._weights.get_output_embeddings().weight.double().T
        of_rows = torch.log_softmax(logits, -1)[-len(pair.continuation) :]
        expected = of_rows.gather(1, torch.tensor(pair.continuation)[:, None]).sum().item()
        assert answer.log_prob == pytest.approx(expected, abs=0.05)  # the layers below are in bfloat16
        plain = plain_log_probs(whole, [asked[place]])[0].log_prob
        assert plain == pytest.approx(expected, abs=NEAR)
        n_differing += abs(plain - plain_log_probs(rounded, [asked[place]])[0].log_prob) > NEAR
    assert n_differing > 0
    assert weights.get_output_embeddings().weight.dtype == torch.float32
    assert weights.get_input_embeddings().weight.dtype == torch.bfloat16
    whole.close()
    rounded.close()


def test_transformers_engine_an_answer_in_a_loop_is_cut_off(engine: TransformersEngine) -> None:
    asked = [GenerationRequest(f"the fox {n}", 100) for n in range(4)]
    limits = RepetitionLimits(max_pattern_size=6, min_count=3)
    full = dict(engine.generate(asked))
    engine._settings = replace(engine._settings, repetition_detection="max_pattern_size=6,min_count=3")
    cut = dict(engine.generate(asked))
    engine._settings = replace(engine._settings, repetition_detection=None)
    reasons = set()
    for place, answer in cut.items():
        assert full[place].text.startswith(answer.text)
        reasons.add(answer.finish_reason)
        is_shorter = answer.output_tokens < full[place].output_tokens
        assert (answer.finish_reason == "repetition") == is_shorter
        ids = TOKENIZER(answer.text, add_special_tokens=False)["input_ids"]
        assert limits.are_reached(ids) or answer.finish_reason != "repetition"
    assert "repetition" in reasons  # random weights fall into a loop


def test_transformers_engine_an_input_longer_than_the_model_loses_its_beginning(random_model: Model) -> None:
    engine = TransformersEngine(random_model, EngineSettings(max_model_len=8))
    asked = [ContinuationRequest("the quick brown fox" * 5, " jumps"), ContinuationRequest("fox", " B")]
    ours = dict(engine.log_probs(asked))
    assert_same(ours, plain_log_probs(engine, asked))
    assert ours[0].prompt_tokens + ours[0].output_tokens == 9
    assert engine.cut_requests == 1
    prompts = [GenerationRequest(text, max_output_tokens=4) for text in ("the fox" * 5, "fox")]
    assert dict(engine.generate(prompts))[0].prompt_tokens == 4
    assert engine.cut_requests == 2
    with pytest.raises(EngineError, match="more than the model's 8"):
        list(engine.log_probs([ContinuationRequest("a", "the quick brown fox" * 5)]))


@pytest.mark.parametrize(
    ("config", "n_packed"),
    [
        (
            MistralConfig(
                **(tiny_config(TOKENIZER).to_dict() | {"model_type": "mistral", "sliding_window": 12})
            ),
            12,
        ),
        (
            tiny_config(
                TOKENIZER, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
            ),
            128,
        ),
        (MambaConfig(vocab_size=len(TOKENIZER), hidden_size=32, num_hidden_layers=2, state_size=4), 0),
    ],
    ids=["sliding window", "dynamic rotation", "recurrent"],
)
def test_transformers_engine_what_cannot_be_packed_is_read_whole_with_the_same_result(
    tmp_path: Path, config: Any, n_packed: int
) -> None:
    model = save_random(tmp_path, TOKENIZER, config)
    engine = TransformersEngine(model, EngineSettings())
    assert engine._packed_len == n_packed
    asked = [ContinuationRequest("the fox" * n, c) for n in (1, 9) for c in (" jumps over", " B", " A")]
    assert_same(dict(engine.log_probs(asked)), plain_log_probs(engine, asked))
    prompts = [GenerationRequest("the fox" * n, 6) for n in (1, 9)]
    texts_of = {place: answer.text for place, answer in engine.generate(prompts)}
    alone = [dict(engine.generate([prompt]))[0].text for prompt in prompts]
    assert [texts_of[0], texts_of[1]] == alone


def test_transformers_engine_answers_do_not_depend_on_how_many_are_written_at_once(
    random_model: Model,
) -> None:
    asked = [
        GenerationRequest("the fox" + word * n, 3 + n, temperature=t, top_p=0.9)
        for n, word in enumerate(WORDS)
        for t in (0.0, 0.8)
    ]
    found = []
    for max_num_seqs in (1, 3, 32):
        engine = TransformersEngine(random_model, EngineSettings(max_num_seqs=max_num_seqs))
        answers = dict(engine.generate(asked))
        found.append([(answers[n].text, answers[n].finish_reason) for n in range(len(asked))])
    assert found[0] == found[1] == found[2]
    plain = {
        row.request: row.end.answer(row.ids).text for row in engine._unpacked.decode(engine._rows(asked))
    }
    assert [plain[n] for n in range(len(asked))] == [text for text, _ in found[0]]


def test_transformers_engine_little_memory_means_few_rows_and_the_same_answers(random_model: Model) -> None:
    engine = TransformersEngine(random_model, EngineSettings())
    asked = [GenerationRequest("the fox" + word, 4) for word in WORDS]
    expected = {place: answer.text for place, answer in engine.generate(asked)}
    rows = engine._rows(asked)
    plan = plan_inputs([row.prompt for row in rows])
    decoder = Decoder(engine._reader, max_rows=8, memory_bytes=1)
    walk = engine._reader.start(plan, n_fresh=[1] * len(plan))
    done = decoder.decode(walk, [[rows[place] for place in item.places] for item in plan])
    assert {row.request: row.end.answer(row.ids).text for row in done} == expected


beginnings = st.sampled_from(["", "the quick fox" * 2, "the quick fox" * 2 + " jumps over" * 3])
samples = st.lists(st.tuples(beginnings, texts, st.integers(1, 3)), min_size=1, max_size=6)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(samples=samples, max_rows=st.integers(1, 9), memory_tokens=st.none() | st.integers(1, 200))
def test_transformers_engine_a_beginning_that_is_kept_once_changes_no_answer(
    engine: TransformersEngine,
    samples: list[tuple[str, str, int]],
    max_rows: int,
    memory_tokens: int | None,
) -> None:
    asked = [
        GenerationRequest(beginning + text, 5, temperature=0.8, seed=n)
        for beginning, text, n_samples in samples
        for n in range(n_samples)
    ]
    config = engine._weights.config
    token_bytes = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    memory_bytes = 2**30 if memory_tokens is None else memory_tokens * token_bytes

    def answers(min_saved: int | None) -> dict[int, list[int]]:
        rows = engine._rows(asked)
        plan = plan_inputs([row.prompt for row in rows])
        engine._reader.forget()
        decoder = Decoder(engine._reader, max_rows=max_rows, memory_bytes=memory_bytes, min_saved=min_saved)
        walk = engine._reader.start(plan, n_fresh=[1] * len(plan))
        done = decoder.decode(walk, [[rows[place] for place in item.places] for item in plan])
        found = {row.request: row.ids for row in done}
        assert not any(row.prefix.states for row in rows if row.prefix)
        return found

    assert answers(min_saved=1) == answers(min_saved=None)


def test_transformers_engine_a_model_that_cannot_see_a_shared_beginning_gets_copies(
    random_model: Model,
) -> None:
    engine = TransformersEngine(random_model, EngineSettings())
    vocab_size = len(engine._tokenizer)
    assert decodes_shared(engine._weights, vocab_size=vocab_size)

    def forget(_: Any, args: Any, keywords: dict[str, Any]) -> Any:
        return args, {name: value for name, value in keywords.items() if name != "attended"}

    with engine._weights.register_forward_pre_hook(forget, with_kwargs=True):
        assert not decodes_shared(engine._weights, vocab_size=vocab_size)
    assert not decodes_shared(engine._weights.to(torch.bfloat16), vocab_size=vocab_size)


def test_transformers_engine_the_same_prompt_asked_twice_is_drawn_twice_but_repeats_in_the_next_run(
    random_model: Model,
) -> None:
    engine = TransformersEngine(random_model, EngineSettings())
    asked = [GenerationRequest("the fox", 12, temperature=1.5)] * 2 + [
        GenerationRequest("the fox", 12, temperature=1.5, seed=5)
    ] * 2
    first, second = ({n: a.text for n, a in engine.generate(asked)} for _ in range(2))
    assert first == second
    assert first[0] != first[1]
    assert first[2] == first[3]


def refuse_large_inputs(engine: TransformersEngine, *, n_tokens: int) -> Any:
    """Let the model's own forward run out of memory beyond so many tokens."""

    def check(_: Any, __: Any, keywords: dict[str, Any]) -> None:
        if keywords["input_ids"].numel() > n_tokens:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return engine._weights.register_forward_pre_hook(check, with_kwargs=True)


def test_transformers_engine_running_out_of_memory_halves_the_batch_and_loses_nothing(
    random_model: Model,
) -> None:
    engine = TransformersEngine(random_model, EngineSettings())
    asked = [ContinuationRequest("the fox" + word, " jumps over") for word in WORDS]
    prompts = [GenerationRequest("the fox" + word, 6) for word in WORDS]
    before = dict(engine.log_probs(asked)), {n: a.text for n, a in engine.generate(prompts)}
    engine._reader.forget()
    refuse_large_inputs(engine, n_tokens=3)
    assert_same(dict(engine.log_probs(asked)), before[0])
    assert {n: a.text for n, a in engine.generate(prompts)} == before[1]


def test_transformers_engine_running_out_of_memory_with_a_single_token_is_said(random_model: Model) -> None:
    engine = TransformersEngine(random_model, EngineSettings())
    refuse_large_inputs(engine, n_tokens=0)
    with pytest.raises(EngineError, match="one token at a time") as caught:
        list(engine.log_probs([ContinuationRequest("the", " fox")]))
    assert caught.value.reason == "out_of_memory"


def speaker(folder: Path, *, thinks: bool, script: str) -> TransformersEngine:
    """An engine that answers `fox` with `script`."""
    tokenizer = tiny_tokenizer(thinks=thinks)
    ids = tokenizer.encode("fox" + script + "</s>", add_special_tokens=False)
    return TransformersEngine(save_speaker(folder, tokenizer, ids), EngineSettings())


@pytest.mark.parametrize(
    ("stop", "budget", "expected"),
    [
        ((), 50, (": A, B.", "stop")),
        ((", B",), 50, (": A", "stop")),
        (("B.", ","), 50, (": A", "stop")),
        ((), 3, (": A,", "length")),
        (("nowhere", ""), 50, (": A, B.", "stop")),
    ],
    ids=["end token", "stop string", "first of two", "budget", "never and empty"],
)
def test_transformers_engine_an_answer_ends_where_it_should(
    tmp_path: Path, stop: tuple[str, ...], budget: int, expected: tuple[str, str]
) -> None:
    engine = speaker(tmp_path, thinks=False, script=": A, B.")
    ((_, answer),) = engine.generate([GenerationRequest("fox", budget, stop)])
    assert (answer.text, answer.finish_reason) == expected
    assert answer.thinking is None


@pytest.mark.parametrize(
    ("prompt", "script", "budget", "expected"),
    [
        ("fox", "<think> A, B</think>\nC.", 50, ("C", "A, B", "stop")),
        ("fox<think>", "<think> A, B</think>\nC.", 50, ("C", "A, B", "stop")),
        ("fox", "<think> A, B</think>\nC.", 3, ("", "A,", "length")),
        ("fox<think>", "<think> A, B</think>\nC.", 2, ("", "A,", "length")),
        ("fox", " A, B", 50, (" A", None, "stop")),
    ],
    ids=["thinks", "prompt opened it", "cut off", "opened and cut off", "does not think"],
)
def test_transformers_engine_thinking_is_kept_apart_and_stop_strings_do_not_count_in_it(
    tmp_path: Path, prompt: str, script: str, budget: int, expected: tuple[str, str | None, str]
) -> None:
    engine = speaker(tmp_path, thinks=True, script=script)
    ((_, answer),) = engine.generate([GenerationRequest(prompt, budget, (",", "."))])
    assert (answer.text, answer.thinking, answer.finish_reason) == expected


@pytest.mark.parametrize(
    ("thinking", "ending"), [(None, "assistant:"), (False, "assistant:"), (True, "assistant: <think>")]
)
def test_transformers_engine_the_chat_prompt_follows_the_thinking_switch(
    random_model: Model, thinking: bool | None, ending: str
) -> None:
    engine = TransformersEngine(random_model, EngineSettings(thinking=thinking))
    prompt = engine.chat_prompt([{"role": "user", "content": "fox?"}])
    assert prompt == f"<s>user: fox?\n{ending}"
    assert isinstance(prompt, ChatPrompt)
    assert prompt.messages == ({"role": "user", "content": "fox?"},)


def test_transformers_engine_a_model_without_a_chat_template_says_so(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    engine = TransformersEngine(save_random(tmp_path, tokenizer), EngineSettings())
    assert engine.info.chat_template_hash is None
    with pytest.raises(EngineError, match="no chat template"):
        engine.chat_prompt([{"role": "user", "content": "fox?"}])


def test_transformers_engine_the_engine_says_what_answered(engine: TransformersEngine) -> None:
    info = engine.info
    assert (info.engine, info.dtype, info.max_model_len, info.attention) == (
        "transformers",
        "float32",
        128,
        "sdpa",
    )
    assert set(info.versions) == {"torch", "transformers", "tokenizers", "accelerate"}
    assert info.engine_version == info.versions["transformers"]


def test_transformers_engine_half_precision_keeps_reuse(random_model: Model) -> None:
    engine = TransformersEngine(random_model, EngineSettings(dtype="bfloat16"))
    assert (engine.info.dtype, engine._packed_len) == ("bfloat16", None)


def test_transformers_engine_the_demo_model_answers_as_lm_evals_own_engine(demo_home: Path) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = demo_model(Settings(home=demo_home))
    engine = TransformersEngine(model, EngineSettings())
    stock = HFLM(pretrained=model.path, dtype="float32", device="cpu", batch_size=1)
    questions = [f"Question: is {n} even?\nAnswer: {'yes' if n % 2 == 0 else 'no'}\n\n" for n in range(4)]
    context = "".join(questions) + "Question: is 8 even?\nAnswer:"
    asked = [ContinuationRequest(context, choice) for choice in (" yes", " no", " it cannot be known")]
    instances = [Instance("loglikelihood", {}, (r.context, r.continuation), n) for n, r in enumerate(asked)]
    ours = dict(engine.log_probs(asked))
    for place, (log_prob, is_greedy) in enumerate(stock.loglikelihood(instances, disable_tqdm=True)):
        assert ours[place].log_prob == pytest.approx(log_prob, abs=NEAR)
        assert ours[place].is_greedy == is_greedy
    prompts = [
        engine.chat_prompt([{"role": "user", "content": text}]) for text in ("Say hi", "List 3 animals")
    ]
    until = {"until": ["\n"], "max_gen_toks": 12, "do_sample": False}
    written = stock.generate_until(
        [Instance("generate_until", {}, (str(p), dict(until)), n) for n, p in enumerate(prompts)],
        disable_tqdm=True,
    )
    answers = dict(engine.generate([GenerationRequest(p, 12, ("\n",)) for p in prompts]))
    assert [answers[n].text for n in range(len(prompts))] == written
