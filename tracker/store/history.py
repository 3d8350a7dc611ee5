"""Series that a source publishes with dates, such as old boards: one value per series, day and model."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from tracker.records.published import DatedValue

TEXT, NUMBER = pa.string(), pa.float64()
SCHEMA = pa.schema(
    {"series": TEXT, "day": pa.date32(), "name": TEXT, "value": NUMBER}
    | {"unit": TEXT, "ci_low": NUMBER, "ci_high": NUMBER, "access": TEXT}
)
LEAST = 3  # values of known days that show a change of unit
OTHER_UNIT = 10.0  # a median factor of this, or below one over it, is another unit, not news
FACTORS = """
select series, count(*), median(staged.value / known.value)
from staged
join dated_values as known using (series, day, name)
where known.source = $source and known.value <> 0 and known.value <> staged.value
group by series
"""
PUT = """
insert or replace into dated_values by name
select $source as source, $ingest_id as ingest_id,
    staged.* replace (
        coalesce(nullif(staged.access, 'unknown'), known.access, 'unknown') as access
    )
from staged
left join (select * from dated_values where source = $source) as known using (series, day, name)
where staged.series not in (select unnest($refused::text[]))
    and (known.value is null
        or (known.value, known.unit, known.ci_low, known.ci_high)
            is distinct from (staged.value, staged.unit, staged.ci_low, staged.ci_high)
        or staged.access not in ('unknown', known.access))
"""


def write_history(
    connection: duckdb.DuckDBPyConnection,
    values: Sequence[DatedValue],
    *,
    source: str,
    ingest_id: str,
    any_unit: bool = False,
) -> tuple[int, tuple[str, ...]]:
    """Write dated values, replacing those of the same series, day and model.

    Returns how many are new or changed, and the series that are refused: those whose values for stored days
    are now ten times as large or as small, so that their unit has changed (`any_unit`: none). A label is not
    replaced by `unknown`. The caller holds the transaction.
    """
    rows = {(value.series, value.day, value.name): value for value in values}
    columns = {name: [getattr(value, name) for value in rows.values()] for name in SCHEMA.names}
    connection.register("staged", pa.Table.from_pydict(columns, schema=SCHEMA))
    try:
        found = connection.execute(FACTORS, {"source": source}).fetchall()
        refused = (
            []
            if any_unit
            else sorted(
                series for series, n, by in found if n >= LEAST and not 1 / OTHER_UNIT < by < OTHER_UNIT
            )
        )
        ((n_written,),) = connection.execute(
            PUT, {"source": source, "ingest_id": ingest_id, "refused": refused}
        ).fetchall()
    finally:
        connection.unregister("staged")
    return int(n_written), tuple(refused)
