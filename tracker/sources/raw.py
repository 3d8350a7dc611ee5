"""Raw responses of sources, byte for byte: compressed, named by hash, never overwritten.

`raw/<source>/<sha256>.zst` is one response; `raw/<source>/log.jsonl` lists time and address of each. Equal
responses are stored once. Headers, which contain tokens, are not stored.

What was ingested can be rebuilt from these files, so that `prune` deletes only what no log names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from tracker.errors import StoreError
from tracker.serialization import write_atomically

LOG = "log.jsonl"
UNNAMED_S = 24 * 3600  # a response is named in the log a moment after it is stored
LOST_HINT = "restore it from a backup; an ingest that is sent it again stores it again"
HASH = re.compile(rb'"sha256": ?"([0-9a-f]{64})"')
LEVEL = 3  # zstd's default: 500 MB/s, a tenth of the size for JSON


@dataclass(frozen=True, slots=True)
class RawEntry:
    """Log entry of one response: time, address, status and hash."""

    at: str  # ISO 8601, UTC
    url: str
    status: int
    sha256: str
    n_bytes: int
    etag: str | None = None


class RawStore:
    """The stored responses of one source."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / LOG
        self._is_cut_off = False
        self._by_url: dict[str, RawEntry] = {}
        for entry in self._entries():
            self._by_url[entry.url] = entry

    def newest(self, url: str) -> RawEntry | None:
        """The last valid response of this address, if it is still stored."""
        entry = self._by_url.get(url)
        return entry if entry is not None and self._path(entry.sha256).is_file() else None

    def read(self, sha256: str) -> bytes:
        """The response with that hash.

        Raises:
            StoreError: it is missing or damaged.
        """
        path = self._path(sha256)
        try:
            with pa.input_stream(str(path), compression="zstd") as stream:
                body = bytes(stream.read())
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"cannot read `{path}`: {error}", hint=LOST_HINT) from error
        if hashlib.sha256(body).hexdigest() != sha256:
            raise StoreError(f"`{path}` is damaged", hint=LOST_HINT)
        return body

    def add(self, body: bytes, *, url: str, status: int, at: datetime, etag: str | None) -> RawEntry:
        """Store one response and log it."""
        sha256 = hashlib.sha256(body).hexdigest()
        path = self._path(sha256)
        if not path.is_file():
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, pa.Codec("zstd", compression_level=LEVEL).compress(body, asbytes=True))
        entry = RawEntry(at.isoformat(), url, status, sha256, len(body), etag)
        with self._log.open("a") as log:
            # start a new line after one that a kill truncated
            log.write("\n" * self._is_cut_off + json.dumps(asdict(entry)) + "\n")
        self._is_cut_off = False
        self._by_url[url] = entry
        return entry

    def drop(self, sha256: str) -> None:
        """Delete a damaged response, so that it is fetched again."""
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


@dataclass(frozen=True, slots=True)
class RawUse:
    """What the raw responses of a home take."""

    n_files: int
    n_bytes: int


def raw_use(raw_path: Path) -> RawUse:
    """Count the files below `raw_path` and their size."""
    sizes = [path.stat().st_size for path in raw_path.rglob("*") if path.is_file()]
    return RawUse(len(sizes), sum(sizes))


def logged_entries(folder: Path) -> tuple[RawEntry, ...]:
    """The log of a source's responses, in order; unreadable lines are left out."""
    return tuple(RawStore(folder)._entries())


def prune(folder: Path, *, at: datetime) -> tuple[Path, ...]:
    """Delete responses of a source that no log names, and unfinished writes, and return them.

    Nothing is deleted that is younger than a day, nor where a log is missing or damaged: what it named is
    then not known.
    """
    try:
        logs = [path.read_bytes() for path in sorted(folder.glob("*.jsonl"))]
    except OSError:
        return ()
    if not (folder / LOG).is_file() or not all(map(_is_whole, logs)):
        return ()
    named = {found.decode() for log in logs for found in HASH.findall(log)}
    unused = [path for path in folder.glob("*.zst") if path.stem not in named]
    unused += [path for path in folder.glob(".*") if path.is_file()]
    deleted = []
    for path in unused:
        with suppress(OSError):  # a read-only folder, or another process was faster
            if path.stat().st_mtime < at.timestamp() - UNNAMED_S:
                path.unlink()
                deleted.append(path)
    return tuple(deleted)


def _is_whole(log: bytes) -> bool:
    """Whether every line is JSON."""
    try:
        return all(json.loads(line) is not None for line in log.splitlines() if line.strip())
    except ValueError:
        return False
