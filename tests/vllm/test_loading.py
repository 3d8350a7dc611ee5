"""What the engine says of itself, and how it says that it cannot."""

from __future__ import annotations

from dataclasses import replace

import psutil
import pytest

from runners.engines import Engine
from tests.vllm.conftest import FP32
from tracker.errors import EngineError
from tracker.records import Model

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
