"""Item files: what a worker writes and everything else is derived from.

`items/<run_id>/run.json` is the run; `items/<run_id>/<fingerprint>-<part>.parquet` are its items in
chunks. A chunk appears whole or not at all, and is never changed; those of an ended run may be joined. The
name carries the fingerprint, so that what is already measured, by whichever run, is found without opening a
database.

Every file carries the version of its format: `run.json` and `<fingerprint>.json` as a key, a chunk in the
metadata of its schema. A column that is added later must be nullable: in an older chunk it is null.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracker.errors import TrackerError
from tracker.files.parts import (
    PART_ERRORS,
    PART_GLOB,
    SCHEMA,
    part_bytes,
    part_fingerprint,
    part_name,
    part_number,
    read_table,
    write_durably,
)
from tracker.records import Item, Run
from tracker.redaction import masked
from tracker.serialization import (
    VERSION_KEY,
    DiskFormat,
    dump_versioned,
    load_versioned,
    write_atomically,
)

RUN_FILE = "run.json"
RUN_FORMAT, FINGERPRINT_FORMAT = DiskFormat(), DiskFormat()


def write_run(items_path: Path, run: Run) -> None:
    """Replace the run's `run.json`, atomically; no word of it repeats a secret."""
    detail = masked(run.detail) if run.detail else run.detail
    run = replace(run, detail=detail, warnings=tuple(map(masked, run.warnings)))
    write_atomically(items_path / run.run_id / RUN_FILE, dump_versioned(run, RUN_FORMAT))


def read_run(folder: Path) -> Run:
    """The run of one folder.

    Raises:
        TrackerError: the file is missing, broken, or written by a newer version.
    """
    path = folder / RUN_FILE
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TrackerError(f"{path}: cannot be read: {error.strerror}") from error
    return load_versioned(Run, raw, RUN_FORMAT, where=str(path))


def run_folders(items_path: Path) -> Iterator[Path]:
    """The folders that hold a run, oldest first (run ids sort by time)."""
    if items_path.is_dir():
        yield from sorted(p.parent for p in items_path.glob(f"*/{RUN_FILE}"))


def write_fingerprint(items_path: Path, run_id: str, fingerprint: str, parts: Mapping[str, Any]) -> None:
    """Keep beside the items what their fingerprint stands for, so that it can be read by a person."""
    path = items_path / run_id / f"{fingerprint}.json"
    if not path.is_file():
        document = {VERSION_KEY: FINGERPRINT_FORMAT.version, **parts}
        write_atomically(path, json.dumps(document, indent=1, sort_keys=True).encode())


def write_part(items_path: Path, run_id: str, fingerprint: str, items: Sequence[Item]) -> Path:
    """Write one chunk: temporary name, fsync, rename. The file that appears is complete."""
    folder = items_path / run_id
    folder.mkdir(parents=True, exist_ok=True)
    # After the highest number, not at the count: with a broken chunk deleted, a whole one would be replaced.
    there = (Path(name) for name in os.listdir(folder) if name.startswith(f"{fingerprint}-"))
    number = max(map(part_number, there), default=-1) + 1
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
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    written = part_bytes(table)
    path = folder / part_name(fingerprint, number, written)
    write_durably(path, written, temporary=path.with_suffix(".tmp"))
    return path


def remove_unfinished(items_path: Path, run_id: str) -> None:
    """Remove the chunks of an ended run that a kill left half written: they were never items."""
    for path in (items_path / run_id).glob("*.tmp"):
        path.unlink(missing_ok=True)


def stored_parts(items_path: Path, fingerprint: str) -> list[Path]:
    """The chunks of all runs that were measured under this fingerprint, oldest run first."""
    return sorted(items_path.glob(f"*/{fingerprint}-*.parquet"))


def parts_by_fingerprint(items_path: Path) -> dict[str, list[Path]]:
    """The same of every fingerprint: one listing, however many are looked for."""
    found: dict[str, list[Path]] = {}
    for path in sorted(items_path.glob(f"*/{PART_GLOB}")):
        found.setdefault(part_fingerprint(path), []).append(path)
    return found


def read_items(
    parts: Sequence[Path], *, skipped: list[str] | None = None, runs: dict[int, str] | None = None
) -> dict[int, Item]:
    """The items in these chunks by `doc_id`; of one that was answered twice, the first that is no refusal.

    An unreadable chunk is passed over and named in `skipped`: its items will simply be asked again.
    `runs` gets the `run_id` of each item.

    Raises:
        NewerFormatError: a newer version of this program wrote a chunk.
    """
    items: dict[int, Item] = {}
    names = [f.name for f in fields(Item)]
    for path in _with_replacements(parts):
        try:
            rows = read_table(path, columns=names).to_pylist()
        except PART_ERRORS as error:
            if skipped is not None:
                skipped.append(f"{path.name}: {error}")
            continue
        for row in rows:
            item = _item(row)
            if item.doc_id not in items or (items[item.doc_id].refused and not item.refused):
                items[item.doc_id] = item
                if runs is not None:
                    runs[item.doc_id] = path.parent.name
    return items


def read_doc_ids(parts: Sequence[Path]) -> set[int]:
    """The `doc_id` of each item that can be read from these chunks of one fingerprint."""
    found: set[int] = set()
    for path in _with_replacements(parts):
        with suppress(*PART_ERRORS):
            found |= set(read_table(path, columns=["doc_id"])["doc_id"].to_pylist())
    return found


def _with_replacements(parts: Sequence[Path]) -> Iterator[Path]:
    """The chunks; where one has been joined with others since it was listed, what its folder has now."""
    seen = set(parts)
    for path in parts:
        if path.exists():
            yield path
            if path.exists():  # else it may have gone before it was read
                continue
        there = set(path.parent.glob(f"{part_fingerprint(path)}-*.parquet"))
        yield from sorted(there - seen) if there else [path]
        seen |= there


def _item(row: dict[str, Any]) -> Item:
    lists = {"choices": tuple(row["choices"] or ()), "log_probs": tuple(row["log_probs"] or ())}
    known = {name: value for name, value in row.items() if value is not None or name not in _HAVE_DEFAULTS}
    return Item(**(known | lists | {"metrics": json.loads(row["metrics"])}))


_HAVE_DEFAULTS = {f.name for f in fields(Item) if f.default is not MISSING}  # null in an older chunk: these
