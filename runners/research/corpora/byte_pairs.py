"""A small byte-pair vocabulary (arXiv 1508.07909) learned from the training text, in pure Python.

Token 0 stands between two documents, tokens 1 to 256 are the bytes, the rest are merges in the order in
which they were learned. Equal text gives equal tokens on every machine: a tie goes to the smaller tokens.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

SEPARATOR = 0
FIRST_MERGE = 257  # after the separator and 256 bytes
# merges stay within a word, a digit, a run of signs, an indentation or a run of blanks
WORDS = re.compile(rb" ?[A-Za-z]+| ?[0-9]| ?[^ \nA-Za-z0-9]+|\n+ *| +")
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class BytePairs:
    """A vocabulary; `merges[i]` makes token `FIRST_MERGE + i`."""

    merges: tuple[Pair, ...]
    _known: dict[bytes, list[int]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def vocab_size(self) -> int:
        """How many tokens there are, with the separator."""
        return FIRST_MERGE + len(self.merges)

    def byte_lengths(self) -> tuple[int, ...]:
        """Bytes behind each token; 0 for the separator."""
        lengths = [0] + [1] * 256
        for left, right in self.merges:
            lengths.append(lengths[left] + lengths[right])
        return tuple(lengths)

    def pieces(self) -> tuple[bytes, ...]:
        """The bytes behind each token."""
        found = [b""] + [bytes([byte]) for byte in range(256)]
        for left, right in self.merges:
            found.append(found[left] + found[right])
        return tuple(found)

    def encoded(self, documents: Iterable[bytes]) -> NDArray[np.uint16]:
        """The documents one after another, each behind a separator."""
        rank = {pair: FIRST_MERGE + i for i, pair in enumerate(self.merges)}
        found: list[int] = []
        for document in documents:
            found.append(SEPARATOR)
            for word in WORDS.findall(document):
                if word not in self._known:
                    self._known[word] = _merged(word, rank)
                found += self._known[word]
        return np.array(found, dtype=np.uint16)


def learned(documents: Iterable[bytes], vocab_size: int) -> BytePairs:
    """The vocabulary of the most frequent pairs; smaller than `vocab_size` where the text has no more."""
    counts = Counter(word for document in documents for word in WORDS.findall(document))
    words = [([byte + 1 for byte in word], n) for word, n in sorted(counts.items())]
    n_of: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)
    for i, (tokens, n) in enumerate(words):
        for pair in pairwise(tokens):
            n_of[pair] += n
            places[pair].add(i)
    merges: list[Pair] = []
    while n_of and len(merges) < vocab_size - FIRST_MERGE:
        best = min(n_of, key=lambda pair: (-n_of[pair], pair))
        if n_of[best] < 2:
            break
        merges.append(best)
        for i in places.pop(best):
            tokens, n = words[i]
            new = _replaced(tokens, best, FIRST_MERGE + len(merges) - 1)
            for pair in pairwise(tokens):
                n_of[pair] -= n
                if not n_of[pair]:
                    del n_of[pair]
            for pair in pairwise(new):
                n_of[pair] += n
                places[pair].add(i)
            tokens[:] = new
    return BytePairs(tuple(merges))


def _merged(word: bytes, rank: dict[Pair, int]) -> list[int]:
    tokens = [byte + 1 for byte in word]
    while len(tokens) > 1:
        token, pair = min((rank.get(pair, 1 << 20), pair) for pair in pairwise(tokens))
        if token == 1 << 20:
            break
        tokens = _replaced(tokens, pair, token)
    return tokens


def _replaced(tokens: Sequence[int], pair: Pair, token: int) -> list[int]:
    found, i = [], 0
    while i < len(tokens):
        if i + 1 < len(tokens) and (tokens[i], tokens[i + 1]) == pair:
            found.append(token)
            i += 2
        else:
            found.append(tokens[i])
            i += 1
    return found
