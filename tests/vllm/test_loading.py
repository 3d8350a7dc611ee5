"""What the engine says of itself, and how it says that it cannot."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import psutil
import pytest

from runners.engines import ContinuationRequest, Engine, GenerationRequest
from tests.vllm.conftest import FP32
from tracker.errors import EngineError
from tracker.records import Model

CITIES = ("Paris", "London", "Rome", "Berlin", "Madrid", "Vienna", "Athens", "Lisbon")
BFLOAT16_STEP = 2**-4  # of numbers from 8 to 16; of those to 32 it is twice as large
BFLOAT16_LAYERS = 0.5  # nats, by the rounding in the layers below the last

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]


def children_named_vllm() -> list[int]:
    return [p.pid for p in psutil.Process().children(recursive=True) if p.name().startswith("VLLM")]


def test_the_engine_says_what_answers(vllm_engine: Engine) -> None:
    info = vllm_engine.info
    assert (info.engine, info.dtype, info.device, info.max_model_len) == ("vllm", "float32", "cpu", 8192)
    assert (info.quantization, info.engine_version) == ("Q4_1", info.versions["vllm"])
    assert info.versions.keys() >= {"vllm", "torch", "transformers"}
    assert info.chat_template_hash


def test_a_context_beyond_the_model_is_refused_with_the_longest_it_has(model: Model) -> None:
    from runners.engines.vllm.engine import VllmEngine

    with pytest.raises(EngineError, match="a context of 99999 tokens was requested") as caught:
        VllmEngine(model, replace(FP32, max_model_len=99999))
    assert (caught.value.reason, caught.value.hint) == ("unsupported", "--max-model-len 8192")


def test_a_context_that_does_not_fit_names_one_that_does(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runners.engines.vllm.engine import VllmEngine

    monkeypatch.setenv("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1")
    before = children_named_vllm()
    with pytest.raises(
        EngineError, match=r"does not fit in memory with the weights, but \d+ tokens would"
    ) as caught:
        VllmEngine(model, replace(FP32, max_model_len=60000))
    assert caught.value.reason == "does_not_fit"
    assert int(caught.value.hint.split()[-1]) < 60000
    assert children_named_vllm() == before


def test_a_float32_head_gives_logits_between_the_steps_of_bfloat16(model: Model, reference: Engine) -> None:
    from runners.engines.vllm.engine import VllmEngine

    asked = [ContinuationRequest("The capital of France is", f" {word}") for word in CITIES]
    exact = dict(reference.log_probs(asked))
    engine = VllmEngine(model, replace(FP32, dtype="bfloat16", head_dtype="float32"))
    with closing(engine):
        assert engine.info.dtype == "bfloat16"
        found = dict(engine.log_probs(asked))
    differences = [found[n].log_prob - found[0].log_prob for n in range(1, len(asked))]
    # two logits of 8 to 32 that were rounded to bfloat16 differ by a multiple of this step
    n_between = sum(abs(x / BFLOAT16_STEP - round(x / BFLOAT16_STEP)) > 0.01 for x in differences)
    assert n_between >= len(differences) / 2
    for n in range(len(asked)):
        assert found[n].log_prob == pytest.approx(exact[n].log_prob, abs=BFLOAT16_LAYERS)


def test_speculative_ngrams_write_the_same_texts(model: Model, reference: Engine) -> None:
    from runners.engines.vllm.engine import VllmEngine

    asked = [GenerationRequest("1 2 3 4 " * 8, 40), GenerationRequest("The capital of France is", 20)]
    expected = dict(reference.generate(asked))
    engine = VllmEngine(model, replace(FP32, speculative="ngram"))
    with closing(engine):
        found = dict(engine.generate(asked))
    assert [found[n].text for n in range(2)] == [expected[n].text for n in range(2)]
