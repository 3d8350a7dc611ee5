"""The line of a table of counts: bits per byte of the best n-gram model counted on one training's text.

A task whose defaults lie above this line measures who leaves the first steps of training soonest. The model
is Witten and Bell's interpolation (IEEE Trans. Inf. Theory 37(4), 1991) over bytes, for each order up to
`MAX_ORDER`; the best one on `val` is taken, so the line on `test` is an honest score of the same model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runners.research.corpora.build import VOCABULARY, Corpus, corpus
from runners.research.corpora.tables import TABLES
from runners.research.problem.tiers import TaskKind, Tier
from tracker.serialization import dump_json, load_json, write_atomically

MAX_ORDER = 7  # symbols, the predicted one among them; more were worse on a text of this size
MAX_BYTES = 8 << 20  # of training text that is counted: more takes minutes
Symbols = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NgramLine:
    """The best order on `val`, and its bits per byte of each split."""

    order: int
    bpb: Mapping[str, float]
    n_bytes: int  # of training text behind the counts
    corpus_hash: str


@dataclass(frozen=True, slots=True)
class _Counts:
    """Of one order: the n-grams as sorted numbers, and their contexts."""

    grams: Symbols
    n: Symbols
    contexts: Symbols
    totals: Symbols
    types: Symbols


@dataclass(frozen=True, slots=True)
class WittenBell:
    """Counts of each order up to the highest, over `size` symbols."""

    size: int
    orders: tuple[_Counts, ...] = field(repr=False)

    @classmethod
    def counted(cls, text: Symbols, *, size: int, max_order: int) -> WittenBell:
        """The counts of a text of symbols in 0..size-1."""
        return cls(size, tuple(_counts(text, size, n) for n in range(1, max_order + 1)))

    def nats(self, text: Symbols) -> NDArray[np.float64]:
        """(orders, len(text)) loss of each symbol under each order, given all the symbols before it."""
        chance = np.full(len(text), 1 / self.size)
        found = []
        for n, counts in enumerate(self.orders, start=1):
            keys = _keys(text, self.size, n)
            contexts = keys // self.size
            at = np.minimum(np.searchsorted(counts.contexts, contexts), len(counts.contexts) - 1)
            is_known = counts.contexts[at] == contexts
            where = np.minimum(np.searchsorted(counts.grams, keys), len(counts.grams) - 1)
            seen = np.where(counts.grams[where] == keys, counts.n[where], 0)
            lower = chance[n - 1 :]
            higher = (seen + counts.types[at] * lower) / (counts.totals[at] + counts.types[at])
            chance = np.concatenate((chance[: n - 1], np.where(is_known, higher, lower)))
            found.append(-np.log(chance))
        return np.stack(found)


def ngram_line(corpus: Corpus, *, train_tokens: int, eval_tokens: int) -> NgramLine:
    """The line of a corpus, from its folder if it stands there, else counted now: seconds per megabyte."""
    path = corpus.folder / f"ngram_line_{train_tokens}_{eval_tokens}.json"
    if path.is_file():
        kept = load_json(NgramLine, path.read_bytes(), where=str(path))
        if kept.corpus_hash == corpus.hash:
            return kept
    train = as_bytes(corpus, "train", train_tokens)[:MAX_BYTES]
    held_out = {split: as_bytes(corpus, split, eval_tokens) for split in ("val", "select", "test")}
    symbols = np.unique(np.concatenate([train, *held_out.values()]))
    place = np.zeros(256, dtype=np.int64)
    place[symbols] = np.arange(len(symbols))
    size = len(symbols)
    most = min(MAX_ORDER, int(62 / math.log2(max(2, size))))  # a gram is one number of 63 bits
    model = WittenBell.counted(place[train], size=size, max_order=most)
    bits = {split: model.nats(place[text]).mean(axis=1) / math.log(2) for split, text in held_out.items()}
    best = int(np.argmin(bits["val"]))
    bpb = {split: round(float(each[best]), 4) for split, each in bits.items()}
    line = NgramLine(best + 1, bpb, len(train), corpus.hash)
    write_atomically(path, dump_json(line))
    return line


def task_line(tier: Tier, home: Path) -> float | None:
    """The line on `test` of a task's corpus, counted on the text of one training; None: there is none.

    On a card a training reads more text than a table is counted on here.
    """
    if tier.device != "cpu" or tier.kind is not TaskKind.LANGUAGE_MODEL:
        return None
    found = corpus(tier.corpus, home)
    if not has_line(found):
        return None
    most = max(found.meta.n_tokens.values())
    return ngram_line(found, train_tokens=tier.train_tokens, eval_tokens=most).bpb["test"]


def as_bytes(corpus: Corpus, split: str, n_tokens: int) -> NDArray[np.uint8]:
    """The text behind the first tokens of a split; one symbol per token where no vocabulary is kept."""
    tokens = np.array(corpus.tokens(split)[:n_tokens])
    path = corpus.folder / VOCABULARY
    if not path.is_file():
        return tokens.astype(np.uint8)
    pieces = [bytes.fromhex(piece) for piece in json.loads(path.read_bytes())]
    return np.frombuffer(b"".join(pieces[token] for token in tokens), dtype=np.uint8)


def _counts(text: Symbols, size: int, n: int) -> _Counts:
    grams, counts = np.unique(_keys(text, size, n), return_counts=True)
    contexts, starts = np.unique(grams // size, return_index=True)
    types = np.diff(np.append(starts, len(grams)))
    return _Counts(grams, counts, contexts, np.add.reduceat(counts, starts), types)


def _keys(text: Symbols, size: int, n: int) -> Symbols:
    """Each run of `n` symbols as one number."""
    found = np.zeros(len(text) - n + 1, dtype=np.int64)
    for i in range(n):
        found = found * size + text[i : len(text) - n + 1 + i]
    return found


def has_line(corpus: Corpus) -> bool:
    """Whether it is a text whose bytes are known."""
    if corpus.meta.name in TABLES:
        return False
    return corpus.meta.token_bytes == 1 or Path(corpus.folder, VOCABULARY).is_file()
