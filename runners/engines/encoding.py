"""Convert text to token ids and model inputs, in the same way for every engine that uses tokens.

The ids are those of lm-eval 0.4.13 (`TemplateLM.loglikelihood`, `HFLM.tok_encode`, `HFLM.tok_batch_encode`),
so that scores stay comparable item for item. No torch here: ids are tuples of int.
"""

from __future__ import annotations

import hashlib
import json
import struct
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from runners.engines import Continuation, ContinuationRequest, GenerationRequest
from runners.engines.line_encoding import LineEncoder
from runners.step_limits import MIB, limited_step
from tracker.errors import EngineError

Tokenizer = Any  # a Hugging Face tokenizer; the library ships no types
Ids = tuple[int, ...]

DEFAULT_MAX_LEN = 2048  # lm-eval's default for a model without a length
UNSET_MAX_LEN = 10**18  # tokenizers without a length report 1e30
LENGTH_KEYS = ("n_positions", "max_position_embeddings", "n_ctx")  # in lm-eval's order
HASH_DIGITS = 16
KEY = np.dtype(">u4")  # of a token in a key to sort by
KEY_BYTES = KEY.itemsize
ENCODE_S = 20.0  # of computing time, and more for a long text
SLOWEST = 2_000  # characters per second of a tokenizer in Python, on a slow machine
ENCODE_BYTES = 256 * MIB
ENCODED_BYTES = 1_000  # more per character: 310 measured for a token each, and some characters are three
CALLED = (  # when a tokenizer of transformers 5 is called, and the modules where it is not overridden
    ("__call__", "transformers.tokenization_utils_base"),
    ("_encode_plus", "transformers.tokenization_utils_tokenizers"),
)
TRIED_TEXT = (  # scripts, blanks, and words that a careless pattern splits in every way
    "The quick brown fox, 12 + 34 = 46!\n\nNaïve café: 你好 мир  <b>x</b>\tdef f(x): return x\n"
    "this line has only words and goes on for so long that a pattern which tries every way does not end !\n"
)

_LINE_ENCODERS: weakref.WeakKeyDictionary[Tokenizer, LineEncoder] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """One `ContinuationRequest` in tokens, before truncation."""

    context: Ids
    continuation: Ids

    def input_ids(self, max_len: int) -> Ids:
        """The model's input: all but the last token, truncated on the left to `max_len` tokens.

        The last `len(continuation)` positions of it predict the continuation.
        """
        if len(self.continuation) == 1 and len(self.context) <= max_len:
            return self.context  # of four letters to choose from, one input
        return (self.context + self.continuation)[-(max_len + 1) :][:-1]

    def is_cut(self, max_len: int) -> bool:
        """Whether `input_ids` truncates the context."""
        return len(self.context) + len(self.continuation) > max_len + 1


@dataclass(frozen=True, slots=True)
class SharedInput:
    """One model input and the indices of the requests that it answers."""

    ids: Ids
    places: tuple[int, ...]
    n_shared: int  # leading tokens in common with the previous input of the plan
    key: bytes  # of `sort_key`


def encode_text(tokenizer: Tokenizer, text: str, *, add_special_tokens: bool | None = None) -> Ids:
    """Token ids of `text`, by default with the tokenizer's special tokens but never with a second BOS."""
    if add_special_tokens is None:
        add_special_tokens = not text.startswith(_prefix_text(tokenizer))
    with _limited(len(text)):
        return tuple(tokenizer.encode(text, add_special_tokens=add_special_tokens))


def prefix_token_id(tokenizer: Tokenizer) -> int:
    """The token before a continuation without context: BOS, or EOS if there is no BOS."""
    bos = tokenizer.bos_token_id
    return int(tokenizer.eos_token_id if bos is None else bos)


def encode_pairs(tokenizer: Tokenizer, requests: Sequence[ContinuationRequest]) -> list[EncodedPair]:
    """Encode all requests; each distinct text is encoded once, and if possible each distinct line of them.

    Raises:
        EngineError: a continuation adds no token to its context, so it cannot be scored.
    """
    pairs = [_without_trailing_space(r) for r in requests]
    with_context = [r for r in pairs if r.context]
    found = iter(_pairs_by_lines(tokenizer, with_context) or _pairs_by_texts(tokenizer, with_context))
    encoded = []
    for pair, request in zip(pairs, requests, strict=True):
        both = next(found) if pair.context else _after_prefix_token(tokenizer, pair.continuation)
        if not both.continuation:
            raise EngineError(
                f"the continuation {request.continuation!r} cannot be scored: "
                "it adds no token to its context",
                reason="unsupported",
                hint="check the task's `doc_to_choice` and `target_delimiter` for an empty choice",
            )
        encoded.append(both)
    return encoded


def encodes_by_lines(tokenizer: Tokenizer) -> bool:
    """Whether texts are encoded by their lines, by a tokenizer in Rust alone."""
    return _is_plain(tokenizer) and _line_encoder(tokenizer).is_exact


def encode_windows(tokenizer: Tokenizer, text: str, *, max_len: int) -> list[EncodedPair]:
    """The text in windows that predict each of its tokens once, from as much text before as fits.

    The windows are those of lm-eval's `get_rolling_token_windows` with a `context_len` of 1: each but the
    last predicts `max_len` tokens after one, and the last is filled up with tokens before it.
    """
    ids = encode_text(tokenizer, text)
    known = (prefix_token_id(tokenizer), *ids)
    windows = []
    for start in range(0, len(ids), max_len):
        end = min(start + max_len, len(ids))
        first = 0 if start == 0 else end - max_len
        windows.append(EncodedPair(known[first : start + 1], ids[start:end]))
    return windows


def whole_texts(
    windows: Sequence[Sequence[EncodedPair]],
    score: Callable[[Sequence[EncodedPair]], Iterator[tuple[int, Continuation]]],
) -> Iterator[tuple[int, Continuation]]:
    """Yield each text's index with its answer, as soon as `score` has answered all of its windows."""
    owners = [n for n, own in enumerate(windows) for _ in own]
    answers: dict[int, list[Continuation]] = {n: [] for n in range(len(windows))}
    yield from ((n, Continuation(0.0, True, 0, 0)) for n, own in enumerate(windows) if not own)
    for place, answer in score([window for own in windows for window in own]):
        n = owners[place]
        answers[n].append(answer)
        if len(answers[n]) == len(windows[n]):
            parts = answers.pop(n)
            yield (
                n,
                Continuation(
                    log_prob=sum(part.log_prob for part in parts),
                    is_greedy=all(part.is_greedy for part in parts),
                    prompt_tokens=sum(part.prompt_tokens for part in parts),
                    output_tokens=sum(part.output_tokens for part in parts),
                    cached_tokens=sum(part.cached_tokens for part in parts),
                ),
            )


def encode_prompts(
    tokenizer: Tokenizer, requests: Sequence[GenerationRequest], *, max_len: int
) -> tuple[list[Ids], int]:
    """Encode all prompts, truncated on the left to leave room for the answer, and count the truncated ones.

    A budget that leaves no room for the prompt is reduced to half of `max_len` (lm-eval raises an error).
    """
    bos = tokenizer.bos_token
    prompts, n_cut = [], 0
    for request in requests:
        has_bos = bos is not None and request.prompt.startswith(bos)
        with _limited(len(request.prompt)):
            ids = tokenizer.encode(str(request.prompt), add_special_tokens=not has_bos)
        kept = tuple(ids[-(max_len - output_budget(request, max_len=max_len)) :])
        n_cut += len(kept) < len(ids)
        prompts.append(kept or (prefix_token_id(tokenizer),))
    return prompts, n_cut


def output_budget(request: GenerationRequest, *, max_len: int) -> int:
    """Token budget of the answer: the requested one, or half of `max_len` if the prompt would not fit."""
    if request.max_output_tokens < max_len:
        return request.max_output_tokens
    return max_len - max_len // 2


def plan_inputs(inputs: Sequence[Ids]) -> list[SharedInput]:
    """Order the distinct inputs so that common prefixes are adjacent.

    This is a depth-first walk of the prefix tree: with the keys and values of the previous input kept, each
    input needs `len(ids) - n_shared` tokens, and no token is computed twice. Choices of a question share its
    context, questions of a task its few-shot prefix, and single-token choices are one input.
    """
    places: dict[Ids, list[int]] = {}
    before: Ids | None = None
    own: list[int] = []
    for place, ids in enumerate(inputs):
        if ids is not before:  # letters to choose from share a tuple, of which a hash takes 5 µs
            before, own = ids, places.setdefault(ids, [])
        own.append(place)
    plan: list[SharedInput] = []
    last = b""
    for key, ids, own in sorted((sort_key(ids), ids, own) for ids, own in places.items()):
        plan.append(SharedInput(ids, tuple(own), _n_common(last, key), key))
        last = key
    return plan


def sort_key(ids: Ids) -> bytes:
    """Bytes that sort like the tokens with one memcmp per comparison; tuples are compared token by token.

    The key of the first tokens is the beginning of it, `KEY_BYTES` for each.
    """
    return struct.pack(f">{len(ids)}I", *ids)


def max_model_len(config: Any, tokenizer: Tokenizer) -> int:
    """Context length of the model in tokens, from the text model's configuration, else from the tokenizer."""
    config = getattr(config, "text_config", None) or config
    for key in LENGTH_KEYS:
        if (value := getattr(config, key, None)) is not None:
            return int(value)
    value = getattr(tokenizer, "model_max_length", None)
    return int(value) if value is not None and value < UNSET_MAX_LEN else DEFAULT_MAX_LEN


def chat_template_hash(tokenizer: Tokenizer) -> str | None:
    """Hash of the chat template for fingerprints; None if the model has none."""
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        return None
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


def try_tokenizer(tokenizer: Tokenizer) -> None:
    """Encode a short text, so that a tokenizer without end is found before the weights are loaded.

    Raises:
        EngineError: it needs too much time or memory, or fails (reason `unsupported`).
    """
    with _limited(len(TRIED_TEXT)):
        tokenizer.decode(tokenizer.encode(TRIED_TEXT, add_special_tokens=False))


def _limited(n_characters: int) -> AbstractContextManager[None]:
    """The limits for encoding that many characters."""
    return limited_step(
        "the model's tokenizer",
        cpu_s=ENCODE_S + n_characters / SLOWEST,
        extra_bytes=ENCODE_BYTES + n_characters * ENCODED_BYTES,
    )


def _prefix_text(tokenizer: Tokenizer) -> str:
    return str(tokenizer.decode([prefix_token_id(tokenizer)]))


def _without_trailing_space(request: ContinuationRequest) -> ContinuationRequest:
    """Move the context's trailing space to the continuation, since tokens begin with a space."""
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


def _pairs_by_lines(tokenizer: Tokenizer, pairs: Sequence[ContinuationRequest]) -> list[EncodedPair] | None:
    """The tokens of each pair, of which each distinct line is encoded once; None: not with this tokenizer."""
    encoder = _line_encoder(tokenizer)
    before = _special_tokens_before(tokenizer) if encoder.is_exact else None
    if before is None:
        return None
    prefix = _prefix_text(tokenizer)
    if any(r.context.startswith(prefix) != (r.context + r.continuation).startswith(prefix) for r in pairs):
        return None
    found = encoder.pairs([(r.context, r.continuation) for r in pairs])
    if found is None:
        return None
    contexts: dict[str, Ids] = {}  # one tuple for all pairs of a context
    for pair, (context, _) in zip(pairs, found, strict=True):
        if pair.context not in contexts:
            contexts[pair.context] = context if pair.context.startswith(prefix) else before + context
    return [EncodedPair(contexts[pair.context], own) for pair, (_, own) in zip(pairs, found, strict=True)]


def _line_encoder(tokenizer: Tokenizer) -> LineEncoder:
    """The encoder of a tokenizer, which keeps what it has encoded as long as the tokenizer is there."""
    if tokenizer not in _LINE_ENCODERS:
        of = weakref.ref(tokenizer)
        _LINE_ENCODERS[tokenizer] = LineEncoder(tokenizer, lambda texts: _encode_plain(of(), texts))
    return _LINE_ENCODERS[tokenizer]


def _special_tokens_before(tokenizer: Tokenizer) -> Ids | None:
    """The special tokens before a text; None where there are some after it too."""
    (plain,) = _encode_plain(tokenizer, ["A"])
    (full,) = _encode_plain(tokenizer, ["A"], add_special_tokens=True)
    return full[: -len(plain)] if plain and full[-len(plain) :] == plain else None


def _pairs_by_texts(tokenizer: Tokenizer, pairs: Sequence[ContinuationRequest]) -> list[EncodedPair]:
    """The tokens of each pair, from its context and its whole text."""
    ids = _encode_all(tokenizer, {text for r in pairs for text in (r.context, r.context + r.continuation)})
    return [
        EncodedPair(ids[r.context], ids[r.context + r.continuation][len(ids[r.context]) :]) for r in pairs
    ]


def _encode_all(tokenizer: Tokenizer, texts: Iterable[str]) -> dict[str, Ids]:
    prefix = _prefix_text(tokenizer)
    ids: dict[str, Ids] = {}
    groups: dict[bool, list[str]] = {True: [], False: []}
    for text in texts:
        groups[not text.startswith(prefix)].append(text)
    for add_special_tokens, group in groups.items():
        if group:
            found = _encode_plain(tokenizer, group, add_special_tokens=add_special_tokens)
            ids.update(zip(group, found, strict=True))
    return ids


def _encode_plain(
    tokenizer: Tokenizer, texts: Sequence[str], *, add_special_tokens: bool = False
) -> list[Ids]:
    with _limited(sum(map(len, texts))):
        if _is_plain(tokenizer):
            found = tokenizer.backend_tokenizer.encode_batch_fast(
                list(texts), add_special_tokens=add_special_tokens
            )
            return [tuple(one.ids) for one in found]
        encoded = tokenizer(list(texts), add_special_tokens=add_special_tokens)["input_ids"]
    return list(map(tuple, encoded))


def _is_plain(tokenizer: Tokenizer) -> bool:
    """Whether calling the tokenizer only calls the one in Rust, which gives ids alone in half the time."""
    kind, backend = type(tokenizer), getattr(tokenizer, "backend_tokenizer", None)
    own = [getattr(getattr(kind, name, None), "__module__", None) != module for name, module in CALLED]
    if backend is None or any(own) or hasattr(kind, "_switch_to_input_mode"):
        return False
    if backend.truncation is not None or backend.padding is not None:
        return False
    return bool(backend.encode_special_tokens == tokenizer.split_special_tokens)


def n_common(a: Ids, b: Ids) -> int:
    """Number of leading tokens that `a` and `b` have in common."""
    return _n_common(sort_key(a), sort_key(b))


def _n_common(a: bytes, b: bytes) -> int:
    n = min(len(a), len(b)) // KEY_BYTES
    differs = np.frombuffer(a, KEY, n) != np.frombuffer(b, KEY, n)
    return int(differs.argmax()) if differs.any() else n
