"""Tables outside the database, bound for one statement: a schema and a function that loads the rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa

# Statements that list names and columns only: they load no rows.
_LISTING = re.compile(
    r"^\s*(show|describe|desc|pragma)\b|\bduckdb_\w+\s*\(|\binformation_schema\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Relation:
    """A table outside the database; every column has a comment."""

    name: str
    comment: str
    schema: pa.Schema
    comments: Mapping[str, str]  # by column
    load: Callable[[], pa.Table]

    def __post_init__(self) -> None:
        """Refuse a column without a comment, and a comment without a column."""
        if set(self.schema.names) != set(self.comments):
            wrong = set(self.schema.names) ^ set(self.comments)
            raise ValueError(f"{self.name}: columns and comments differ: {', '.join(sorted(wrong))}")


def lists_tables(sql: str) -> bool:
    """Whether the statement asks for names of tables and columns."""
    return _LISTING.search(sql) is not None


def bind(connection: duckdb.DuckDBPyConnection, relations: Iterable[Relation], sql: str) -> None:
    """Bind the relations that `sql` names; a statement that only lists them loads no rows."""
    for relation, rows in with_rows(relations, sql):
        register(connection, relation, rows)


def with_rows(relations: Iterable[Relation], sql: str) -> Iterator[tuple[Relation, pa.Table]]:
    """The relations that `sql` names, with their rows; all of them, without rows, if it only lists."""
    is_listing = lists_tables(sql)
    for relation in relations:
        if is_listing:
            yield relation, relation.schema.empty_table()
        elif re.search(rf"\b{relation.name}\b", sql, re.IGNORECASE):
            yield relation, relation.load()


def register(connection: duckdb.DuckDBPyConnection, relation: Relation, table: pa.Table) -> None:
    """Register `table` as the relation, with its comments."""
    connection.register(relation.name, table)
    comment(connection, relation.name, relation.comment, relation.comments)


def comment(connection: duckdb.DuckDBPyConnection, view: str, text: str, columns: Mapping[str, str]) -> None:
    """Comment on a view and each of its columns; the names are ours, never a user's."""
    connection.execute(f"comment on view {view} is {_literal(text)}")
    for column, what in columns.items():
        connection.execute(f"comment on column {view}.{column} is {_literal(what)}")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
