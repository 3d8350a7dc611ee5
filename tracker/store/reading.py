"""Reads: each is a file in `queries/`, and `items` in it are the Parquet parts as they lie on disk now."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from tracker.errors import UnknownNameError
from tracker.store.parts import bind_items, unreadable_parts, wanted_parts

QUERIES = Path(__file__).parent / "queries"
_COMMENT = re.compile(r"--[^\n]*")
_PARAMETER = re.compile(r"\$([a-z_]+)")
_ITEMS = re.compile(r"\bitems\b", re.IGNORECASE)


def query_names() -> list[str]:
    """The reads that there are."""
    return sorted(path.stem for path in QUERIES.glob("*.sql"))


def query_sql(name: str) -> str:
    """The statement of that name, without its comments.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in query_names():
        raise UnknownNameError("query", name, known=query_names())
    return _COMMENT.sub("", (QUERIES / f"{name}.sql").read_text())


def read(
    connection: duckdb.DuckDBPyConnection, name: str, params: dict[str, Any], *, items_path: Path
) -> list[dict[str, Any]]:
    """The rows of one named read; a parameter left out is null, which every read takes as no filter.

    Raises:
        UnknownNameError: no query, or no parameter of this one, is called so.
    """
    sql = query_sql(name)
    known = set(_PARAMETER.findall(sql))
    for key in params:
        if key not in known:
            raise UnknownNameError(f"parameter of query `{name}`", key, known=known)
    return run_sql(connection, sql, dict.fromkeys(known) | params, items_path=items_path)


def run_sql(
    connection: duckdb.DuckDBPyConnection, sql: str, params: dict[str, Any], *, items_path: Path
) -> list[dict[str, Any]]:
    """The rows of `sql`; a part that turns out to be unreadable is left out."""
    if not _ITEMS.search(sql):
        return _rows(connection, sql, params)
    parts = wanted_parts(connection, items_path, params)
    bind_items(connection, parts)
    try:
        return _rows(connection, sql, params)
    except duckdb.Error:
        broken = set(unreadable_parts(parts))
        if not broken:
            raise
        bind_items(connection, [part for part in parts if part not in broken])
        return _rows(connection, sql, params)


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, params: dict[str, Any]) -> list[dict[str, Any]]:
    cursor = connection.execute(sql, params)
    columns = [(name, str(kind)) for name, kind, *_ in cursor.description or ()]
    return [
        {name: _value(value, kind) for (name, kind), value in zip(columns, row, strict=True)}
        for row in cursor.fetchall()
    ]


def _value(value: Any, kind: str) -> Any:
    """Times are UTC in the database and aware in Python; JSON becomes what it holds."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    if kind == "JSON" and isinstance(value, str):
        return json.loads(value)
    return value
