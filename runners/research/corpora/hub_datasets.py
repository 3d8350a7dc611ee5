"""Text of a data set on the Hub, as bytes or in the tokens of a byte-level tokenizer.

Documents go to a split by the hash of their text, so that equal documents never stand on both sides. What a
token weighs is counted from its raw bytes: decoded alone, half a letter would count as three bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import hf_hub_download
from numpy.typing import NDArray

from runners.models.hub_errors import hub_errors, retrying
from tracker.errors import TrackerError, UnreachableError
from tracker.installation import install_command
from tracker.private_home import shared_files

SPLITS = ("val", "select", "test", "train")
HELD_OUT_OF_256 = 3  # of 256 documents go to each held-out split
ROWS = 1024  # documents read at once
SEPARATOR = 0  # byte between two documents
SPECIAL = "<|endoftext|>"  # token between two documents; GPT-2


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A `tokenizer.json` on the Hub, at a commit."""

    model_id: str
    revision: str


@dataclass(frozen=True, slots=True)
class HubText:
    """Parquet files of one data set at one commit, up to a number of training tokens."""

    name: str
    dataset_id: str
    revision: str
    files: tuple[str, ...]
    train_tokens: int
    vocab_size: int = 256
    token_bytes: int = 1
    tokenizer: Tokenizer | None = None  # None: bytes
    column: str = "text"
    pinned_hash: str | None = None

    def made_of(self) -> Mapping[str, str]:
        """The commits and the size."""
        made_of = {self.dataset_id: self.revision, "train_tokens": str(self.train_tokens)}
        if self.tokenizer:
            made_of[self.tokenizer.model_id] = self.tokenizer.revision
        return made_of

    def byte_lengths(self) -> tuple[int, ...]:
        """Raw bytes of every token; empty for bytes."""
        if self.tokenizer is None:
            return ()
        lengths = token_lengths(self._loaded(), self.tokenizer.model_id)
        if len(lengths) > self.vocab_size:
            message = f"`{self.tokenizer.model_id}` has {len(lengths)} tokens, more than {self.vocab_size}"
            raise TrackerError(message)
        return lengths + (0,) * (self.vocab_size - len(lengths))

    def chunks(self) -> Iterator[tuple[str, NDArray[np.integer]]]:
        """Some documents of one split at a time, each behind a separator.

        Raises:
            TrackerError: a file or its column is not as expected, or all files hold too little text.
            UnreachableError: the Hub cannot be reached.
        """
        n_wanted = self.train_tokens
        tokenizer = self._loaded() if self.tokenizer else None
        for file in self.files:
            for documents in self.documents_of(file):
                for split, texts in _by_split(documents).items():
                    tokens = _encoded(texts, tokenizer)
                    n_wanted -= len(tokens) if split == "train" else 0
                    yield split, tokens
                if n_wanted <= 0:
                    return
        raise TrackerError(f"`{self.dataset_id}` holds too little text: {n_wanted:,} more tokens are needed")

    def documents_of(self, file: str) -> Iterator[list[str]]:
        """The texts of one file, some at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = _downloaded(self.dataset_id, file, revision=self.revision, kind="dataset")
        try:
            for batch in pq.ParquetFile(path).iter_batches(batch_size=ROWS, columns=[self.column]):
                yield [text for text in batch.column(0).to_pylist() if text]
        except (pa.ArrowInvalid, IndexError) as error:
            message = f"`{file}` of `{self.dataset_id}` has no readable column `{self.column}`"
            raise TrackerError(message, hint=f"delete {path} to download it again") from error

    def _loaded(self) -> Any:
        try:
            from tokenizers import Tokenizer as Loaded
        except ImportError as error:
            message = f"the corpus `{self.name}` needs `tokenizers`, which is not installed"
            raise TrackerError(message, hint=install_command("cpu")) from error
        assert self.tokenizer is not None
        path = _downloaded(self.tokenizer.model_id, "tokenizer.json", revision=self.tokenizer.revision)
        return Loaded.from_file(str(path))


@dataclass(frozen=True, slots=True)
class HubDocuments:
    """The first rows of a data set's file at a commit, one document and one group each."""

    dataset_id: str
    revision: str
    file: str
    n_documents: int
    column: str = "text"

    def made_of(self) -> Mapping[str, str]:
        """The commit and the number of rows."""
        return {self.dataset_id: self.revision, "n_documents": str(self.n_documents)}

    def documents(self) -> Iterator[tuple[str, str]]:
        """(hash of the text, text); equal rows are one document.

        Raises:
            TrackerError: the file or its column is not as expected.
            UnreachableError: the Hub cannot be reached.
        """
        source = HubText(self.dataset_id, self.dataset_id, self.revision, (self.file,), 0, column=self.column)
        seen: set[str] = set()
        for texts in source.documents_of(self.file):
            for text in texts:
                mark = hashlib.sha256(text.encode()).hexdigest()
                if mark not in seen:
                    seen.add(mark)
                    yield mark, text
                if len(seen) == self.n_documents:
                    return


def token_lengths(tokenizer: Any, model_id: str) -> tuple[int, ...]:
    """Raw bytes behind every token of a byte-level tokenizer; 0 for special tokens.

    Raises:
        TrackerError: it is no byte-level tokenizer.
    """
    # in a byte-level vocabulary one character stands for one byte (GPT-2's bytes_to_unicode)
    if "ByteLevel" not in str(tokenizer.decoder):
        raise TrackerError(f"the tokenizer of `{model_id}` is not byte-level, so its bytes cannot be counted")
    special = {token_id for token_id, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    lengths = [0] * tokenizer.get_vocab_size()
    for token, token_id in tokenizer.get_vocab().items():
        lengths[token_id] = 0 if token_id in special else len(token)
    return tuple(lengths)


def _by_split(documents: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in documents:
        slot = hashlib.sha256(text.encode()).digest()[0] // HELD_OUT_OF_256
        found.setdefault(SPLITS[min(slot, len(SPLITS) - 1)], []).append(text)
    return found


def _encoded(texts: Sequence[str], tokenizer: Any) -> NDArray[np.integer]:
    """Every text with a separator before it."""
    if tokenizer is None:
        separator = bytes([SEPARATOR])
        return np.frombuffer(b"".join(separator + text.encode() for text in texts), dtype=np.uint8)
    special = tokenizer.token_to_id(SPECIAL)
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return np.concatenate([np.array([special, *encoding.ids], dtype=np.uint16) for encoding in encodings])


def _downloaded(repo_id: str, file: str, *, revision: str, kind: str = "model") -> Path:
    """The file in the Hub's cache.

    Raises:
        UnreachableError: it is not there, and the Hub cannot be reached.
    """
    try:
        for attempt in retrying():
            with attempt, hub_errors(repo_id, revision), shared_files():
                return Path(hf_hub_download(repo_id, file, revision=revision, repo_type=kind))
    except UnreachableError as error:
        what = f"`{file}` of the {kind} `{repo_id}`"
        message = f"{error}, and {what} is not in its cache"
        raise UnreachableError(message, hint="run the command once online") from error
    raise AssertionError("the last attempt returns or raises")


# revisions as of 2026-11-24; a training reads 50 M and 134 M tokens
TINYSTORIES = HubText(
    "tinystories",
    "roneneldan/TinyStories",
    "f54c09fd23315a6f9c86f9dc80f725de7d8f9c64",
    ("data/train-00000-of-00004-2d5a1467fff1081b.parquet",),
    train_tokens=110_000_000,
)
FINEWEB_EDU = HubText(
    "fineweb-edu",
    "HuggingFaceFW/fineweb-edu",
    "87f09149ef4734204d70ed1d046ddc9ca3f2b8f9",
    ("sample/10BT/000_00000.parquet",),
    train_tokens=140_000_000,
    vocab_size=50_304,  # GPT-2's 50,257, rounded up to a multiple of 64 for the card's sake
    token_bytes=2,
    tokenizer=Tokenizer("openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e"),
)
TINYSTORIES_DOCUMENTS = HubDocuments(
    TINYSTORIES.dataset_id, TINYSTORIES.revision, TINYSTORIES.files[0], n_documents=8_000
)
