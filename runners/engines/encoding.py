"""Text to token ids and to model inputs, the same for every engine that sees tokens.

The ids are those of lm-eval 0.4.13 (`TemplateLM.loglikelihood`, `HFLM.tok_encode`, `HFLM.tok_batch_encode`),
so that scores stay comparable item for item. No torch here: ids are tuples of int.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runners.engines import ContinuationRequest, GenerationRequest
from tracker.errors import EngineError

Tokenizer = Any  # a Hugging Face tokenizer; the library ships no types
Ids = tuple[int, ...]

DEFAULT_MAX_LEN = 2048  # of lm-eval, for a model that names no length
UNSET_MAX_LEN = 10**18  # tokenizers that name no length say 1e30
LENGTH_KEYS = ("n_positions", "max_position_embeddings", "n_ctx")  # in lm-eval's order
HASH_DIGITS = 16


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """One `ContinuationRequest` in tokens; `n_context + n_continuation` before anything is cut."""

    context: Ids
    continuation: Ids

    def input_ids(self, max_len: int) -> Ids:
        """What the model reads: all but the last token, cut from the left to `max_len` tokens.

        The last `len(continuation)` positions of it predict the continuation.
        """
        return (self.context + self.continuation)[-(max_len + 1) :][:-1]

    def is_cut(self, max_len: int) -> bool:
        """Whether `input_ids` leaves out the beginning of the context."""
        return len(self.context) + len(self.continuation) > max_len + 1


@dataclass(frozen=True, slots=True)
class SharedInput:
    """One model input, and the requests (by place) that it answers."""

    ids: Ids
    places: tuple[int, ...]
    n_shared: int  # leading tokens that the input before it in the plan has too


def encode_text(tokenizer: Tokenizer, text: str, *, add_special_tokens: bool | None = None) -> Ids:
    """Token ids of `text`; by default with the tokenizer's special tokens, but never a second BOS."""
    if add_special_tokens is None:
        add_special_tokens = not text.startswith(_prefix_text(tokenizer))
    return tuple(tokenizer.encode(text, add_special_tokens=add_special_tokens))


def prefix_token_id(tokenizer: Tokenizer) -> int:
    """What stands before a continuation without context: BOS, or EOS where there is no BOS."""
    bos = tokenizer.bos_token_id
    return int(tokenizer.eos_token_id if bos is None else bos)


def encode_pairs(tokenizer: Tokenizer, requests: Sequence[ContinuationRequest]) -> list[EncodedPair]:
    """Every request in tokens; each different text is encoded once.

    Raises:
        EngineError: a continuation has no token of its own, so that it cannot be scored.
    """
    pairs = [_without_trailing_space(r) for r in requests]
    texts = {text for r in pairs if r.context for text in (r.context, r.context + r.continuation)}
    ids = _encode_all(tokenizer, texts)
    encoded = []
    for pair, request in zip(pairs, requests, strict=True):
        if pair.context:
            context = ids[pair.context]
            both = EncodedPair(context, ids[pair.context + pair.continuation][len(context) :])
        else:
            both = _after_prefix_token(tokenizer, pair.continuation)
        if not both.continuation:
            raise EngineError(
                f"the continuation {request.continuation!r} has no token of its own after its context",
                reason="unsupported",
                hint="the task's `doc_to_choice` or `target_delimiter` gives an empty choice",
            )
        encoded.append(both)
    return encoded


def encode_prompts(
    tokenizer: Tokenizer, requests: Sequence[GenerationRequest], *, max_len: int
) -> tuple[list[Ids], int]:
    """Every prompt in tokens, cut from the left so that the answer's budget still fits; how many were cut.

    A budget that leaves no room for the prompt gets half of `max_len` (lm-eval stops there).
    """
    bos = tokenizer.bos_token
    prompts, n_cut = [], 0
    for request in requests:
        has_bos = bos is not None and request.prompt.startswith(bos)
        ids = tokenizer.encode(str(request.prompt), add_special_tokens=not has_bos)
        kept = tuple(ids[-(max_len - output_budget(request, max_len=max_len)) :])
        n_cut += len(kept) < len(ids)
        prompts.append(kept or (prefix_token_id(tokenizer),))
    return prompts, n_cut


def output_budget(request: GenerationRequest, *, max_len: int) -> int:
    """Tokens that the answer may take: what was asked, or half of `max_len` if that leaves no room."""
    if request.max_output_tokens < max_len:
        return request.max_output_tokens
    return max_len - max_len // 2


def plan_inputs(inputs: Sequence[Ids]) -> list[SharedInput]:
    """The different inputs in an order that puts common beginnings next to each other.

    It is a depth-first walk of the prefix tree: who keeps the last input's keys and values computes
    `len(ids) - n_shared` tokens for each, and no token twice. Choices of one question share its
    context, questions of one task its few-shot prefix, and single-token choices are one input.
    """
    keys = [sort_key(ids) for ids in inputs]
    places: dict[bytes, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    plan: list[SharedInput] = []
    before: Ids = ()
    for key in sorted(places):
        ids = inputs[places[key][0]]
        plan.append(SharedInput(ids, tuple(places[key]), n_common(before, ids)))
        before = ids
    return plan


def sort_key(ids: Ids) -> bytes:
    """Bytes that sort as the tokens do, by one memcmp each; tuples are compared token by token."""
    return np.asarray(ids, dtype=">u4").tobytes()


def max_model_len(config: Any, tokenizer: Tokenizer) -> int:
    """Tokens that the model was made for: of the text model's configuration, else of the tokenizer."""
    config = getattr(config, "text_config", None) or config
    for key in LENGTH_KEYS:
        if (value := getattr(config, key, None)) is not None:
            return int(value)
    value = getattr(tokenizer, "model_max_length", None)
    return int(value) if value is not None and value < UNSET_MAX_LEN else DEFAULT_MAX_LEN


def chat_template_hash(tokenizer: Tokenizer) -> str | None:
    """What stands for the chat template in a fingerprint; None: the model has none."""
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        return None
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


def _prefix_text(tokenizer: Tokenizer) -> str:
    return str(tokenizer.decode([prefix_token_id(tokenizer)]))


def _without_trailing_space(request: ContinuationRequest) -> ContinuationRequest:
    """The pair with the context's trailing space moved to the continuation, where words begin."""
    context = request.context.rstrip()
    if not request.context or context == request.context:
        return request
    return ContinuationRequest(context, request.context[len(context) :] + request.continuation)


def _after_prefix_token(tokenizer: Tokenizer, continuation: str) -> EncodedPair:
    ids = encode_text(tokenizer, continuation, add_special_tokens=False)
    prefix = prefix_token_id(tokenizer)
    if ids and ids[0] == prefix:
        return EncodedPair(ids[:1], ids[1:])
    return EncodedPair((prefix,), ids)


def _encode_all(tokenizer: Tokenizer, texts: Iterable[str]) -> dict[str, Ids]:
    prefix = _prefix_text(tokenizer)
    ids: dict[str, Ids] = {}
    groups: dict[bool, list[str]] = {True: [], False: []}
    for text in texts:
        groups[not text.startswith(prefix)].append(text)
    for add_special_tokens, group in groups.items():
        if group:
            encoded = tokenizer(group, add_special_tokens=add_special_tokens)["input_ids"]
            ids.update(zip(group, map(tuple, encoded), strict=True))
    return ids


def n_common(a: Ids, b: Ids) -> int:
    """How many leading tokens `a` and `b` have in common."""
    n = min(len(a), len(b))
    differs = np.asarray(a[:n]) != np.asarray(b[:n])
    return int(differs.argmax()) if differs.any() else n
