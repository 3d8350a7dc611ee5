"""Item files: what a worker writes and everything else is derived from.

`items/<run_id>/run.json` is the run; `items/<run_id>/<fingerprint>-<part>.parquet` are its items in
chunks. A chunk appears whole or not at all, and is never changed. The name carries the fingerprint, so
that what is already measured, by whichever run, is found without opening a database.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tracker.codec import dump_json, load_json, write_atomically
from tracker.errors import TrackerError
from tracker.records import Item, Run

RUN_FILE = "run.json"
PART_GLOB = "*-*.parquet"
PART_ERRORS = (OSError, pa.ArrowException)  # what reading a broken chunk raises

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


def write_run(items_path: Path, run: Run) -> None:
    """Replace the run's `run.json`, atomically."""
    write_atomically(items_path / run.run_id / RUN_FILE, dump_json(run))


def read_run(folder: Path) -> Run:
    """The run of one folder.

    Raises:
        TrackerError: the file is missing or broken.
    """
    path = folder / RUN_FILE
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TrackerError(f"{path}: cannot be read: {error.strerror}") from error
    return load_json(Run, raw, where=str(path))


def run_folders(items_path: Path) -> Iterator[Path]:
    """The folders that hold a run, oldest first (run ids sort by time)."""
    if items_path.is_dir():
        yield from sorted(p.parent for p in items_path.glob(f"*/{RUN_FILE}"))


def write_fingerprint(items_path: Path, run_id: str, fingerprint: str, parts: Mapping[str, Any]) -> None:
    """Keep beside the items what their fingerprint stands for, so that it can be read by a person."""
    path = items_path / run_id / f"{fingerprint}.json"
    if not path.is_file():
        write_atomically(path, json.dumps(parts, indent=1, sort_keys=True).encode())


def write_part(items_path: Path, run_id: str, fingerprint: str, items: Sequence[Item]) -> Path:
    """Write one chunk: temporary name, fsync, rename. The file that appears is complete."""
    folder = items_path / run_id
    folder.mkdir(parents=True, exist_ok=True)
    # After the highest number, not at the count: with a broken chunk deleted, a whole one would be replaced.
    parts = [int(path.stem.rpartition("-")[2]) for path in folder.glob(f"{fingerprint}-*.parquet")]
    path = folder / f"{fingerprint}-{max(parts, default=-1) + 1:06d}.parquet"
    answered_at = datetime.now(UTC).replace(tzinfo=None)
    names = [f.name for f in fields(Item)]
    rows = [
        {name: getattr(item, name) for name in names}
        | {
            "run_id": run_id,
            "fingerprint": fingerprint,
            "metrics": json.dumps(item.metrics, sort_keys=True),
            "answered_at": answered_at,
        }
        for item in items
    ]
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            table = pa.Table.from_pylist(rows, schema=SCHEMA)
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def remove_unfinished(items_path: Path, run_id: str) -> None:
    """Remove the chunks of an ended run that a kill left half written: they were never items."""
    for path in (items_path / run_id).glob("*.tmp"):
        path.unlink(missing_ok=True)


def stored_parts(items_path: Path, fingerprint: str) -> list[Path]:
    """The chunks of all runs that were measured under this fingerprint, oldest run first."""
    return sorted(items_path.glob(f"*/{fingerprint}-*.parquet"))


def read_table(path: Path, *, columns: Sequence[str]) -> pa.Table:
    """These columns of one chunk, each page held against its checksum; raises one of `PART_ERRORS`."""
    return pq.read_table(path, columns=list(columns), page_checksum_verification=True)


def read_items(parts: Sequence[Path], *, skipped: list[str] | None = None) -> dict[int, Item]:
    """The items in these chunks by `doc_id`; of one that was answered twice, the first.

    An unreadable chunk is passed over and named in `skipped`: its items will simply be asked again.
    """
    items: dict[int, Item] = {}
    names = [f.name for f in fields(Item)]
    for path in parts:
        try:
            rows = read_table(path, columns=names).to_pylist()
        except PART_ERRORS as error:
            if skipped is not None:
                skipped.append(f"{path.name}: {error}")
            continue
        for row in rows:
            items.setdefault(row["doc_id"], _item(row))
    return items


def _item(row: dict[str, Any]) -> Item:
    lists = {"choices": tuple(row["choices"] or ()), "log_probs": tuple(row["log_probs"] or ())}
    return Item(**(row | lists | {"metrics": json.loads(row["metrics"])}))
