"""The Parquet parts as one relation, `items`, bound for each read because new parts may appear on disk.

Only parts that the read may need are opened: the folder names the run, the file the fingerprint.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tracker.files.page_checksums import pages_hold
from tracker.files.parts import (
    PART_ERRORS,
    REPLACES_KEY,
    SCHEMA,
    check_names,
    check_part_version,
    has_known_version,
    has_named_checksum,
    part_fingerprint,
    read_table,
    replaced_names,
)
from tracker.files.removed import read_removed

MAGIC = b"PAR1"  # first and last four bytes of every Parquet file
SIZE_BYTES = 4  # of the footer's length, which is before the last MAGIC
KEPT_CHECKS = 400_000  # results of checks, about 0.5 kB each; a part never changes
SHOWN_RUNS = 5  # in a message
SETTLED_NS = 3_000_000_000  # a folder changed longer ago than this has another time after each change
LISTINGS = 5  # times that the parts are listed at most while they are being joined
# The score of a group has a fingerprint of its own, but its items are those of its tasks.
HAS_ITEMS = """not exists (
    from task_scores as part where part.run_id = task_scores.run_id and part."group" = task_scores.task
)"""
# Parameters of a read that narrow the scores whose items it wants.
NARROWING = {
    "fingerprint": "and fingerprint = $fingerprint",
    "fingerprints": "and list_contains($fingerprints::text[], fingerprint)",
    "run_id": "and run_id = $run_id",
    "run_ids": "and run_id in (select unnest($run_ids))",
    "model_id": "and runs.model_id = $model_id",
    "first": "and runs.model_id in ($first, $second)",
    "second": "",
    "of_runs": "and run_id in (select unnest($of_runs::varchar[]))",  # of a user's statement
}
COLUMN_TYPES = {
    pa.string(): "varchar",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.timestamp("us"): "timestamp",
    pa.list_(pa.string()): "varchar[]",
    pa.list_(pa.float64()): "double[]",
}
# The columns of `items`, regardless of the part's version: missing ones are null, unknown ones are left out.
# `union_by_name` would open every file once more, 0.8 s for 2,000 of them.
COLUMNS = ", ".join(
    f"'{column.name}': {{name: '{column.name}', type: '{COLUMN_TYPES[column.type]}', default_value: null}}"
    for column in SCHEMA
)

# If an item was answered twice under one fingerprint, the first answer that is no refusal counts: parts are
# sorted by run.
# Only runs that share a fingerprint can have done so; looking at all items would take memory for each.
# Duplicates are found in two narrow columns, so that a read's conditions and columns are pushed down to the
# files: one CPU second for a million items, a quarter of the cost of a window over all columns.
ITEMS_VIEW = f"""
create or replace temp view items as
with parts as not materialized (
    select *, file_index as part
    from read_parquet(getvariable('item_parts'), schema = map {{{COLUMNS}}})
),
twice as (
    select
        fingerprint, doc_id,
        coalesce(min(part) filter (finish_reason is distinct from 'refused'), min(part)) as first_part
    from parts
    where fingerprint in (select unnest(getvariable('shared_fingerprints')))
    group by fingerprint, doc_id
    having count(*) > 1
)
select parts.* exclude (part)
from parts
left join twice using (fingerprint, doc_id)
where first_part is null or part = first_part
"""  # noqa: S608 - the columns are ours
NO_ITEMS = ", ".join(f'null::{COLUMN_TYPES[column.type]} as "{column.name}"' for column in SCHEMA)
EMPTY_VIEW = f"create or replace temp view items as select {NO_ITEMS} where false"
ITEMS_COMMENT = "One row per item: a question of a task with the model's answer, of all runs"
COLUMN_COMMENTS = {
    "run_id": "Run that answered it, see runs",
    "fingerprint": "Hash of everything that can change the result; joins to task_scores",
    "task": "Task as lm-eval names it",
    "doc_id": "Number of the item in its task",
    "doc_hash": "Hash of the item's content",
    "prompt": "Prompt as it was sent",
    "target": "Right answer",
    "response": "Text that the model wrote, or the choice that it preferred",
    "extracted": "Answer that the filter found in it",
    "score": "Value of the task's metric, 0 to 1",
    "metrics": "JSON: every metric of the item",
    "finish_reason": "Why the answer ended: stop, length, repetition (both cut off), refused, loglikelihood",
    "prompt_tokens": "Tokens of the prompt",
    "output_tokens": "Tokens written",
    "cached_tokens": "Prompt tokens that came from a prefix cache",
    "latency_s": "Seconds from request to last token",
    "ttft_s": "Seconds to the first token",
    "choices": "Options of a multiple-choice item",
    "log_probs": "Summed log-probability of each option",
    "thinking": "Thinking, where the engine separates it",
    "cluster": "Group of dependent items; null: independent",
    "answered_at": "When it was written, UTC",
}


@dataclass(frozen=True, slots=True)
class MissingItems:
    """Items that a read lacks: their parts are damaged, or no longer on the disk."""

    n_parts: int = 0  # at least so many: how many parts a deleted folder had is not known
    run_ids: tuple[str, ...] = ()  # the runs they belong to

    def __bool__(self) -> bool:
        """Whether any are missing."""
        return self.n_parts > 0

    @property
    def sentence(self) -> str:
        """What is missing, for people; empty if nothing is."""
        if not self:
            return ""
        shown = ", ".join(f"`{run_id}`" for run_id in self.run_ids[:SHOWN_RUNS])
        more = f" and {len(self.run_ids) - SHOWN_RUNS:,} more" if len(self.run_ids) > SHOWN_RUNS else ""
        runs = f"run{'s' if len(self.run_ids) > 1 else ''} {shown}{more}"
        parts = "1 part is" if self.n_parts == 1 else f"{self.n_parts:,} parts are"
        return f"items are missing: {parts} damaged or no longer on the disk, of {runs}"


NOTHING_MISSING = MissingItems()


class CheckedPart(NamedTuple):
    """What the bytes of a part say; a tuple, since many thousand are kept."""

    is_whole: bool
    is_of_known_version: bool
    is_joined: bool = False  # it may replace others


DAMAGED = CheckedPart(is_whole=False, is_of_known_version=True)


def wanted_parts(
    connection: duckdb.DuckDBPyConnection, items_path: Path, params: Mapping[str, Any]
) -> tuple[list[Path], frozenset[Path]]:
    """The whole parts that a read with these parameters may need, oldest run first, and the damaged ones.

    The parameters in `NARROWING` narrow the list; a run's items are those in its folder and those that its
    scores reuse from other runs.

    Raises:
        NewerFormatError: a newer version of this program wrote one of the parts.
    """
    fingerprints = None
    if _condition(params):
        fingerprints = {fingerprint for fingerprint, *_ in _scores(connection, params)}
        fingerprints.add(str(params.get("fingerprint")))
        # of an item that was answered twice, the row of the first run counts, wherever its part is
        for run_id in params.get("of_runs") or ():
            fingerprints |= set(_listed(f"{items_path}/{run_id}") if run_id == Path(run_id).name else ())
    for _ in range(LISTINGS):
        found = listed_parts(items_path, fingerprints, also_of=params.get("run_id"))
        checks = {path: _check(path) for path in found}
        whole = [path for path, check in checks.items() if check.is_whole]
        replaced = replaced_parts(whole)
        damaged = frozenset(path for path, check in checks.items() if not check.is_whole) - replaced
        if all(path.exists() for path in damaged):
            break  # otherwise some have been joined since they were listed
    return [path for path in whole if path not in replaced], damaged


def listed_parts(
    items_path: Path, fingerprints: Collection[str] | None = None, *, also_of: str | None = None
) -> list[Path]:
    """The parts with one of these fingerprints, oldest run first; None: all. `also_of`: all of that run.

    A folder that has not changed is not listed again in the same process.
    """
    found: list[Path] = []
    try:
        folders = sorted(entry.name for entry in os.scandir(items_path) if entry.is_dir())
    except FileNotFoundError:
        return found
    wanted = None if fingerprints is None else set(fingerprints)
    for name in folders:
        by_fingerprint = _listed(f"{items_path}/{name}")
        chosen = (
            by_fingerprint.keys() if wanted is None or name == also_of else by_fingerprint.keys() & wanted
        )
        if chosen:
            names = sorted(file for key in chosen for file in by_fingerprint[key])
            found += [Path(items_path, name, file) for file in names]
    return found


def _listed(folder: str) -> Mapping[str, Sequence[str]]:
    """The names of the parts in a folder by their fingerprint."""
    try:
        changed_ns = os.stat(folder).st_mtime_ns
        known = _LISTINGS.get(folder)
        if known is not None and known[0] == changed_ns:
            return known[1]
        listed: dict[str, list[str]] = {}
        is_settled = time.time_ns() - changed_ns > SETTLED_NS
        for name in os.listdir(folder):
            if name.endswith(".parquet") and "-" in name:
                listed.setdefault(part_fingerprint(Path(name)), []).append(name)
    except (FileNotFoundError, NotADirectoryError):  # deleted meanwhile
        return {}
    if is_settled:
        _LISTINGS[folder] = (changed_ns, listed)
    return listed


_LISTINGS: dict[str, tuple[int, Mapping[str, Sequence[str]]]] = {}  # by folder: when it changed, what it has


def replaced_parts(parts: Iterable[Path]) -> set[Path]:
    """Those of the parts that were joined into another, whole one: a kill came before they were deleted.

    The names say exactly which, with their checksums, so no other part is ever taken for one of them.
    """
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in parts:
        groups.setdefault((path.parent, part_fingerprint(path)), []).append(path)
    replaced: set[Path] = set()
    for group in groups.values():
        for path in group:
            if len(group) > 1 and (check := _check(path)).is_joined and check.is_whole:
                replaced |= {path.with_name(name) for name in replaced_names(path)} - {path}
    return replaced


def missing_items(
    connection: duckdb.DuckDBPyConnection,
    parts: Iterable[Path],
    damaged: Collection[Path],
    params: Mapping[str, Any],
    *,
    items_path: Path,
) -> MissingItems:
    """What a read of these whole parts lacks: the damaged ones, and those that scores rest on but are gone.

    `params`: those of the read, as for `wanted_parts`. Items that were removed on purpose are none of them.
    """
    n_rows: dict[str, int] = {}
    for path in parts:
        n_rows[part_fingerprint(path)] = n_rows.get(part_fingerprint(path), 0) + _rows_in(path)
    run_ids = {path.parent.name for path in damaged}
    explained = {part_fingerprint(path) for path in damaged}
    n_parts = len(damaged)
    lacking: dict[str, list[str]] = {}
    for fingerprint, n_items, run_id in _scores(connection, params):
        if fingerprint not in explained and n_rows.get(fingerprint, 0) < n_items:
            lacking.setdefault(fingerprint, []).append(run_id)
    removed = read_removed(items_path) if lacking else set()
    for fingerprint, of_runs in lacking.items():
        lost = {run_id for run_id in of_runs if (fingerprint, run_id) not in removed}
        n_parts += bool(lost)
        run_ids |= lost
    return MissingItems(n_parts, tuple(sorted(run_ids)))


def _scores(connection: duckdb.DuckDBPyConnection, params: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """Each fingerprint and run of the scores that the parameters select, with their most items."""
    used = {name: params[name] for name in NARROWING if _is_given(params.get(name))}
    return connection.execute(
        "select fingerprint, max(task_scores.n_items), run_id"  # noqa: S608 - the conditions are ours
        f" from task_scores join runs using (run_id) where {HAS_ITEMS} {_condition(params)}"
        " group by fingerprint, run_id",
        used,
    ).fetchall()


def _condition(params: Mapping[str, Any]) -> str:
    return " ".join(condition for name, condition in NARROWING.items() if _is_given(params.get(name)))


def _is_given(value: Any) -> bool:
    """Whether a parameter narrows the list: an empty name does, an empty list stands for all."""
    return isinstance(value, str) or bool(value)


def _rows_in(path: Path) -> int:
    try:
        return _counted_rows(path)
    except PART_ERRORS:  # deleted meanwhile
        return 0


@lru_cache(maxsize=KEPT_CHECKS)
def _counted_rows(path: Path) -> int:
    """How many rows the footer of a whole part names, which never change."""
    return int(pq.read_metadata(path).num_rows)


def bind_items(connection: duckdb.DuckDBPyConnection, parts: Sequence[Path]) -> None:
    """Define `items` as the rows of these parts."""
    if not parts:
        connection.execute(EMPTY_VIEW)
        return
    folders: dict[str, set[str]] = {}
    for path in parts:
        folders.setdefault(part_fingerprint(path), set()).add(path.parent.name)
    shared = [fingerprint for fingerprint, runs in folders.items() if len(runs) > 1]
    connection.execute("set variable item_parts = $parts", {"parts": [str(path) for path in parts]})
    connection.execute("set variable shared_fingerprints = $shared::varchar[]", {"shared": shared})
    connection.execute(ITEMS_VIEW)


def unreadable_parts(parts: Iterable[Path]) -> dict[Path, str]:
    """The parts that cannot be read in full, and why.

    Raises:
        NewerFormatError: a newer version of this program wrote one of them.
    """
    problems = {path: _problem(path) for path in parts}
    return {path: problem for path, problem in problems.items() if problem}


def _problem(path: Path) -> str:
    try:
        read_table(path, columns=SCHEMA.names)
    except PART_ERRORS as error:
        return str(error).splitlines()[0]
    return ""


def _check(path: Path) -> CheckedPart:
    """Whether the file begins and ends as Parquet does, and its bytes have the checksum in its name.

    DuckDB does not look at checksums, and gives other texts and numbers where bytes have changed. In a file
    of an older version the checksums of its pages and the names of its columns are looked at.

    Raises:
        NewerFormatError: a newer version of this program wrote it.
    """
    try:
        stat = path.stat()
        found = _checked(path, stat.st_size, stat.st_mtime_ns)
    except OSError:
        return DAMAGED
    if not found.is_of_known_version:
        check_part_version(path)
    return found


@lru_cache(maxsize=KEPT_CHECKS)
def _checked(path: Path, size: int, changed_ns: int) -> CheckedPart:
    """What the file's bytes say; `size` and `changed_ns` are part of the cache's key."""
    del size, changed_ns
    content = path.read_bytes()
    at = len(content) - len(MAGIC) - SIZE_BYTES
    if at < len(MAGIC) or not content[: len(MAGIC)] == MAGIC == content[-len(MAGIC) :]:
        return DAMAGED
    start = at - int.from_bytes(content[at : at + SIZE_BYTES], "little")
    if start < len(MAGIC):
        return DAMAGED
    footer = content[start:at]
    is_whole = has_named_checksum(path, content)
    if is_whole is None:
        is_whole = pages_hold(content, start=len(MAGIC), end=start) and _has_its_names(path)
    return CheckedPart(
        is_whole, has_known_version(footer) or not is_whole, is_joined=REPLACES_KEY.encode() in footer
    )


def _has_its_names(path: Path) -> bool:
    try:
        check_names(path)
    except PART_ERRORS:
        return False
    return True
