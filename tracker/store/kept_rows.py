"""Rows of runs, studies and attacks whose files cannot be read, kept from the old database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from tracker.settings import Settings
from tracker.store.old_files import OldFile, OldFiles
from tracker.store.runs import update_model

N_NAMED = 5  # names in one sentence


@dataclass(frozen=True, slots=True)
class FiledRows:
    """Rows that are rebuilt from files: their tables, the first of which has one row per name."""

    noun: str
    key: str
    tables: tuple[str, ...]
    place: Callable[[Settings, str], Path]


KINDS = (
    FiledRows(
        "run",
        "run_id",
        ("runs", "task_scores", "task_metrics"),
        lambda settings, name: settings.items_path / name,
    ),
    FiledRows(
        "measurement of speed",
        "speed_id",
        ("speeds", "speed_levels"),
        lambda settings, name: settings.speeds_path / name,
    ),
    FiledRows(
        "study",
        "study_id",
        ("studies", "trials", "proposals", "trainings"),
        lambda settings, name: settings.studies_path / name,
    ),
    FiledRows(
        "attack suite",
        "suite_run_id",
        ("attacks",),
        lambda settings, name: settings.attacks_path / f"{name}.json",
    ),
)


@dataclass(slots=True)
class KeptRows:
    """What was kept."""

    restored: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def keep_rows(
    connection: duckdb.DuckDBPyConnection, old: OldFiles, settings: Settings, *, keeps_all: bool
) -> KeptRows:
    """Copy the rows whose files are there but were not read; with `keeps_all`, also those without files.

    The database is being built; this is the last step of its transaction.
    """
    kept = KeptRows()
    for kind in KINDS:
        for file in old:
            missing = _names_in(file, kind) - _names(connection, kind)
            there = {name for name in missing if kind.place(settings, name).exists()}
            gone = missing - there
            if file is not old.database and not keeps_all:
                gone = set()
            wanted = missing if keeps_all else there
            if wanted and not _copy(connection, file, kind, wanted):
                wanted = set()
            if there & wanted:
                kept.restored.append(
                    f"{_listed(kind, there)} cannot be read from its files; kept from {file.called}"
                )
            if gone & wanted:
                kept.restored.append(f"{_listed(kind, gone)} has no files any more; kept from {file.called}")
            elif gone:
                kept.lost.append(f"{_listed(kind, gone)} has no files any more and was removed")
    return kept


def forget_rows(path: Path, *, run_ids: Collection[str], study_ids: Collection[str]) -> None:
    """Delete the rows of these runs and studies from a copy of a database, of any version."""
    names = {"run": run_ids, "study": study_ids}
    with duckdb.connect(str(path)) as connection:
        present = {
            name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()
        }
        for kind in KINDS:
            for table in present.intersection(kind.tables):
                connection.execute(
                    f"delete from {table} where {kind.key} in (select unnest($names))",  # noqa: S608 - our names
                    {"names": sorted(names.get(kind.noun, ()))},
                )


def _copy(connection: duckdb.DuckDBPyConnection, file: OldFile, kind: FiledRows, names: set[str]) -> bool:
    """Copy the rows with these names; False, and no rows, if one of the tables cannot be read."""
    tables = {table: file.read(table) for table in kind.tables}
    if any(found.problem for found in tables.values()):
        return False
    for table, found in tables.items():
        if found.rows is None:
            continue
        columns = ", ".join(f'"{name}"' for name in found.rows.column_names)
        connection.register("kept", found.rows)
        try:
            connection.execute(
                f"insert into {table} by name select {columns} from kept"  # noqa: S608 - names from the catalog
                f" where {kind.key} in (select unnest($names))",
                {"names": sorted(names)},
            )
        finally:
            connection.unregister("kept")
    if kind.noun == "run":
        models = connection.execute(
            "select distinct model_id, revision from runs where run_id in (select unnest($names))",
            {"names": sorted(names)},
        ).fetchall()
        for model_id, revision in models:
            update_model(connection, model_id=model_id, revision=revision)
    return True


def _names_in(file: OldFile, kind: FiledRows) -> set[str]:
    rows = file.read(kind.tables[0]).rows
    return set() if rows is None else {str(name) for name in rows.column(kind.key).to_pylist()}


def _names(connection: duckdb.DuckDBPyConnection, kind: FiledRows) -> set[str]:
    sql = f"select distinct {kind.key} from {kind.tables[0]}"  # noqa: S608
    return {str(name) for (name,) in connection.execute(sql).fetchall()}


def _listed(kind: FiledRows, names: Sequence[str] | set[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in sorted(names)[:N_NAMED])
    more = f" and {len(names) - N_NAMED:,} others" if len(names) > N_NAMED else ""
    return f"{kind.noun} {shown}{more}"
