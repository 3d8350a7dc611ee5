"""Whether a config.json describes a model that continues text, as every engine here requires.

Covered: encoders (BERT), encoder-decoders (T5), and heads that classify or fill in words. The names are those
of transformers 5.19; a test compares them. Not covered: models of images or sound under names not listed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runners.models.repository_files import shown
from tracker.errors import ModelError

ENCODERS = frozenset((
    "albert", "bert", "big_bird", "camembert", "convbert", "data2vec-text", "deberta", "deberta-v2",
    "distilbert", "electra", "ernie", "esm", "esmc", "eurobert", "flaubert", "fnet", "funnel", "gte", "ibert",
    "jina_embeddings_v3", "layoutlm", "longformer", "luke", "megatron-bert", "mobilebert", "modernbert",
    "modernvbert", "mpnet", "mra", "neomme", "nomic_bert", "nystromformer", "perceiver", "rembert", "roberta",
    "roberta-prelayernorm", "roc_bert", "roformer", "squeezebert", "tapas", "xlm-roberta", "xlm-roberta-xl",
    "xmod", "yoso",
))  # fmt: skip
ENCODER_DECODERS = frozenset((
    "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "encoder-decoder", "fsmt", "led", "longt5",
    "m2m_100", "marian", "mbart", "mt5", "mvp", "nllb-moe", "pegasus", "pegasus_x", "plbart", "prophetnet",
    "seamless_m4t", "seamless_m4t_v2", "speech_to_text", "switch_transformers", "t5", "t5gemma", "t5gemma2",
    "umt5", "whisper",
))  # fmt: skip
CONTINUES = re.compile(r"ForCausalLM|LMHead|ForConditionalGeneration|GenerationDecoder")
OTHER_HEAD = re.compile(
    r"For(?:Sequence|Token|Image|Video|Audio)Classification$|ForMaskedLM$|ForQuestionAnswering$|"
    r"ForMultipleChoice$|ForNextSentencePrediction$|RewardModel$"
)
HINT = "benchmark a model that continues text (`…ForCausalLM` in its config.json)"


def refuse_without_generation(config: Mapping[str, Any], model_id: str) -> None:
    """Raise if the model of this config.json cannot continue a text.

    Raises:
        ModelError: it is an encoder, an encoder-decoder, or has another head (reason `unsupported`).
    """
    model_type = str(config.get("model_type") or "")
    heads = [str(name) for name in config.get("architectures") or ()]
    continues = any(CONTINUES.search(name) for name in heads)
    if config.get("is_encoder_decoder") is True or model_type in ENCODER_DECODERS:
        what = "an encoder-decoder model, which no engine here runs"
    elif model_type in ENCODERS and not continues and config.get("is_decoder") is not True:
        what = "an encoder, which reads text and writes none"
    elif heads and all(OTHER_HEAD.search(name) for name in heads):
        what = f"a model with the head `{shown(heads[0])}`, which writes no text"
    else:
        return
    kind = f" (`{shown(model_type)}`)" if model_type else ""
    raise ModelError(f"`{model_id}` is {what}{kind}", reason="unsupported", hint=HINT)
