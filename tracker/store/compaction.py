"""`tracker store compact`: the many small parts of ended runs become few large ones; every row stays.

For each run: the rows of its parts with one fingerprint are written to a new part, which names the parts that
it replaces; it is read back and compared; once it is on the disk, the old ones may be deleted. Until then a
reader finds both, and passes over those that are replaced (`item_parts.replaced_parts`), so a kill at any
moment loses and doubles nothing. The next `compact`, or a repair, deletes what a killed one left. The old
parts of many runs are deleted together: a reader that listed them begins again once, not once per run.

Left as they are: runs that are under way or not stored yet, and parts that this version could not write again
as they are: damaged ones, those of newer versions, and an item that was answered twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracker.errors import NewerFormatError, TrackerError
from tracker.files.items import read_run, run_folders
from tracker.files.parts import (
    JOINING,
    PART_ERRORS,
    PART_GLOB,
    SCHEMA,
    part_bytes,
    part_fingerprint,
    part_name,
    part_number,
    read_table,
    replaced_names,
    write_durably,
)
from tracker.files.workers import WorkKind, worker_files
from tracker.locks import exclusive_lock
from tracker.records import RunStatus
from tracker.settings import Settings
from tracker.store.database import store_errors
from tracker.store.item_parts import replaced_parts
from tracker.store.leftovers import ITEM_FILES
from tracker.store.locks import WAIT_S, write_lock
from tracker.wording import counted

JOINED_ITEMS = 100_000  # at most in a part that is written
JOINED_BYTES = (
    2**27
)  # at most in it in memory, which bounds the memory that is needed: about four times as much
WAITING_BYTES = (
    2**30
)  # of replaced parts, about, that wait to be deleted: the disk has room for them once more
CHANGED = "a part has columns that this version does not know"
TWICE = "an item was answered twice"
DIFFERENT = "what was written could not be read back"


@dataclass(frozen=True, slots=True)
class CompactionStep:
    """How far a compaction is: parts looked at, of all parts of ended runs."""

    n_done: int
    n_parts: int


@dataclass(slots=True)
class Compacted:
    """What a compaction did; sizes of the parts of ended runs in bytes."""

    n_runs: int = 0  # whose parts changed
    n_items: int = 0  # in the parts that were written
    n_parts_before: int = 0
    n_parts_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    left: list[str] = field(default_factory=list)  # parts that stay as they are, and why


def compact(
    settings: Settings,
    on_step: Callable[[CompactionStep], None] = lambda _: None,
    *,
    wait_s: float = WAIT_S,
) -> Compacted:
    """Join the small parts of every run that has ended; doing it again changes nothing.

    A bench may run meanwhile: its own parts are not touched, and it finds those of earlier runs throughout.

    Raises:
        BusyError: another compaction or an export is under way, or another process writes the database for
            longer than `wait_s`; what was joined stays joined.
        StoreError: the disk is full or failing; nothing is lost.
    """
    done = Compacted()
    with item_files_lock(settings, what="store compact"), store_errors(settings.items_path):
        folders = ended_runs(settings)
        counts = [len(list(folder.glob(PART_GLOB))) for folder in folders]
        n_done = 0
        waiting: list[Path] = []
        n_bytes = 0
        try:
            for folder, n_parts in zip(folders, counts, strict=True):
                replaced = _compact_run(folder, done)
                waiting += replaced
                n_bytes += sum(path.stat().st_size for path in replaced)
                if n_bytes > WAITING_BYTES:
                    remove_parts(settings, waiting, wait_s=wait_s)
                    waiting, n_bytes = [], 0
                n_done += n_parts
                on_step(CompactionStep(n_done, sum(counts)))
        finally:
            remove_parts(settings, waiting, wait_s=wait_s)
    return done


def item_files_lock(settings: Settings, *, what: str) -> AbstractContextManager[None]:
    """Be the only process that joins, removes or exports the parts of ended runs.

    Raises:
        BusyError: another one is at it.
    """
    busy, hint = "the files of items are in use", "wait for it to finish, and repeat the command"
    return exclusive_lock(settings, ITEM_FILES, busy=busy, hint=hint, what=what)


def ended_runs(settings: Settings) -> list[Path]:
    """The folders of the runs that have ended and that no bench is still to store, oldest first."""
    at_work = {run_id for file in worker_files(settings, WorkKind.BENCH) for run_id in file.run_ids}
    found = []
    for folder in run_folders(settings.items_path):
        if folder.name in at_work:
            continue
        try:
            run = read_run(folder)
        except TrackerError:
            continue
        if run.status is not RunStatus.RUNNING and run.run_id == folder.name:
            found.append(folder)
    return found


def remove_parts(settings: Settings, paths: Sequence[Path], *, wait_s: float = WAIT_S) -> None:
    """Delete parts while no check, repair or rebuild reads them.

    Raises:
        BusyError: another process writes for longer than `wait_s`; nothing was deleted.
    """
    if paths:
        with write_lock(settings.db_path, wait_s=wait_s):
            for path in paths:
                path.unlink(missing_ok=True)


def _compact_run(folder: Path, done: Compacted) -> list[Path]:
    """Join the parts of a run; returns those that others replace now and that may be deleted."""
    for unfinished in folder.glob(f"*{JOINING}"):  # of a killed compaction: we hold the lock
        unfinished.unlink(missing_ok=True)
    groups: dict[str, list[Path]] = {}
    for path in sorted(folder.glob(PART_GLOB), key=part_number):
        groups.setdefault(part_fingerprint(path), []).append(path)
        done.n_parts_before += 1
        done.bytes_before += path.stat().st_size
    old: list[Path] = []
    for fingerprint, parts in groups.items():
        try:
            for joined in _join(folder, fingerprint, parts) if len(parts) > 1 else ():
                old += joined.parts
                done.n_items += joined.n_items
        except (_LeftAloneError, NewerFormatError) as error:
            done.left.append(f"{counted(len(parts), 'part')} `{folder / fingerprint}-*.parquet`: {error}")
    if old:
        _sync(folder)
        done.n_runs += 1
    for path in set(folder.glob(PART_GLOB)) - set(old):
        done.n_parts_after += 1
        done.bytes_after += path.stat().st_size
    return old


class _LeftAloneError(Exception):
    """Parts that must stay as they are; the message says why."""


@contextmanager
def _reading() -> Iterator[None]:
    """What cannot be read is left as it is; a disk that cannot be written ends the compaction."""
    try:
        yield
    except PART_ERRORS as error:
        raise _LeftAloneError(f"a part cannot be read: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True, slots=True)
class _Joined:
    """Parts whose rows another part has, which is whole; how many rows were written now."""

    parts: tuple[Path, ...]
    n_items: int = 0


def _join(folder: Path, fingerprint: str, parts: Sequence[Path]) -> Iterator[_Joined]:
    """Write the rows of these parts of one fingerprint to as few as possible; those joined before stay."""
    with _reading():
        names = {path: replaced_names(path) for path in parts}
        gone = set()
        if {path.name for path in parts} & frozenset[str]().union(*names.values()):
            gone = replaced_parts(parts) & set(parts)
            yield _Joined(tuple(sorted(gone)))
        fresh = [path for path in parts if path not in gone and not names[path]]
        if len(fresh) < 2:
            return
        if any(set(pq.read_schema(path).names) - set(SCHEMA.names) for path in fresh):
            raise _LeftAloneError(CHANGED)
        ids = pa.concat_tables(read_table(path, columns=["doc_id"]) for path in parts if path not in gone)
        if pc.count_distinct(ids["doc_id"], mode="all").as_py() < len(ids):
            raise _LeftAloneError(TWICE)
    number = max(map(part_number, parts)) + 1
    for bundle, rows in _bundles(fresh):
        content = part_bytes(rows, replaces=[path.name for path in bundle])
        path = folder / part_name(fingerprint, number, content)
        with _reading():
            if not _reads_back(content, rows):
                raise _LeftAloneError(DIFFERENT)
        write_durably(path, content, temporary=folder / f"{fingerprint}-{number:06d}{JOINING}")
        if path.read_bytes() != content:
            path.unlink()
            raise _LeftAloneError(DIFFERENT)
        yield _Joined(tuple(bundle), len(rows))
        number += 1


def _bundles(parts: Sequence[Path]) -> Iterator[tuple[list[Path], pa.Table]]:
    """The parts in groups of two and more that fit into one, with their rows in the order of `doc_id`."""
    bundle: list[Path] = []
    tables: list[pa.Table] = []
    for path in parts:
        with _reading():
            table = read_table(path, columns=SCHEMA.names)
        n_items, n_bytes = (
            sum(map(len, tables)) + len(table),
            sum(one.nbytes for one in tables) + table.nbytes,
        )
        if n_items > JOINED_ITEMS or n_bytes > JOINED_BYTES:
            if len(bundle) > 1:
                yield bundle, pa.concat_tables(tables).sort_by("doc_id")
            bundle, tables = [], []
        bundle, tables = [*bundle, path], [*tables, table]
    if len(bundle) > 1:
        yield bundle, pa.concat_tables(tables).sort_by("doc_id")


def _reads_back(content: bytes, rows: pa.Table) -> bool:
    with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
        return bool(file.read().cast(SCHEMA).equals(rows.cast(SCHEMA)))


def _sync(folder: Path) -> None:
    """Wait until the names in the folder are on the disk, before others are deleted."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
