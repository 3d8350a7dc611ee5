"""The runs whose items a user's statement may see, as far as its conditions name them.

Reading the parts of all runs to answer for one takes as long as the store is large. A statement is narrowed
only where that changes nothing: each time it reads `items`, a condition that every row must meet names the
runs. Anything else, such as a sample or a condition in another form, is answered from all parts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

ITEMS, RUN_ID = "items", "run_id"
JOINS = ("INNER", "LEFT")  # of which a row that does not meet the condition leaves nothing behind
JOIN_KINDS = ("REGULAR", "CROSS")  # not those by place or by order
Node = Mapping[str, Any]


def asked_runs(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[str, ...] | None:
    """The ids of the runs to which the statement's conditions limit `items`; None: they do not."""
    if RUN_ID not in sql.casefold():
        return None
    (text,) = connection.execute("select json_serialize_sql($sql)", {"sql": sql}).fetchone() or ("{}",)
    tree = json.loads(text)
    n_reads = sum(_is_items(node) for node in _nodes(tree))
    asked: set[str] = set()
    n_limited = 0
    for node in _nodes(tree):
        if node.get("type") == "SELECT_NODE" and node.get("sample") is None:
            for names in _names_of_items(node.get("from_table")):
                runs = _limit(node.get("where_clause"), names)
                if runs is not None:
                    asked |= runs
                    n_limited += 1
    return tuple(sorted(asked)) if n_reads and n_limited == n_reads else None


def _nodes(tree: Any) -> Iterator[Node]:
    """Every object of the tree."""
    left = [tree]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left += value.values()
        elif isinstance(value, list):
            left += value


def _is_items(node: Node) -> bool:
    return node.get("type") == "BASE_TABLE" and str(node.get("table_name")).casefold() == ITEMS


def _names_of_items(table: Any, *, is_joined: bool = False) -> Iterator[frozenset[tuple[str, ...]]]:
    """For each time that a FROM reads `items`: how its column `run_id` may be written there."""
    if not isinstance(table, dict):
        return
    if table.get("type") == "JOIN":
        if table.get("join_type") in JOINS and table.get("ref_type") in JOIN_KINDS:
            yield from _names_of_items(table.get("left"), is_joined=True)
            yield from _names_of_items(table.get("right"), is_joined=True)
    elif _is_items(table) and not any(
        table.get(name)
        for name in ("schema_name", "catalog_name", "sample", "column_name_alias", "at_clause")
    ):
        name = str(table.get("alias") or table["table_name"]).casefold()
        yield frozenset({(name, RUN_ID)} if is_joined else {(name, RUN_ID), (RUN_ID,)})


def _limit(condition: Any, names: frozenset[tuple[str, ...]]) -> set[str] | None:
    """The runs that a condition leaves; None: any."""
    if not isinstance(condition, dict):
        return None
    kind = condition.get("type")
    if kind == "CONJUNCTION_AND":
        found = [_limit(part, names) for part in condition.get("children", ())]
        limits = [runs for runs in found if runs is not None]
        return set.intersection(*limits) if limits else None
    if kind == "COMPARE_EQUAL":
        sides = [condition.get("left"), condition.get("right")]
        return _named(sides, names) or _named(sides[::-1], names)
    if kind == "COMPARE_IN":
        return _named(condition.get("children", ()), names)
    return None


def _named(parts: Any, names: frozenset[tuple[str, ...]]) -> set[str] | None:
    """The texts after the column, if that is what the parts are; None otherwise."""
    column, *others = parts
    if not isinstance(column, dict) or column.get("type") != "COLUMN_REF":
        return None
    if tuple(str(name).casefold() for name in column.get("column_names", ())) not in names:
        return None
    found = set()
    for other in others:
        literal = other.get("literal") if isinstance(other, dict) else None
        if not isinstance(literal, dict) or literal.get("kind") != "STRING":
            return None
        found.add(str(literal.get("text")))
    return found or None
