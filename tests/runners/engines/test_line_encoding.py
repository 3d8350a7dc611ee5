"""Encoding by lines gives the ids of the whole texts, with every kind of tokenizer, or is not used."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE, WordPiece
from tokenizers.trainers import BpeTrainer, WordPieceTrainer
from transformers import PreTrainedTokenizerFast

from runners.engines import ContinuationRequest, encoding
from runners.engines.encoding import encode_pairs

CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
THREES_FROM_THE_RIGHT = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))|[^\s\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"
OVER_LINES = r"[A-Za-z]+\n[A-Za-z]+|\s|\S+"  # no known tokenizer does this
CORPUS = [
    "Question: what is 12 plus 345678? Answer: the fox, (and) so on.\n\n\nA. 7\nB. it's\r\n \n\tdef f(x):\n",
    "the quick brown fox jumps over the dog //\n// 1,234 you're; naïve café 你好\nA fox\nThe dog\n7 dogs\n",
] * 40
LINES = [line for text in CORPUS for line in text.splitlines(keepends=True)]
PIECES = (
    "the", "fox", " ", "  ", "\n", "\n\n", " \n", "\r\n", "\t", "A", "B.", "7", "1234567", ".", "?", "//",
    "é", "你好", "'s", "<s>", "<mark>", "Question: what", "\nAnswer:", "\nA", "\n9", "x\ny",
)  # fmt: skip


def byte_level(pattern: str | None) -> Any:
    backend = Backend(BPE())
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    first = [] if pattern is None else [pre_tokenizers.Split(Regex(pattern), "isolated")]
    backend.pre_tokenizer = pre_tokenizers.Sequence([*first, last])
    backend.decoder = decoders.ByteLevel()
    return trained(backend, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def without_words(*changes: Any, over_lines: bool = False) -> Any:
    """Byte pairs over the whole text, as in Gemma's and Llama 2's files, learned from lines or from texts."""
    backend = Backend(BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Sequence([*changes, normalizers.Replace(" ", "▁")])
    return trained(backend, CORPUS if over_lines else LINES)


def trained(backend: Any, corpus: Sequence[str] = CORPUS, **named: Any) -> Any:
    trainer = BpeTrainer(
        vocab_size=420, special_tokens=["<s>", "</s>", "<unk>"], show_progress=False, **named
    )
    backend.train_from_iterator(corpus, trainer)
    backend.add_special_tokens([AddedToken("<mark>", lstrip=True, rstrip=True)])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


def word_pieces() -> Any:
    backend = Backend(WordPiece(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = WordPieceTrainer(vocab_size=300, special_tokens=["<s>", "</s>", "<unk>"], show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def with_end() -> Any:
    tokenizer = byte_level(None)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return tokenizer


def drawn(draw: random.Random) -> list[ContinuationRequest]:
    """Questions with several choices; most contexts share a beginning."""
    shots = "".join(draw.choices(PIECES, k=draw.randrange(30)))
    contexts = [shots + "".join(draw.choices(PIECES, k=draw.randrange(1, 9))) for _ in range(4)]
    choices = ["".join(draw.choices(PIECES, k=draw.randrange(1, 4))) for _ in range(3)]
    return [ContinuationRequest(context, choice) for context in contexts for choice in choices]


def whole(
    tokenizer: Any, requests: Sequence[ContinuationRequest]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """As lm-eval does it: the text of both, less the tokens of the context."""
    found = []
    for request in map(encoding._without_trailing_space, requests):
        texts = (request.context, request.context + request.continuation)
        context, both = (encoding.encode_text(tokenizer, text) for text in texts)
        found.append((context, both[len(context) :]))
    return found


@pytest.mark.parametrize(
    ("tokenizer", "is_by_lines"),
    [
        (byte_level(None), True),
        (byte_level(CL100K), True),
        (byte_level(THREES_FROM_THE_RIGHT), True),
        (byte_level(OVER_LINES), False),
        (without_words(), True),
        (without_words(over_lines=True), False),
        (without_words(normalizers.Prepend("▁")), False),
        (without_words(normalizers.Strip()), False),
        (without_words(normalizers.Replace("\n", " ")), False),
        (word_pieces(), False),
        (with_end(), False),
    ],
    ids=[
        "GPT-2's pattern", "the pattern of cl100k", "threes from the right", "a pattern over lines",
        "no words", "merges over lines", "a blank before", "stripped", "line feeds replaced",
        "word pieces", "an end token",
    ],
)  # fmt: skip
def test_line_encoding_gives_the_ids_of_whole_texts(tokenizer: Any, is_by_lines: bool) -> None:
    draw = random.Random(2026)
    n_asked = 0
    for _ in range(25):
        requests = drawn(draw)
        expected = whole(tokenizer, requests)
        kept = [n for n, (context, own) in enumerate(expected) if own and requests[n].context.strip()]
        found = encode_pairs(tokenizer, [requests[n] for n in kept])
        assert [(pair.context, pair.continuation) for pair in found] == [expected[n] for n in kept]
        n_asked += len(kept)
    assert n_asked > 120
    encoder = encoding._line_encoder(tokenizer)
    is_used = encoder.is_exact and encoding._special_tokens_before(tokenizer) is not None
    assert is_used == is_by_lines


def test_line_encoding_encodes_what_is_shared_once() -> None:
    tokenizer, n_characters = byte_level(CL100K), 0
    shots = "".join(f"Question: what is {n} plus {n}?\nAnswer: {2 * n}\n\n" for n in range(200))
    requests = [
        ContinuationRequest(f"{shots}Question: {n}\nAnswer:", f" {x}") for n in range(20) for x in "AB"
    ]
    encoder = encoding._line_encoder(tokenizer)
    encode = encoder._encode

    def counted(texts: Sequence[str]) -> list[tuple[int, ...]]:
        nonlocal n_characters
        n_characters += sum(map(len, texts))
        return encode(texts)

    encoder._encode = counted
    assert len(encode_pairs(tokenizer, requests)) == len(requests)
    assert encoder.is_exact
    assert n_characters < 4 * len(requests[0].context)  # of them two to compare with the whole
