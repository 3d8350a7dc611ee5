"""The kind of a Hub repository: an original model, or one derived from another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tracker.records.published import ModelKind
from tracker.sources.fields import mapping, text

RELATIONS = {
    "quantized": ModelKind.QUANTIZED,
    "adapter": ModelKind.ADAPTER,
    "merge": ModelKind.MERGE,
    "finetune": ModelKind.FINETUNE,
}
# quantization in a name, for repositories that declare no parent
PACKED_NAME = re.compile(
    r"(?i)(?:[-_.](?:awq|gptq|gguf|exl[23]|bnb|nf4|int[48]|fp8|nvfp4|mxfp4|w\d+a\d+|[48]bit|mlx))(?:[-_.]|$)"
)
ADAPTER_LIBRARIES = ("peft", "adapter-transformers")
CHAT_NAME = re.compile(r"(?i)(?:[-_.])(?:it|chat|instruct|thinking|reasoning|sft|dpo)(?:[-_.]|$)")


def parents(entry: Mapping[str, Any], card: Mapping[str, Any]) -> tuple[str, ...]:
    """The base models that the repository declares."""
    declared = mapping(entry.get("baseModels")).get("models")
    if isinstance(declared, list):
        return tuple(name for model in declared if (name := text(mapping(model).get("id"))))
    named = card.get("base_model")
    listed = named if isinstance(named, list) else [named]
    return tuple(found for name in listed if (found := text(name)))


def model_kind(name: str, entry: Mapping[str, Any], tags: Sequence[str]) -> ModelKind:
    """The kind of the repository. A model by the developers of its base counts as original."""
    relation = mapping(entry.get("baseModels")).get("relation") or _tagged_relation(tags)
    owner = name.partition("/")[0].casefold()
    made_from = parents(entry, mapping(entry.get("cardData")))
    if text(entry.get("library_name")) in ADAPTER_LIBRARIES or "peft" in tags:
        return ModelKind.ADAPTER
    if "mergekit" in tags or "merge" in tags:
        return ModelKind.MERGE
    if PACKED_NAME.search(name.partition("/")[2]):
        return ModelKind.QUANTIZED
    kind = RELATIONS.get(str(relation))
    own = any(parent.partition("/")[0].casefold() == owner for parent in made_from)
    # many developers declare their own repository as a copy of itself, for the ONNX files in it
    if kind is not None and not (own and kind in (ModelKind.FINETUNE, ModelKind.QUANTIZED)):
        return kind
    if "conversational" in tags or CHAT_NAME.search(name):
        return ModelKind.CHAT
    return ModelKind.BASE


def _tagged_relation(tags: Sequence[str]) -> str | None:
    for tag in tags:
        head, _, rest = tag.partition(":")
        relation = rest.partition(":")[0]
        if head == "base_model" and relation in RELATIONS:
            return relation
    return None
