"""What the sources answered, byte for byte: compressed, named by its own hash, never overwritten.

`raw/<source>/<sha256>.zst` is one answer; `raw/<source>/log.jsonl` says when which address gave it. The same
answer twice is kept once. Headers, which carry tokens, are not kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from tracker.codec import write_atomically
from tracker.errors import StoreError

LEVEL = 3  # zstd's own default: 500 MB/s, a tenth of the size for JSON


@dataclass(frozen=True, slots=True)
class RawEntry:
    """One answer: when, from where, and what it was."""

    at: str  # ISO 8601, UTC
    url: str
    status: int
    sha256: str
    n_bytes: int
    etag: str | None = None


class RawStore:
    """The answers of one source."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "log.jsonl"
        self._is_cut_off = False
        self._by_url: dict[str, RawEntry] = {}
        for entry in self._entries():
            self._by_url[entry.url] = entry

    def newest(self, url: str) -> RawEntry | None:
        """The last good answer of this address, if it still lies here."""
        entry = self._by_url.get(url)
        return entry if entry is not None and self._path(entry.sha256).is_file() else None

    def read(self, sha256: str) -> bytes:
        """The answer of that hash.

        Raises:
            StoreError: it is missing or damaged.
        """
        path = self._path(sha256)
        try:
            with pa.input_stream(str(path), compression="zstd") as stream:
                body = bytes(stream.read())
        except (OSError, pa.ArrowException) as error:
            raise StoreError(
                f"{path}: cannot be read: {error}", hint="delete it; it is asked for again"
            ) from error
        if hashlib.sha256(body).hexdigest() != sha256:
            raise StoreError(f"{path}: is damaged", hint="delete it; it is asked for again")
        return body

    def add(self, body: bytes, *, url: str, status: int, at: datetime, etag: str | None) -> RawEntry:
        """Keep one answer and note it in the log."""
        sha256 = hashlib.sha256(body).hexdigest()
        path = self._path(sha256)
        if not path.is_file():
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, pa.Codec("zstd", compression_level=LEVEL).compress(body, asbytes=True))
        entry = RawEntry(at.isoformat(), url, status, sha256, len(body), etag)
        with self._log.open("a") as log:
            # after a line that a kill cut off, a line of its own
            log.write("\n" * self._is_cut_off + json.dumps(asdict(entry)) + "\n")
        self._is_cut_off = False
        self._by_url[url] = entry
        return entry

    def drop(self, sha256: str) -> None:
        """Delete an answer that is damaged, so that it is asked for again."""
        self._path(sha256).unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.zst"

    def _entries(self) -> Iterator[RawEntry]:
        try:
            text = self._log.read_text(errors="replace")
        except FileNotFoundError:
            return
        self._is_cut_off = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                yield RawEntry(**json.loads(line))
            except (ValueError, TypeError):  # the last line of a process that was killed
                continue
