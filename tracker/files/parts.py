"""Chunks of items as Parquet files: their columns, their version, and how one is read.

Apart from `items.py`, since the process that answers a user's SELECT needs nothing else of items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tracker.serialization import FIRST_VERSION, VERSION_KEY, DiskFormat

PART_GLOB = "*-*.parquet"
PART_ERRORS = (OSError, pa.ArrowException)  # what reading a broken chunk raises
PART_FORMAT = DiskFormat()

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


def read_table(path: Path, *, columns: Sequence[str]) -> pa.Table:
    """These columns of one chunk, each page held against its checksum.

    A column that the version which wrote the chunk did not have yet is null.

    Raises:
        NewerFormatError: a newer version wrote it.
        PART_ERRORS: it is broken, or lacks a column that every version has.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        PART_FORMAT.check(_part_version(file.metadata.metadata, where=str(path)), where=str(path))
        there = [name for name in columns if name in file.schema_arrow.names]
        for name in columns:
            if name in REQUIRED and name not in there:
                raise pa.ArrowInvalid(f"no column `{name}`")
        table = file.read(columns=there)
    for name in columns:
        if name not in there:
            table = table.append_column(name, pa.nulls(len(table), SCHEMA.field(name).type))
    return table.select(list(columns)).cast(pa.schema([SCHEMA.field(name) for name in columns]))


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
    if not value.isdigit():
        raise pa.ArrowInvalid(f"{where}: {VERSION_KEY} is {value!r}")
    return int(value)


def _stamp(version: int) -> bytes:
    """The version as a Parquet footer holds it: key and value of Thrift's compact protocol, sizes first."""
    value = str(version).encode()
    return VERSION_KEY.encode() + b"\x18" + bytes([len(value)]) + value


_STAMPS = tuple(_stamp(version) for version in range(FIRST_VERSION, PART_FORMAT.version + 1))
