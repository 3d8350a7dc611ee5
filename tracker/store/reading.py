"""Reads: each is a file in `queries/`, and `items` in it are the Parquet parts as they lie on disk now."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from tracker.errors import TrackerError, UnknownNameError
from tracker.store.database import first_line
from tracker.store.parts import bind_items, unreadable_parts, wanted_parts

QUERIES = Path(__file__).parent / "queries"
SELECT_HINT = "tables: models, runs, task_scores, items; `describe runs` lists the columns of one"
INTERRUPT_S = 0.05  # an interruption that comes before the statement has begun is lost, and repeated
_COMMENT = re.compile(r"--[^\n]*")
_PARAMETER = re.compile(r"\$([a-z_]+)")
_ITEMS = re.compile(r"\bitems\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement returned, its columns in their order."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


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
    sql, bound = _bound(name, params)
    answer = _run(connection, sql, bound, items_path=items_path)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def read_table(connection: duckdb.DuckDBPyConnection, name: str, params: dict[str, Any]) -> pa.Table:
    """The rows of one named read as a table, for reads of many thousand rows; times are UTC without a zone.

    Raises:
        UnknownNameError: no query, or no parameter of this one, is called so.
    """
    sql, bound = _bound(name, params)
    return connection.sql(sql, params=bound).to_arrow_table()


def _bound(name: str, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    sql = query_sql(name)
    known = set(_PARAMETER.findall(sql))
    for key in params:
        if key not in known:
            raise UnknownNameError(f"parameter of query `{name}`", key, known=known)
    return sql, dict.fromkeys(known) | params


def select(connection: duckdb.DuckDBPyConnection, sql: str, *, items_path: Path) -> Answer:
    """The answer to one SELECT that a user wrote; times are aware, JSON is parsed.

    Raises:
        TrackerError: it is anything but one SELECT, or DuckDB cannot answer it.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type is not duckdb.StatementType.SELECT:
            raise TrackerError("only one SELECT statement is answered here", hint=SELECT_HINT)
        return _interruptible(connection, partial(_run, connection, sql, {}, items_path=items_path))
    except duckdb.Error as error:
        kind, colon, message = first_line(error).partition(" Error: ")
        hints = [line.strip() for line in str(error).splitlines() if line.startswith("Did you mean")]
        raise TrackerError(
            f"SQL: {message if colon else kind}", hint=" ".join(hints) or SELECT_HINT
        ) from error


def _interruptible(connection: duckdb.DuckDBPyConnection, ask: Callable[[], Answer]) -> Answer:
    """The answer, asked in a thread: inside a statement, DuckDB may not look for Ctrl-C until it is done."""
    begun, ended = threading.Event(), threading.Event()

    def answer() -> Answer:
        begun.set()
        try:
            return ask()
        finally:
            ended.set()

    pool = ThreadPoolExecutor(max_workers=1)
    try:  # Ctrl-C may come at any moment, also while the thread is being started
        return pool.submit(answer).result()
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        if begun.wait(INTERRUPT_S):
            while not ended.wait(INTERRUPT_S):
                connection.interrupt()
        raise
    finally:
        pool.shutdown(wait=False)


def _run(
    connection: duckdb.DuckDBPyConnection, sql: str, params: dict[str, Any], *, items_path: Path
) -> Answer:
    """The answer to `sql`; a part that turns out to be unreadable is left out."""
    if not _ITEMS.search(sql):
        return _answer(connection, sql, params)
    parts = wanted_parts(connection, items_path, params)
    try:
        bind_items(connection, parts)
        return _answer(connection, sql, params)
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
        raise
    except duckdb.Error:
        broken = set(unreadable_parts(parts))
        if not broken:
            raise
        bind_items(connection, [part for part in parts if part not in broken])
        return _answer(connection, sql, params)


def _answer(connection: duckdb.DuckDBPyConnection, sql: str, params: dict[str, Any]) -> Answer:
    cursor = connection.execute(sql, params)
    columns = [(name, str(kind)) for name, kind, *_ in cursor.description or ()]
    rows = [
        tuple(_value(value, kind) for (_, kind), value in zip(columns, row, strict=True))
        for row in cursor.fetchall()
    ]
    return Answer(columns=tuple(name for name, _ in columns), rows=rows)


def _value(value: Any, kind: str) -> Any:
    """Times are UTC in the database and aware in Python; JSON becomes what it holds, a decimal a float."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    if isinstance(value, Decimal):
        return float(value)
    if kind == "JSON" and isinstance(value, str):
        return json.loads(value)
    return value
