"""Named reads: one file each in `queries/`; `items` are the Parquet parts currently on disk."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from tracker.errors import TrackerError, UnknownNameError, near_names
from tracker.store.asked_runs import asked_runs
from tracker.store.database import first_line
from tracker.store.item_parts import (
    COLUMN_COMMENTS,
    ITEMS_COMMENT,
    NOTHING_MISSING,
    MissingItems,
    bind_items,
    missing_items,
    unreadable_parts,
    wanted_parts,
)
from tracker.store.relations import Relation, bind, comment, lists_tables

QUERIES = Path(__file__).parent / "queries"
COLUMNS_HINT = "`describe runs` lists the columns of a table"
SELECT_HINT = f"tables: models, runs, task_scores, items and others (`show tables`); {COLUMNS_HINT}"
READING_PRAGMAS = ("table_info", "show", "show_tables", "database_list", "database_size", "storage_info")
INTERRUPT_S = 0.05  # an interrupt sent before the statement starts is lost, so it is repeated
OUT_OF_MEMORY = "SQL: the statement needs more memory than it may have"
MEMORY_HINT = "select fewer rows or columns, or aggregate in smaller steps"
MOST_NESTED = 100  # levels of lists and objects in a value; JSON documents of ours have four
STANDARD_ERRORS = (
    "standard_errors"  # parameter: standard errors from the estimate to the end of a 95% interval
)
_COMMENT = re.compile(r"--[^\n]*")
_PARAMETER = re.compile(r"\$([a-z_]+)")
_PRAGMA = re.compile(rf"\s*pragma\s+({'|'.join(READING_PRAGMAS)})\b\s*(\(|;|$)", re.IGNORECASE)
_NO_TABLE = re.compile(r"Table with name (?P<name>.+) does not exist")
_COLUMN = re.compile(r'^Candidate bindings: "(?P<name>[^"]+)"', re.MULTILINE)
_ITEMS = re.compile(r"\bitems\b", re.IGNORECASE)


# Errors of the statement itself, or of its memory: never those of a damaged part.
_OF_STATEMENT = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ParserException,
    duckdb.OutOfMemoryException,
    duckdb.InterruptException,
)
# Kinds of columns of which Python's values are those of `_value`.
_AS_FETCHED = {
    "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER",
    "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "VARCHAR", "DATE", "TIMESTAMP WITH TIME ZONE", "VARCHAR[]",
}  # fmt: skip
T = TypeVar("T")
Take = Callable[[duckdb.DuckDBPyConnection], T]  # takes the rows of the statement that was just executed


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a statement, with its columns in order."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    kinds: tuple[str, ...]  # DuckDB's type of each column
    has_more: bool = False  # the rows are the first of more
    missing: MissingItems = NOTHING_MISSING  # items that it lacks

    def records(self) -> list[dict[str, Any]]:
        """The rows by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def query_names() -> list[str]:
    """Names of all reads."""
    return sorted(path.stem for path in QUERIES.glob("*.sql"))


def query_sql(name: str) -> str:
    """The SQL of that read, without comments.

    Raises:
        UnknownNameError: there is no such read.
    """
    if name not in query_names():
        raise UnknownNameError("query", name, known=query_names())
    return _COMMENT.sub("", (QUERIES / f"{name}.sql").read_text())


def read(
    connection: duckdb.DuckDBPyConnection, name: str, params: dict[str, Any], *, items_path: Path
) -> Answer:
    """The answer to one named read; an omitted parameter is null, which means no filter.

    Raises:
        UnknownNameError: no such query, or no such parameter of it.
    """
    sql, bound = _bound(name, params)
    answer, missing = _run(
        connection, sql, bound, lambda: whole_answer(connection.execute(sql, bound)), items_path=items_path
    )
    return replace(answer, missing=missing)


def read_table(
    connection: duckdb.DuckDBPyConnection, name: str, params: dict[str, Any], *, items_path: Path
) -> pa.Table:
    """The rows of one named read as a table, for many thousand rows; times are UTC without a zone.

    Raises:
        UnknownNameError: no such query, or no such parameter of it.
    """
    sql, bound = _bound(name, params)
    table, _ = _run(
        connection,
        sql,
        bound,
        lambda: connection.sql(sql, params=bound).to_arrow_table(),
        items_path=items_path,
    )
    return table


def _bound(name: str, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    sql = query_sql(name)
    known = set(_PARAMETER.findall(sql))
    for key in params:
        if key not in known:
            raise UnknownNameError(f"parameter of query `{name}`", key, known=known)
    bound = dict.fromkeys(known) | params
    if STANDARD_ERRORS in known:
        from tracker.stats import Z95  # SciPy: only for the reads that need it

        bound[STANDARD_ERRORS] = Z95
    return sql, bound


def select(
    connection: duckdb.DuckDBPyConnection, sql: str, *, items_path: Path, relations: Sequence[Relation] = ()
) -> Answer:
    """The answer to a user's SELECT, or to DESCRIBE, SHOW, SUMMARIZE or a read-only PRAGMA.

    Times are aware, JSON is parsed. `relations` are tables besides those of the database and `items`.

    Raises:
        TrackerError: it is anything but one such statement, or DuckDB cannot answer it.
    """
    ask = partial(select_into, whole_answer, connection, sql, items_path=items_path, relations=relations)
    answer, missing = _interruptible(connection, ask)
    return replace(answer, missing=missing)


def select_into(
    take: Take[T],
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    *,
    items_path: Path,
    relations: Sequence[Relation] = (),
) -> tuple[T, MissingItems]:
    """What `take` makes of the rows of a user's SELECT, and the items that they lack.

    If a part of the items proves damaged while it is read, the statement and `take` are repeated without it.

    Raises:
        TrackerError: it is anything but one such statement, or DuckDB cannot answer it.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or not _reads(statements[0]):
            raise TrackerError("only a single SELECT statement is allowed here", hint=SELECT_HINT)
        if lists_tables(sql):
            bind_items(connection, [])
            comment(connection, "items", ITEMS_COMMENT, COLUMN_COMMENTS)
        bind(connection, relations, sql)
        runs = asked_runs(connection, sql) if _ITEMS.search(sql) else None
        narrowing = {} if runs is None else {"of_runs": list(runs)}
        return _run(connection, sql, narrowing, lambda: take(connection.execute(sql)), items_path=items_path)
    except duckdb.OutOfMemoryException as error:
        raise TrackerError(OUT_OF_MEMORY, hint=MEMORY_HINT) from error
    except duckdb.Error as error:
        kind, colon, message = first_line(error).partition(" Error: ")
        hint = _sql_hint(connection, str(error), relations)
        raise TrackerError(f"SQL: {message if colon else kind}", hint=hint or SELECT_HINT) from error


def _reads(statement: duckdb.Statement) -> bool:
    try:
        kind = statement.type
    except ValueError:  # a kind that DuckDB's own enumeration lacks, such as `update extensions`
        return False
    if kind is duckdb.StatementType.PRAGMA:
        return _PRAGMA.match(statement.query) is not None
    return kind is duckdb.StatementType.SELECT


def _sql_hint(connection: duckdb.DuckDBPyConnection, error: str, relations: Sequence[Relation]) -> str:
    """Hint with similar names; for tables ours, not those of DuckDB's catalog."""
    if found := _NO_TABLE.search(error):
        rows = connection.execute("select table_name from duckdb_tables() where not internal").fetchall()
        rows += connection.execute("select view_name from duckdb_views() where not internal").fetchall()
        known = {name for (name,) in rows} | {"items"} | {relation.name for relation in relations}
        near = near_names(found["name"].strip("\"'"), known)
        return f"did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else ""
    if found := _COLUMN.search(error):
        return f"did you mean `{found['name']}`? {COLUMNS_HINT}"
    return " ".join(line.strip() for line in error.splitlines() if line.startswith("Did you mean"))


def _interruptible(connection: duckdb.DuckDBPyConnection, ask: Callable[[], T]) -> T:
    """Run `ask` in a thread: inside a statement, DuckDB may not notice Ctrl-C until it is done."""
    begun, stopped, ended = threading.Event(), threading.Event(), threading.Event()

    def answer() -> T:
        begun.set()
        try:
            if stopped.is_set():
                raise CancelledError
            return ask()
        finally:
            ended.set()

    pool = ThreadPoolExecutor(max_workers=1)
    future: Future[T] | None = None
    try:  # Ctrl-C may come at any moment, even while the thread starts
        future = pool.submit(answer)
        return future.result()
    except KeyboardInterrupt:
        stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
        # a busy machine may start the thread only now: what was not canceled will begin, and is interrupted
        while not ended.is_set() and (begun.is_set() or not (future is None or future.cancelled())):
            connection.interrupt()
            ended.wait(INTERRUPT_S)
        raise
    finally:
        pool.shutdown(wait=False)


def _run(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    params: dict[str, Any],
    ask: Callable[[], T],
    *,
    items_path: Path,
) -> tuple[T, MissingItems]:
    """The answer of `ask`, which runs `sql` with `params`; unreadable parts are left out."""
    if not _ITEMS.search(sql) or lists_tables(sql):
        return ask(), NOTHING_MISSING
    before: list[Path] | None = None
    while True:
        parts, damaged = wanted_parts(connection, items_path, params)
        try:
            bind_items(connection, parts)
            taken = ask()
        except _OF_STATEMENT:
            raise
        except duckdb.Error:
            if parts != before and not all(part.exists() for part in parts):
                before = parts
                continue  # some were joined or removed since they were listed: another process gets on
            broken = set(unreadable_parts(parts))
            if not broken:
                raise
            parts, damaged = [part for part in parts if part not in broken], damaged | broken
            bind_items(connection, parts)
            taken = ask()
        break
    if not all(part.exists() for part in parts):
        parts, damaged = wanted_parts(connection, items_path, params)
    return taken, missing_items(connection, parts, damaged, params, items_path=items_path)


def whole_answer(cursor: duckdb.DuckDBPyConnection) -> Answer:
    """All rows of the statement that was just executed."""
    columns = columns_of(cursor)
    rows = python_rows(cursor.fetchall(), columns)
    return Answer(tuple(name for name, _ in columns), rows, tuple(kind for _, kind in columns))


def columns_of(cursor: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """The name and DuckDB's type of each column; no two have the same name."""
    found = cursor.description or ()
    names = distinct_names([name for name, *_ in found])
    return [(name, str(kind)) for name, (_, kind, *_) in zip(names, found, strict=True)]


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names, with `_1`, `_2`, … at those that came before, as DuckDB's own frames have them."""
    n_seen: dict[str, int] = {}  # in lower case: names that differ in case alone are one to DuckDB
    distinct = []
    for name in names:
        free, key = name, name.lower()
        while free.lower() in n_seen:
            free = f"{name}_{n_seen[key]}"
            n_seen[key] += 1
        n_seen[free.lower()] = 1
        distinct.append(free)
    return distinct


def python_rows(rows: Sequence[tuple[Any, ...]], columns: Sequence[tuple[str, str]]) -> list[tuple[Any, ...]]:
    """The rows with aware times, parsed JSON and floats for decimals.

    Raises:
        TrackerError: a value is nested too deeply.
    """
    places = [(place, kind) for place, (_, kind) in enumerate(columns) if kind not in _AS_FETCHED]
    if not places:
        return [*rows]
    converted = []
    for row in rows:
        values = list(row)
        for place, kind in places:
            values[place] = _value(values[place], kind)
        converted.append(tuple(values))
    return converted


def _value(value: Any, kind: str) -> Any:
    """Convert a value: times become aware UTC, JSON is parsed, a decimal becomes a float."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    if isinstance(value, Decimal):
        return float(value)
    if kind == "JSON" and isinstance(value, str):
        return _parsed(value)
    if isinstance(value, list | dict):
        _check_nesting(value)
    return value


def _parsed(text: str) -> Any:
    """The document; its text where Python cannot hold it, such as a number of 5,000 digits."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_nested() from None
    except ValueError:
        return text
    _check_nesting(value)
    return value


def _check_nesting(value: Any) -> None:
    """Refuse what no program could print.

    Raises:
        TrackerError: it has more than `MOST_NESTED` levels.
    """
    level = [value] if isinstance(value, list | dict) else []
    for _ in range(MOST_NESTED):
        level = [
            part
            for whole in level
            for part in (whole.values() if isinstance(whole, dict) else whole)
            if isinstance(part, list | dict)
        ]
        if not level:
            return
    raise _too_nested()


def _too_nested() -> TrackerError:
    message = f"SQL: a value of the answer is nested more than {MOST_NESTED} levels deep"
    return TrackerError(message, hint="cast the column to `varchar`")
