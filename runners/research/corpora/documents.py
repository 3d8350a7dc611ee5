"""A corpus out of documents that are dealt to the splits by a secret of the home, whole groups at a time.

What nobody knows is which groups are held out: the text itself may be public. A group is what belongs
together and repeats itself, such as a module's docstrings or a file. A held-out document that still shares
more than a small part of its 32-grams with the training text is dropped, and what remains is measured.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runners.research.corpora.byte_pairs import BytePairs, learned
from tracker.errors import TrackerError

HELD_OUT = ("val", "select", "test")
PUBLIC = "public"  # the secret of a home whose splits everybody may know: CI, reproductions
NEAR, FAR = 12, 32  # bytes of the grams whose share in the training text is measured
MAX_SHARED = 0.05  # of a held-out document's 32-grams
MAX_HELD_OUT = 0.2  # of all bytes, for each held-out split
_PRIME = np.uint64(0x100000001B3)  # FNV's: multiplied with overflow, it hashes a gram
Chunk = tuple[str, NDArray[np.integer]]


class DocumentReader(Protocol):
    """Where documents come from; hashable, so that they are read once."""

    def made_of(self) -> Mapping[str, str]:
        """Everything that decides the text: versions, hashes of files."""
        ...

    def documents(self) -> Iterator[tuple[str, str]]:
        """(group, text) of each document, in an order that no file system decides."""
        ...


@dataclass(frozen=True, slots=True)
class DealtCorpus:
    """The documents of a corpus by split, its vocabulary, and what its held-out text shares with `train`."""

    documents: Mapping[str, tuple[bytes, ...]]
    pairs: BytePairs
    overlap: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents of `reader` as byte-pair tokens, up to a number of bytes; see the module."""

    name: str
    reader: DocumentReader
    train_bytes: int
    held_out_bytes: int  # wanted for each held-out split, before documents are dropped
    vocab_size: int = 1024
    secret: str = field(default=PUBLIC, repr=False)
    token_bytes: int = 2
    pinned_hash: str | None = None

    def keyed(self, secret: str) -> Documents:
        """The same text, dealt by another secret."""
        return Documents(
            self.name,
            self.reader,
            self.train_bytes,
            self.held_out_bytes,
            self.vocab_size,
            secret,
            self.token_bytes,
            self.pinned_hash,
        )

    def made_of(self) -> Mapping[str, str]:
        """The text, the sizes, and a hash that tells secrets apart without giving them away."""
        sizes = {
            "train_bytes": self.train_bytes,
            "held_out_bytes": self.held_out_bytes,
            "vocab_size": self.vocab_size,
        }
        return {
            **self.reader.made_of(),
            **{name: str(value) for name, value in sizes.items()},
            "secret": secret_mark(self.secret),
        }

    def chunks(self) -> Iterator[Chunk]:
        """The tokens of each split."""
        dealt = _dealt(self)
        for split, documents in dealt.documents.items():
            yield split, dealt.pairs.encoded(documents)

    def byte_lengths(self) -> tuple[int, ...]:
        """Bytes behind each token; 0 for the separator and for tokens that were not needed."""
        lengths = _dealt(self).pairs.byte_lengths()
        return lengths + (0,) * (self.vocab_size - len(lengths))

    def overlap(self) -> Mapping[str, float]:
        """`val 12` → share of val's grams of 12 bytes that stand in the training text, and so on."""
        return _dealt(self).overlap

    def pieces(self) -> tuple[bytes, ...]:
        """The bytes behind each token."""
        return _dealt(self).pairs.pieces()


def secret_mark(secret: str) -> str:
    """`public`, or twelve digits that differ from secret to secret."""
    return secret if secret == PUBLIC else hashlib.sha256(f"mark {secret}".encode()).hexdigest()[:12]


@lru_cache(maxsize=1)
def _dealt(source: Documents) -> DealtCorpus:
    """Deal out whole groups, the held-out splits first.

    Raises:
        TrackerError: there is too little text.
    """
    groups: dict[str, list[bytes]] = {}
    for group, text in source.reader.documents():
        groups.setdefault(group, []).append(text.encode())
    order = sorted(groups, key=lambda group: _place(source.secret, group))
    n_bytes = sum(len(text) for texts in groups.values() for text in texts)
    wanted = min(source.held_out_bytes, int(MAX_HELD_OUT * n_bytes))
    found: dict[str, list[bytes]] = {split: [] for split in (*HELD_OUT, "train")}
    size = dict.fromkeys(found, 0)
    limits = {**dict.fromkeys(HELD_OUT, wanted), "train": source.train_bytes}
    for group in order:
        split = next((each for each in found if size[each] < limits[each]), None)
        if split is None:
            break
        found[split] += groups[group]
        size[split] += sum(map(len, groups[group]))
    if not all(found.values()):
        raise TrackerError(
            f"the corpus `{source.name}` needs at least four groups of documents, got {len(groups)}",
            hint="a group is a file or, in a table, a row",
        )
    draw = random.Random(f"{source.secret} train")
    found["train"].sort()
    draw.shuffle(found["train"])
    train = [grams(b"\0".join(found["train"]), n) for n in (NEAR, FAR)]
    known = [np.unique(each) for each in train]
    for split in HELD_OUT:
        found[split] = [text for text in found[split] if shared(text, known[1], FAR) <= MAX_SHARED]
    if empty := [split for split in HELD_OUT if not found[split]]:
        message = (
            f"the corpus `{source.name}` repeats itself: each document of `{empty[0]}` stands in `train`"
        )
        raise TrackerError(message, hint="take text whose documents differ")
    overlap = {
        f"{split} {n}": round(shared(b"\0".join(found[split]), each, n), 4)
        for split in HELD_OUT
        for n, each in zip((NEAR, FAR), known, strict=True)
    }
    documents = {split: tuple(texts) for split, texts in found.items()}
    return DealtCorpus(documents, learned(found["train"], source.vocab_size), overlap)


def _place(secret: str, group: str) -> bytes:
    return hashlib.sha256(f"{secret}\0{group}".encode()).digest()


def grams(text: bytes, n: int) -> NDArray[np.uint64]:
    """A hash of each run of `n` bytes."""
    codes = np.frombuffer(text, dtype=np.uint8).astype(np.uint64)
    found = np.zeros(max(0, len(codes) - n + 1), dtype=np.uint64)
    for i in range(n if len(found) else 0):
        found = found * _PRIME + codes[i : len(codes) - n + 1 + i]
    return found


def shared(text: bytes, known: NDArray[np.uint64], n: int) -> float:
    """Share of the runs of `n` bytes in `text` that are among the sorted `known`; 0 for a shorter text."""
    found = grams(text, n)
    if not len(found) or not len(known):
        return 0.0
    places = np.minimum(np.searchsorted(known, found), len(known) - 1)
    return float((known[places] == found).mean())


def joined(documents: Sequence[bytes]) -> bytes:
    """The documents as one text, each behind a separator."""
    return b"".join(b"\0" + document for document in documents)
