"""Only what continues text is run: encoders and encoder-decoders are refused before any download."""

from __future__ import annotations

from typing import Any

import pytest

from runners.models.text_generation import ENCODER_DECODERS, ENCODERS, refuse_without_generation
from tracker.errors import ModelError

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "t5": ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "encoder-decoder"),
    "told": ({"model_type": "new", "is_encoder_decoder": True}, "encoder-decoder"),
    "bart": ({"model_type": "bart"}, "encoder-decoder"),
    "bert": ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "an encoder"),
    "embeddings": ({"model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"]}, "an encoder"),
    "classifier": (
        {"model_type": "qwen3", "architectures": ["Qwen3ForSequenceClassification"]},
        "Qwen3ForSequenceClassification",
    ),
}
RUN: tuple[dict[str, Any], ...] = (
    {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
    {"model_type": "bert", "architectures": ["BertLMHeadModel"]},
    {"model_type": "bert", "is_decoder": True},
    {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]},
    {"model_type": "qwen3", "is_encoder_decoder": False},
    {"model_type": "mistral", "architectures": None},
)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_that_writes_no_text_is_refused_by_name(kind: str) -> None:
    config, said = REFUSED[kind]
    with pytest.raises(ModelError, match=said) as caught:
        refuse_without_generation(config, "acme/odd")
    assert (caught.value.reason, caught.value.hint[:26]) == ("unsupported", "benchmark a model that con")


def test_models_that_continue_text_are_not_refused() -> None:
    refused = []
    for config in RUN:
        try:
            refuse_without_generation(config, "acme/good")
        except ModelError as error:
            refused.append((config, str(error)))
    assert refused == []
    assert len(RUN) > 0


def test_the_types_are_those_of_transformers() -> None:
    from transformers import CONFIG_MAPPING
    from transformers.models.auto import modeling_auto

    causal = set(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    masked = set(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    both = set(modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES) | {"whisper", "speech_to_text"}
    told = {name for name in both if getattr(CONFIG_MAPPING[name], "is_encoder_decoder", False) is True}
    assert told <= ENCODER_DECODERS <= both
    assert masked - causal <= ENCODERS <= masked
