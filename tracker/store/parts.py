"""The Parquet parts as one relation, `items`: bound anew for each read, because the truth is on disk.

A part is opened only if the read can want it: the folder names the run, the file the fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from tracker.items import PART_ERRORS, PART_GLOB, SCHEMA, read_table

MAGIC = b"PAR1"  # first and last four bytes of every Parquet file

# Of an item that was answered twice under one fingerprint, the first: parts come sorted by run and number.
# The few that were are looked for in two narrow columns, so that a read's own conditions and columns reach
# the files: one second of CPU time for a million items, a quarter of what a window over all columns takes.
ITEMS_VIEW = """
create or replace temp view items as
with parts as not materialized (
    select *, file_index as part
    from read_parquet(getvariable('item_parts'))
),
twice as (
    select fingerprint, doc_id, min(part) as first_part
    from parts
    group by fingerprint, doc_id
    having count(*) > 1
)
select parts.* exclude (part)
from parts
left join twice using (fingerprint, doc_id)
where first_part is null or part = first_part
"""
EMPTY_VIEW = "create or replace temp view items as select * from no_items"


def wanted_parts(
    connection: duckdb.DuckDBPyConnection, items_path: Path, params: Mapping[str, Any]
) -> list[Path]:
    """The whole parts that a read with these parameters can want, oldest run first.

    `fingerprint` and `run_id` narrow them; a run's items are those in its folder, and those of other runs
    that its scores reuse.
    """
    patterns = {f"*/{PART_GLOB}"}
    if fingerprint := params.get("fingerprint"):
        patterns = {f"*/{fingerprint}-*.parquet"}
    elif run_id := params.get("run_id"):
        rows = connection.execute(
            "select distinct fingerprint from task_scores where run_id = $run_id", {"run_id": run_id}
        ).fetchall()
        patterns = {f"{run_id}/{PART_GLOB}"} | {f"*/{fingerprint}-*.parquet" for (fingerprint,) in rows}
    found = {path for pattern in patterns for path in items_path.glob(pattern)}
    return sorted(path for path in found if _looks_whole(path))


def bind_items(connection: duckdb.DuckDBPyConnection, parts: Sequence[Path]) -> None:
    """Make `items` the rows of these parts."""
    if not parts:
        connection.register("no_items", SCHEMA.empty_table())
        connection.execute(EMPTY_VIEW)
        return
    connection.execute("set variable item_parts = $parts", {"parts": [str(path) for path in parts]})
    connection.execute(ITEMS_VIEW)


def unreadable_parts(parts: Iterable[Path]) -> dict[Path, str]:
    """The parts that cannot be read in full, and why."""
    problems = {path: _problem(path) for path in parts}
    return {path: problem for path, problem in problems.items() if problem}


def _problem(path: Path) -> str:
    try:
        table = read_table(path, columns=SCHEMA.names)
    except PART_ERRORS as error:
        return str(error).splitlines()[0]
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    return f"no column `{missing[0]}`" if missing else ""


def _looks_whole(path: Path) -> bool:
    """Whether the file begins and ends as Parquet does: two small reads instead of a failing query."""
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
            file.seek(-len(MAGIC), 2)
            return start == MAGIC == file.read()
    except OSError:
        return False
