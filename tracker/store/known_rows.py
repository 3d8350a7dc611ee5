"""What is stored of a source: its current rows, and those that its last answer lacked.

`tracker/ingest/guard.py` compares them with a new answer before anything is written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import duckdb

MODEL_FIELDS = (
    "key", "name", "hub_id", "organization", "access", "kind", "released_at", "last_modified_at", "revision",
    "license", "pipeline_tag", "n_params", "weights_bytes", "has_safetensors", "max_context",
    "price_in_usd_per_mtok", "price_out_usd_per_mtok",
)  # fmt: skip
SCORE_FIELDS = (
    "key", "name", "benchmark", "value", "stderr", "ci_low", "ci_high", "n_items", "reporter", "source_url",
    "evaluated_on",
)  # fmt: skip
CURRENT = """
select {fields} from (
    select * from {table}
    where source = $source {which}
    qualify row_number() over (partition by key order by ingest_id desc, seen_at desc) = 1
) where not {gone}
"""
THESE = "and key in (select unnest($keys::text[]))"
TABLES = (
    ("model_snapshots", MODEL_FIELDS, "is_gone"),
    ("published_scores", SCORE_FIELDS, "is_withdrawn"),
)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KnownRows:
    """The current rows of a source by key, and since when its answers have lacked some of them."""

    models: Mapping[str, Row] = field(default_factory=dict)
    scores: Mapping[str, Row] = field(default_factory=dict)
    missing_since: Mapping[str, date] = field(default_factory=dict)


def read_known(
    connection: duckdb.DuckDBPyConnection, source: str, keys: Collection[str] | None = None
) -> KnownRows:
    """All current rows of the source, or those with these keys."""
    params: dict[str, Any] = {"source": source}
    held = connection.execute("select key, missing_since from held_rows where source = $source", params)
    since = dict(held.fetchall())
    if keys is not None:
        params["keys"] = list(keys)
    found = []
    for table, names, gone in TABLES:
        which = "" if keys is None else THESE
        query = CURRENT.format(fields=", ".join(names), table=table, which=which, gone=gone)
        rows = connection.execute(query, params).fetchall()
        found.append({row[0]: dict(zip(names, row, strict=True)) for row in rows})
    return KnownRows(models=found[0], scores=found[1], missing_since=since)


def write_held(connection: duckdb.DuckDBPyConnection, source: str, missing_since: Mapping[str, date]) -> None:
    """Replace the rows that the source's last answer lacked."""
    connection.execute("delete from held_rows where source = $source", {"source": source})
    if missing_since:
        keys, days = list(missing_since), list(missing_since.values())
        connection.execute(
            "insert into held_rows select $source, unnest($keys), unnest($days)",
            {"source": source, "keys": keys, "days": days},
        )
