"""Chunks of items as Parquet files: their names, their columns, their version, and how one is read.

Apart from `items.py`, since the process that answers a user's SELECT needs nothing else of items.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tracker.serialization import FIRST_VERSION, VERSION_KEY, DiskFormat

PART_GLOB = "*-*.parquet"
PART_NAME = re.compile(r"(?P<fingerprint>.+)-(?P<number>\d+)(\.(?P<checksum>[0-9a-f]{8}))?\.parquet")
PART_ERRORS = (OSError, pa.ArrowException, UnicodeDecodeError)  # what reading a broken chunk raises
PART_FORMAT = DiskFormat()
REPLACES_KEY = "replaces"  # metadata of a chunk that others were joined into: JSON list of their file names
JOINING = ".joining.tmp"  # end of the name of such a chunk until it is whole
ROW_GROUP_ITEMS = (
    10_000  # of a large chunk: a reader of some `doc_id` decodes no more than the groups with them
)

SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("fingerprint", pa.string()),
        ("task", pa.string()),
        ("doc_id", pa.int64()),
        ("doc_hash", pa.string()),
        ("prompt", pa.string()),
        ("target", pa.string()),
        ("response", pa.string()),
        ("extracted", pa.string()),
        ("score", pa.float64()),
        ("metrics", pa.string()),  # JSON
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("latency_s", pa.float64()),
        ("ttft_s", pa.float64()),
        ("choices", pa.list_(pa.string())),
        ("log_probs", pa.list_(pa.float64())),
        ("thinking", pa.string()),
        ("cluster", pa.string()),
        ("answered_at", pa.timestamp("us")),  # UTC
    ]
)
REQUIRED = (  # in every chunk of every version; what is added to SCHEMA later is not
    "run_id", "fingerprint", "task", "doc_id", "doc_hash", "prompt", "target", "response", "extracted",
    "metrics", "finish_reason", "prompt_tokens", "output_tokens",
)  # fmt: skip
SMALL_ITEMS = 100  # of a chunk with fewer, only texts are compressed: each column more takes 40 µs
TEXTS = ("prompt", "response", "thinking")
WITH_STATISTICS = (
    "run_id", "fingerprint", "task", "doc_id", "score", "finish_reason", "prompt_tokens", "output_tokens",
    "latency_s", "answered_at",
)  # fmt: skip


def part_name(fingerprint: str, number: int, content: bytes) -> str:
    """The name of a chunk: what it belongs to, its number, and the CRC-32 of its bytes.

    Parquet has checksums of its pages only; with this one each byte of the file is held against it.
    """
    return f"{fingerprint}-{number:06d}.{zlib.crc32(content):08x}.parquet"


def part_bytes(table: pa.Table, *, replaces: Collection[str] = ()) -> bytes:
    """These rows, with the columns of `SCHEMA`, as the content of a chunk; `replaces` names joined chunks.

    Texts have no statistics in the footer: nobody looks for a range of texts, and they may be long.
    """
    metadata = {VERSION_KEY: str(PART_FORMAT.version)}
    if replaces:
        metadata[REPLACES_KEY] = json.dumps(sorted(replaces))
    content = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        content,
        compression="zstd" if len(table) >= SMALL_ITEMS else dict.fromkeys(TEXTS, "zstd"),
        write_page_checksum=True,
        row_group_size=ROW_GROUP_ITEMS,
        write_statistics=list(WITH_STATISTICS),
    )
    return bytes(content.getvalue().to_pybytes())


def write_durably(path: Path, content: bytes, *, temporary: Path) -> None:
    """Write a file under a temporary name, and rename it once it is on the disk."""
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replaced_names(path: Path) -> frozenset[str]:
    """File names of the chunks that were joined into this whole one; all of them are, or were, beside it."""
    value = (pq.read_metadata(path).metadata or {}).get(REPLACES_KEY.encode())
    names = json.loads(value) if value else []
    return frozenset(name for name in names if isinstance(name, str))


def part_fingerprint(path: Path) -> str:
    """The fingerprint in the name of a chunk."""
    found = PART_NAME.fullmatch(path.name)
    return found["fingerprint"] if found else path.stem.rpartition("-")[0]


def part_number(path: Path) -> int:
    """The number in the name of a chunk; -1 where there is none."""
    found = PART_NAME.fullmatch(path.name)
    return int(found["number"]) if found else -1


def has_named_checksum(path: Path, content: bytes) -> bool | None:
    """Whether a chunk's bytes have the checksum in its name; None: it was written before names had one."""
    found = PART_NAME.fullmatch(path.name)
    named = found["checksum"] if found else None
    return None if named is None else int(named, 16) == zlib.crc32(content)


def read_table(path: Path, *, columns: Sequence[str]) -> pa.Table:
    """These columns of one chunk, whose bytes are held against the checksum in its name.

    In a chunk of an older version each page is held against its own checksum. A column that the version which
    wrote the chunk did not have yet is null.

    Raises:
        NewerFormatError: a newer version wrote it.
        PART_ERRORS: it is broken, or lacks a column that every version has.
    """
    content = path.read_bytes()
    if has_named_checksum(path, content) is False:
        raise pa.ArrowInvalid("its bytes do not have the checksum in its name")
    with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
        PART_FORMAT.check(_part_version(file.metadata.metadata, where=str(path)), where=str(path))
        _check_names(file.schema_arrow.names)
        there = [name for name in columns if name in file.schema_arrow.names]
        for name in columns:
            if name in REQUIRED and name not in there:
                raise pa.ArrowInvalid(f"no column `{name}`")
        table = file.read(columns=there)
    for name in columns:
        if name not in there:
            table = table.append_column(name, pa.nulls(len(table), SCHEMA.field(name).type))
    return table.select(list(columns)).cast(pa.schema([SCHEMA.field(name) for name in columns]))


def check_names(path: Path) -> None:
    """Refuse a chunk in which the name of a column has changed, whose values would then be missing silently.

    Raises:
        PART_ERRORS: it has, or the chunk is broken.
    """
    _check_names(pq.read_schema(path).names)


def _check_names(names: Sequence[str]) -> None:
    """A name that this version does not know is a damaged one if one that it knows is missing."""
    unknown, missing = set(names) - set(SCHEMA.names), set(SCHEMA.names) - set(names)
    if unknown and missing:
        raise pa.ArrowInvalid(f"unknown column {min(unknown)!a}, and no column `{min(missing)}`")


def has_known_version(footer: bytes) -> bool:
    """Whether this program knows the version in a Parquet footer; False where that cannot be told from it."""
    return VERSION_KEY.encode() not in footer or any(stamp in footer for stamp in _STAMPS)


def check_part_version(path: Path) -> None:
    """Refuse a chunk of a newer version.

    Raises:
        NewerFormatError: a newer version wrote it.
    """
    with suppress(*PART_ERRORS):  # a broken one is found when it is read
        PART_FORMAT.check(_part_version(pq.read_metadata(path).metadata, where=str(path)), where=str(path))


def _part_version(metadata: Mapping[bytes, bytes] | None, *, where: str) -> int:
    value = (metadata or {}).get(VERSION_KEY.encode(), str(FIRST_VERSION).encode())
    if not value.isdigit() or int(value) < FIRST_VERSION:
        raise pa.ArrowInvalid(f"{where}: {VERSION_KEY} is {value!r}")
    return int(value)


def _stamp(version: int) -> bytes:
    """The version as a Parquet footer holds it: key and value of Thrift's compact protocol, sizes first."""
    value = str(version).encode()
    return VERSION_KEY.encode() + b"\x18" + bytes([len(value)]) + value


_STAMPS = tuple(_stamp(version) for version in range(FIRST_VERSION, PART_FORMAT.version + 1))
