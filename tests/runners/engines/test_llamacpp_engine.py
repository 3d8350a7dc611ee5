"""The engine `llamacpp` with the embedded GGUF, compared with plain calls of llama.cpp's own package."""

from __future__ import annotations

import json
import os
import signal
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from huggingface_hub import constants

from runners.engines import (
    ContinuationRequest,
    GenerationRequest,
    TextRequest,
    TextScorer,
    choose_engine,
    open_engine,
)
from runners.engines.llamacpp.engine import OTHER_TEMPLATE, LlamaCppEngine
from runners.engines.llamacpp.launch import Launch
from runners.engines.thinking import ThinkingMarks
from runners.models.demo import demo_gguf, gguf_path
from tests.builders.gguf_builder import ALIGNMENT, text, typed
from tests.tasks import make
from tracker.errors import EngineError, FieldError, UnknownNameError
from tracker.records import EngineSettings, Model

xllamacpp = pytest.importorskip("xllamacpp", reason="the extra `dev` installs it")
N_VOCAB, N_CTX = 49_152, 256
SETTINGS = EngineSettings(engine="llamacpp", max_model_len=N_CTX, max_num_seqs=2)
SAME = 2e-3  # nats per token: kernels differ with the number of tokens that are computed together


@pytest.fixture(scope="module")
def engine() -> Iterator[LlamaCppEngine]:
    loaded = open_engine(demo_gguf(), SETTINGS)
    assert isinstance(loaded, LlamaCppEngine)
    yield loaded
    loaded.close()


class Direct:
    """llama.cpp without any of our code."""

    def __init__(self) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(gguf_path())
        params.n_ctx, params.n_parallel, params.warmup = N_CTX, 1, False
        self.server = xllamacpp.Server(params)
        self._known: dict[tuple[int, ...], dict[int, float]] = {}

    def complete(self, **body: Any) -> dict[str, Any]:
        answer = self.server.handle_completions(body)
        found: dict[str, Any] = json.loads(answer) if isinstance(answer, str | bytes) else answer
        return found

    def text(self, prompt: str, n_tokens: int) -> str:
        found = self.complete(prompt=prompt, max_tokens=n_tokens, temperature=0.0)
        return str(found["choices"][0]["text"])

    def next_log_probs(self, prompt: Sequence[int]) -> dict[int, float]:
        """Log-probabilities of every token of the vocabulary after these tokens."""
        key = tuple(prompt)
        if key not in self._known:
            found = self.complete(prompt=list(prompt), max_tokens=1, temperature=0.0, logprobs=N_VOCAB)
            (content,) = found["choices"][0]["logprobs"]["content"]
            self._known[key] = {one["id"]: one["logprob"] for one in content["top_logprobs"]}
        return self._known[key]


@pytest.fixture(scope="module")
def direct() -> Direct:
    return Direct()


def questions(n: int) -> list[dict[str, Any]]:
    return list(make.parity()["test"])[:n]


def test_llamacpp_scores_choices_as_sums_over_the_whole_vocabulary(
    engine: LlamaCppEngine, direct: Direct
) -> None:
    """Item for item: the log-probabilities of each choice, which one wins, and whether it is greedy."""
    rows = questions(2)
    requests = [
        ContinuationRequest(f"{row['question']}", f" {choice}") for row in rows for choice in row["choices"]
    ]
    requests.append(ContinuationRequest("Bonjour", " 你"))  # a character of several tokens
    found = dict(engine.log_probs(requests))
    encode = engine._tokenizer.encode
    for place, request in enumerate(requests):
        context = encode(request.context)
        ids = encode(request.context + request.continuation)
        log_prob, is_greedy = 0.0, True
        for n in range(len(context), len(ids)):
            after = direct.next_log_probs(ids[:n])
            log_prob += after[ids[n]]
            is_greedy = is_greedy and after[ids[n]] == max(after.values())
        answer = found[place]
        assert answer.log_prob == pytest.approx(log_prob, abs=SAME * (len(ids) - len(context))), request
        assert (answer.prompt_tokens, answer.output_tokens) == (len(context), len(ids) - len(context))
        assert answer.is_greedy == is_greedy


def test_llamacpp_writes_what_plain_calls_write(engine: LlamaCppEngine, direct: Direct) -> None:
    prompts = ["Once upon a time", "Q: 3 + 6 =\nA:", "The capital of France is"]
    prompts.append(engine.chat_prompt([{"role": "user", "content": "Name a color."}]))
    found = dict(engine.generate([GenerationRequest(prompt, 8) for prompt in prompts]))
    assert [found[n].text for n in range(len(prompts))] == [direct.text(prompt, 8) for prompt in prompts]
    assert {found[n].output_tokens for n in range(3)} == {8}


def test_llamacpp_scores_a_whole_text_token_by_token(engine: LlamaCppEngine, direct: Direct) -> None:
    assert isinstance(engine, TextScorer)
    ((_, found),) = engine.text_log_probs([TextRequest("The sky is blue")])
    ids = [1, *engine._tokenizer.encode("The sky is blue")]
    expected = sum(direct.next_log_probs(ids[:n])[ids[n]] for n in range(1, len(ids)))
    assert found.log_prob == pytest.approx(expected, abs=SAME * len(ids))
    assert found.output_tokens == len(ids) - 1


def test_llamacpp_stops_at_stop_strings_and_at_the_budget(engine: LlamaCppEngine) -> None:
    requests = [
        GenerationRequest("1, 2, 3, 4,", 30, stop=(" 8",)),
        GenerationRequest("1, 2, 3, 4,", 3),
    ]
    found = dict(engine.generate(requests))
    assert (found[0].text, found[0].finish_reason) == (" 5, 6, 7,", "stop")
    assert (found[1].finish_reason, found[1].output_tokens) == ("length", 3)


def test_llamacpp_samples_by_its_seed(engine: LlamaCppEngine) -> None:
    def texts(seed: int) -> list[str]:
        sampling = {"top_k": 50, "min_p": 0.01, "repetition_penalty": 1.1}
        asked = GenerationRequest("Once upon a time", 8, temperature=1.0, seed=seed, sampling=sampling)
        return [one.text for _, one in engine.generate([asked])]

    assert texts(1) == texts(1)
    assert texts(2) != texts(1) or texts(3) != texts(1)


def test_llamacpp_cuts_a_long_prompt_on_the_left_and_counts_it(engine: LlamaCppEngine) -> None:
    before = engine.cut_requests
    ((_, found),) = engine.generate([GenerationRequest("word " * 300, 8)])
    assert engine.cut_requests == before + 1
    assert found.prompt_tokens == SETTINGS.max_model_len - 8  # type: ignore[operator]
    assert found.output_tokens <= 8


def test_llamacpp_sends_no_second_bos(engine: LlamaCppEngine) -> None:
    bos = str(engine._tokenizer.bos_token)
    ((_, found),) = engine.generate([GenerationRequest(f"{bos}user\nHi", 1)])
    assert found.prompt_tokens == len(engine._tokenizer.encode(f"{bos}user\nHi", add_special_tokens=False))


def test_llamacpp_renders_chats_as_llama_cpp_does(engine: LlamaCppEngine) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    said = engine._loop.run(engine._api.post("/apply-template", {"messages": messages}))
    assert engine.chat_prompt(messages) == said["prompt"]
    assert engine.info.versions["chat_template"] == "file"
    assert engine.differences == ()


def test_llamacpp_says_if_it_renders_chats_in_another_way(engine: LlamaCppEngine) -> None:
    tokenizer, before = engine._tokenizer, engine._tokenizer.chat_template
    tokenizer.chat_template = "{{ messages[0].content }}"
    engine._compare_templates(tokenizer)
    tokenizer.chat_template = before
    found, engine.differences = engine.differences, ()
    assert found == (OTHER_TEMPLATE,)


def test_llamacpp_says_who_answered(engine: LlamaCppEngine) -> None:
    info = engine.info
    assert (info.engine, info.dtype, info.quantization, info.max_model_len) == (
        "llamacpp",
        "Q4_1",
        "Q4_1",
        N_CTX,
    )
    assert info.engine_version == f"b{info.versions['xllamacpp'].rpartition('.')[2]}"
    assert "kv_cache_dtype" not in info.versions


def _with_parent(folder: Path) -> Model:
    """The embedded file, naming a parent whose tokenizer lies in the Hub's cache and has other tokens."""
    raw = gguf_path().read_bytes()
    count = text("general.base_model.count") + typed(1)
    for name in (f"Tiny{'y' * n}" for n in range(ALIGNMENT)):  # the weights must stay aligned
        added = count + text("general.base_model.0.repo_url") + typed(f"https://huggingface.co/acme/{name}")
        if len(added) % ALIGNMENT == 0:
            break
    n_keys = struct.unpack("<Q", raw[16:24])[0] + 2
    path = folder / "model.gguf"
    path.write_bytes(raw[:16] + struct.pack("<Q", n_keys) + added + raw[24:])
    place = Path(constants.HF_HUB_CACHE) / f"models--acme--{name}"
    snapshot = place / "snapshots" / ("0a1b2c3d" * 5)
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(snapshot.name)
    (snapshot / "tokenizer.json").write_text('{"model": {"vocab": {"other": 0}}}')
    return replace(demo_gguf(), path=str(path))


def test_llamacpp_that_is_killed_says_so_leaves_no_process_and_told_of_another_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EngineSettings(engine="llamacpp", max_model_len=256, max_num_seqs=1, kv_cache_dtype="q8_0")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    engine = open_engine(_with_parent(tmp_path), settings)
    assert isinstance(engine, LlamaCppEngine)
    pid = engine.server_pid
    try:
        assert engine.info.versions["kv_cache_dtype"] == "q8_0"
        (told,) = engine.differences  # a warning of the run
        assert told.startswith("the tokenizer is not that of `acme/Tiny")
        answers = engine.generate([GenerationRequest(f"Write {n} words.", 12 + 40 * n) for n in range(2)])
        next(answers)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineError, match=r"llama\.cpp was killed by signal 9") as raised:
            list(answers)
        assert raised.value.reason == "engine_died"
    finally:
        engine.close()
    assert not psutil.pid_exists(pid)


def test_llamacpp_refuses_a_schema_where_the_prompt_opens_the_thinking(engine: LlamaCppEngine) -> None:
    """llama.cpp would apply it to the thinking: the model could not think, or its answer would be empty."""
    asked = GenerationRequest("Q: 2 + 3?\n<think>\n", 8, json_schema={"type": "integer"})
    before, engine._marks = engine._marks, ThinkingMarks("<think>", "</think>", (1,))
    try:
        with pytest.raises(EngineError, match="the model cannot think first") as raised:
            list(engine.generate([asked]))
    finally:
        engine._marks = before
    assert (raised.value.reason, raised.value.hint) == ("unsupported", "set `--no-thinking`")
    ((_, found),) = engine.generate([asked])
    assert isinstance(json.loads(found.text), int)


def test_llamacpp_settings_are_checked_before_anything_is_loaded() -> None:
    with pytest.raises(UnknownNameError, match="q4_2"):
        choose_engine(EngineSettings(engine="llamacpp", kv_cache_dtype="q4_2"), has_gpu=False)
    with pytest.raises(FieldError, match="tensor_parallel_size"):
        choose_engine(EngineSettings(engine="llamacpp", tensor_parallel_size=2), has_gpu=False)
    with pytest.raises(FieldError, match="n_gpu_layers"):
        choose_engine(EngineSettings(engine="transformers", n_gpu_layers=3), has_gpu=False)


def test_llamacpp_speculative_decoding_writes_the_same_texts(engine: LlamaCppEngine) -> None:
    counting = "1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3,"  # so that it proposes tokens
    asked = [GenerationRequest(prompt, 16) for prompt in (counting, "The capital of France is")]
    loaded = open_engine(demo_gguf(), replace(SETTINGS, max_num_seqs=1, speculative="ngram"))
    assert isinstance(loaded, LlamaCppEngine)
    try:
        found = dict(loaded.generate(asked))
    finally:
        loaded.close()
    plain = dict(engine.generate(asked))
    assert [(found[n].text, found[n].output_tokens) for n in range(2)] == [
        (plain[n].text, plain[n].output_tokens) for n in range(2)
    ]
    assert (loaded.speculative, engine.speculative) == ({"method": "ngram"}, None)
    assert loaded.info == engine.info  # it is part of the identity of texts alone


@pytest.mark.parametrize(
    ("draft", "given"),
    [
        (None, ["--spec-type", "ngram-simple"]),
        ("/d.gguf", ["--spec-type", "draft-simple", "--model-draft", "/d.gguf"]),
    ],
)
def test_llamacpp_tells_the_program_how_tokens_are_proposed(draft: str | None, given: list[str]) -> None:
    plain = Launch("/m.gguf", 256, 1, 1, None, "f16", "llama-server")
    asked = replace(plain, is_speculative=True, draft_path=draft)
    assert [word for word in asked.argv() if word not in plain.argv()] == given


@pytest.mark.parametrize(
    ("engine", "speculative", "says"),
    [
        ("server", "ngram", "speculative is not supported by `--engine server`"),
        ("transformers", "ngram", "speculative is not supported by `--engine transformers`"),
        ("vllm", "draft.gguf", "must be `ngram` for `--engine vllm`, got `draft.gguf`"),
        ("llamacpp", "ngrm", "must be `ngram` or the GGUF file of a draft model for `--engine llamacpp`"),
    ],
)
def test_speculative_decoding_that_an_engine_lacks_is_refused(
    engine: str, speculative: str, says: str
) -> None:
    asked = EngineSettings(
        engine=engine, speculative=speculative, base_url="http://x/v1" * (engine == "server") or None
    )
    with pytest.raises(FieldError) as raised:
        choose_engine(asked, has_gpu=False)
    assert says in str(raised.value)
    assert raised.value.hint
