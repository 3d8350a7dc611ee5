"""Write and read the vintages of a published index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any, Protocol, TypeVar

import duckdb
import pyarrow as pa

from tracker.records.published import Access
from tracker.records.vintages import Vintage, VintageBenchmark, VintageData, VintageModel, VintageScore
from tracker.store.ingests import utc

Row = TypeVar("Row", VintageModel, VintageScore, VintageBenchmark)


@dataclass(frozen=True, slots=True)
class HubFacts:
    """The Hub repository of a model of a vintage, and its number of parameters; None: not known."""

    hub_id: str
    n_params: int | None


class Reads(Protocol):
    """Whatever answers the reads in `queries/`: a snapshot or the open store."""

    def query(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """The rows of one read."""
        ...


def write_vintage(connection: duckdb.DuckDBPyConnection, vintage: Vintage, data: VintageData | None) -> None:
    """Replace the row of the vintage, and its contents if given; the caller holds the transaction."""
    row = asdict(vintage) | {name: utc(getattr(vintage, name)) for name in ("ingested_at", "confirmed_at")}
    connection.execute("insert or replace into vintages by name select unnest($row)", {"row": row})
    if data is None:
        return
    for table, rows in (
        ("vintage_models", [asdict(row) | {"access": row.access.value} for row in data.models]),
        ("vintage_scores", [asdict(row) for row in data.scores]),
        ("vintage_benchmarks", [asdict(row) for row in data.benchmarks]),
    ):
        if not rows:
            continue
        kinds = connection.sql(f"from {table} limit 0").to_arrow_table().schema
        named = [row | {"vintage_id": vintage.vintage_id} for row in rows]
        connection.register("staged", pa.Table.from_pylist(named, schema=kinds))
        try:
            connection.execute(f"insert into {table} by name from staged")
        finally:
            connection.unregister("staged")


def read_vintages(store: Reads) -> tuple[Vintage, ...]:
    """Every vintage, in the order of their ingests."""
    names = [field.name for field in fields(Vintage)]
    return tuple(Vintage(**{name: row[name] for name in names}) for row in store.query("vintages"))


def read_vintage_data(store: Reads, vintage: Vintage) -> tuple[VintageData, dict[str, HubFacts]]:
    """The contents of a vintage, and the Hub repository of each of its models that is matched to one."""
    models = store.query("vintage_models", vintage_id=vintage.vintage_id)
    found = VintageData(
        day=vintage.day,
        models=tuple(replace(row, access=Access(row.access)) for row in _records(VintageModel, models)),
        benchmarks=_records(
            VintageBenchmark, store.query("vintage_benchmarks", vintage_id=vintage.vintage_id)
        ),
        scores=_records(VintageScore, store.query("vintage_scores", vintage_id=vintage.vintage_id)),
    )
    return found, {row["model"]: HubFacts(row["hub_id"], row["n_params"]) for row in models if row["hub_id"]}


def confirmed(vintage: Vintage, at: datetime) -> Vintage:
    """The vintage after another ingest found the same content."""
    return replace(vintage, confirmed_at=max(at, vintage.confirmed_at))


def _records(kind: type[Row], rows: Sequence[dict[str, Any]]) -> tuple[Row, ...]:
    names = [field.name for field in fields(kind)]
    return tuple(kind(**{name: _frozen(row[name]) for name in names}) for row in rows)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
