"""Entries of a zip file of strangers, read one by one into memory: nothing is extracted to the disk."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa

from tracker.formats.bounded import DAMAGED_HINT, ForeignFileError, size_of, too_large

MAX_ENTRY_BYTES = 64 * 1024**2  # unpacked
MAX_UNPACKED_BYTES = 8 * 1024**3  # of all entries together
MAX_ENTRIES = 1_000_000
ZSTD = 93  # method of compression, which `zipfile` of Python before 3.14 does not know
LOCAL_HEADER_BYTES = 30
BLOCK_BYTES = 1024**2
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, NotImplementedError)


class ZippedFile:
    """An open zip file within bounds."""

    def __init__(self, path: Path, file: IO[bytes], found: zipfile.ZipFile) -> None:
        self._path, self._file, self._zip = path, file, found
        self._entries = {entry.filename: entry for entry in found.infolist()}
        self._n_bytes = 0

    @property
    def names(self) -> list[str]:
        """The names of the entries, as the file orders them."""
        return list(self._entries)

    def read(self, name: str, *, most: int = MAX_ENTRY_BYTES) -> bytes:
        """One entry.

        Raises:
            ForeignFileError: there is none of this name, it is damaged, or it unpacks to more than `most`.
        """
        where = f"{self._path}: {name}"
        if name not in self._entries:
            raise ForeignFileError(f"`{self._path}` has no entry `{name}`", hint=DAMAGED_HINT)
        entry = self._entries[name]
        try:
            content = self._zstd(entry, most) if entry.compress_type == ZSTD else self._usual(entry, most)
        except (*BROKEN, pa.ArrowException) as error:
            raise ForeignFileError(f"`{where}` is damaged: {error}", hint=DAMAGED_HINT) from error
        self._n_bytes += len(content)
        if len(content) > most or self._n_bytes > MAX_UNPACKED_BYTES:
            limit = most if len(content) > most else MAX_UNPACKED_BYTES
            raise too_large(where, max(entry.file_size, self._n_bytes, limit + 1), limit)
        return content

    def _usual(self, entry: zipfile.ZipInfo, most: int) -> bytes:
        with self._zip.open(entry) as unpacked:
            return unpacked.read(most + 1)

    def _zstd(self, entry: zipfile.ZipInfo, most: int) -> bytes:
        self._file.seek(entry.header_offset)
        header = self._file.read(LOCAL_HEADER_BYTES)
        if len(header) < LOCAL_HEADER_BYTES or header[:4] != b"PK\x03\x04":
            raise zipfile.BadZipFile("an entry has no header")
        self._file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
        if entry.compress_size > size_of(self._path):
            raise zipfile.BadZipFile("an entry is cut off")
        packed = self._file.read(entry.compress_size)
        blocks, n_bytes = [], 0
        with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
            while n_bytes <= most and (block := stream.read(BLOCK_BYTES)):
                blocks.append(block)
                n_bytes += len(block)
        content = b"".join(blocks)
        if n_bytes <= most and zlib.crc32(content) != entry.CRC:
            raise zipfile.BadZipFile("the checksum of an entry does not fit")
        return content


@contextmanager
def zipped_file(path: Path) -> Iterator[ZippedFile]:
    """The zip file, open for reading.

    Raises:
        ForeignFileError: it is none, is cut off, or has too many, too large or impossible entries.
    """
    size_of(path)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as found:
            entries = found.infolist()
            _check(path, entries)
            yield ZippedFile(path, file, found)
    except BROKEN as error:
        raise ForeignFileError(f"`{path}` is damaged or cut off: {error}", hint=DAMAGED_HINT) from error


def _check(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    n_bytes = sum(entry.file_size for entry in entries)
    if n_bytes > MAX_UNPACKED_BYTES:
        raise too_large(f"{path}, unpacked", n_bytes, MAX_UNPACKED_BYTES)
    if len(entries) > MAX_ENTRIES:
        problem = f"`{path}` has {len(entries):,} entries; at most {MAX_ENTRIES:,} are read"
        raise ForeignFileError(problem, hint=DAMAGED_HINT)
    names = [entry.filename for entry in entries]
    wrong = next((name for name in names if name.startswith("/") or ".." in name.split("/")), None)
    if wrong is not None or len(set(names)) < len(names):
        what = (
            "two entries of one name"
            if wrong is None
            else f"an entry with an impossible name, {wrong[:40]!a}"
        )
        raise ForeignFileError(f"`{path}` has {what}", hint=DAMAGED_HINT)
