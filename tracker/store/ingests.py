"""Rows of ingested data: a new row only for a change, so that each ingest is a vintage."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from tracker.records.published import (
    Batch,
    IngestOutcome,
    OutcomeStatus,
    SourceFacts,
    SourceModel,
    SourceScore,
    score_key,
)
from tracker.store.history import write_history

_TIME = pa.timestamp("us")
MODEL_SCHEMA = pa.schema(
    [
        (name, pa.string())
        for name in ("name", "key", "fingerprint", "hub_id", "organization", "access", "kind")
    ]
    + [("released_at", _TIME), ("last_modified_at", _TIME)]
    + [(name, pa.string()) for name in ("revision", "license", "gated", "pipeline_tag")]
    + [("n_params", pa.int64()), ("weights_bytes", pa.int64())]
    + [(n, pa.bool_()) for n in ("is_packed", "has_safetensors", "needs_remote_code", "is_disabled")]
    + [("base_models", pa.list_(pa.string())), ("max_context", pa.int64())]
    + [(name, pa.float64()) for name in ("price_in_usd_per_mtok", "price_out_usd_per_mtok")]
    + [(name, pa.int64()) for name in ("downloads", "likes", "trending")]
)
SCORE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("key", "fingerprint", "name", "benchmark", "variant", "unit")]
    + [(name, pa.float64()) for name in ("value", "stderr", "ci_low", "ci_high")]
    + [("n_items", pa.int64())]
    + [(name, pa.string()) for name in ("reported_by", "reporter", "source_url")]
    + [("evaluated_on", pa.date32()), ("is_verified", pa.bool_())]
)
# A model whose popularity alone changed is also written, but counts as unchanged.
CHANGED_MODELS = """
create or replace temp table changed as
select staged.*, known.fingerprint is null as is_new,
    known.fingerprint is distinct from staged.fingerprint or known.is_gone as is_changed
from staged
left join (
    select * from model_snapshots
    where source = $source and key in (select key from staged)
    qualify row_number() over (partition by key order by ingest_id desc, seen_at desc) = 1
) as known using (key)
where known.fingerprint is distinct from staged.fingerprint or known.is_gone
    or (known.downloads, known.likes, known.trending)
        is distinct from (staged.downloads, staged.likes, staged.trending)
"""
CHANGED_SCORES = """
create or replace temp table changed as
select staged.*, known.fingerprint is null as is_new, true as is_changed
from staged
left join (
    select * from published_scores
    where source = $source and key in (select key from staged)
    qualify row_number() over (partition by key order by ingest_id desc, seen_at desc) = 1
) as known using (key)
where known.fingerprint is distinct from staged.fingerprint or known.is_withdrawn
"""
COUNTS = "select count(*) filter (is_new), count(*) filter (is_changed and not is_new) from changed"
# A row that ends the last state.
GONE_MODELS = """
insert into model_snapshots by name
select known.* replace ($ingest_id as ingest_id, $seen_at as seen_at, true as is_gone, $new as renamed_to)
from (
    select * from model_snapshots where source = $source and key in (select unnest($keys))
    qualify row_number() over (partition by key order by ingest_id desc, seen_at desc) = 1
) as known
where not known.is_gone
"""
WITHDRAWN_SCORES = """
insert into published_scores by name
select known.* replace ($ingest_id as ingest_id, $seen_at as seen_at, true as is_withdrawn)
from (
    select * from published_scores where source = $source and key in (select unnest($keys))
    qualify row_number() over (partition by key order by ingest_id desc, seen_at desc) = 1
) as known
where not known.is_withdrawn
"""
SPLIT_BY_REPORTER = """
update published_scores as known set key = staged.new_key from staged
where known.source = $source and known.key = staged.key
    and (known.reported_by, known.reporter) is not distinct from (staged.reported_by, staged.reporter)
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of new, changed and gone rows of a batch, and its dated series that were refused."""

    n_new: int = 0
    n_changed: int = 0
    n_gone: int = 0
    refused: tuple[str, ...] = ()

    def __add__(self, other: Counts) -> Counts:
        """Add two counts."""
        return Counts(
            self.n_new + other.n_new,
            self.n_changed + other.n_changed,
            self.n_gone + other.n_gone,
            (*self.refused, *other.refused),
        )


@dataclass(frozen=True, slots=True)
class SourceState:
    """The position at which the last ingest of a source ended."""

    watermark: datetime | None = None
    resume: str | None = None
    pending_watermark: datetime | None = None  # of the interrupted ingest
    n_known: int = 0  # models and scores of the source so far


@dataclass(frozen=True, slots=True)
class Alias:
    """A source's name for a model."""

    source: str
    name: str
    model_id: str  # Hub repository
    # "person", "stated", "renamed", "same_id", "organization_and_name", "name_and_date", "published_table"
    basis: str


def write_source(connection: duckdb.DuckDBPyConnection, facts: SourceFacts) -> None:
    """Store the facts about the source; its license may have changed."""
    row = {name: value for name, value in asdict(facts).items() if name != "is_whole"}
    row["source"] = row.pop("name")
    connection.execute("insert or replace into sources by name select unnest($row)", {"row": row})


def write_outcome(
    connection: duckdb.DuckDBPyConnection,
    outcome: IngestOutcome,
    *,
    started_at: datetime,
    state: SourceState,
    ended_at: datetime | None = None,
    raw_sha256: Sequence[str] = (),
) -> None:
    """Replace the row of this ingest. `ended_at`: default: now, unless it is still running."""
    if ended_at is None and outcome.status is not OutcomeStatus.RUNNING:
        ended_at = datetime.now(UTC)
    row = {
        "ingest_id": outcome.ingest_id,
        "source": outcome.source,
        "status": outcome.status.value,
        "started_at": utc(started_at),
        "ended_at": utc(ended_at),
        "n_seen": outcome.n_seen,
        "n_new": outcome.n_new,
        "n_changed": outcome.n_changed,
        "n_gone": outcome.n_gone,
        "n_problems": outcome.n_problems,
        "n_overwritten": outcome.n_overwritten,
        "reason": outcome.reason,
        "problems": json.dumps(list(outcome.problems)),
        "raw_sha256": json.dumps(list(raw_sha256)),
        "watermark": utc(state.watermark),
        "resume": state.resume,
    }
    connection.execute("insert or replace into ingests by name select unnest($row)", {"row": row})


def write_batch(
    connection: duckdb.DuckDBPyConnection,
    batch: Batch,
    *,
    source: str,
    ingest_id: str,
    seen_at: datetime,
    any_unit: bool = False,
) -> Counts:
    """Write the new and changed records of the batch; the caller holds the transaction."""
    mark: dict[str, Any] = {"source": source, "ingest_id": ingest_id, "seen_at": utc(seen_at)}
    counts = Counts()
    if batch.models:
        rows = pa.Table.from_pylist(list(_model_rows(batch.models)), schema=MODEL_SCHEMA)
        extra = "false as is_gone, null as renamed_to"
        counts += _write(connection, rows, CHANGED_MODELS, "model_snapshots", mark, extra)
    if batch.scores:
        split_by_reporter(connection, batch.scores, source=source)
        rows = pa.Table.from_pylist(list(_score_rows(batch.scores)), schema=SCORE_SCHEMA)
        extra = "false as is_withdrawn"
        counts += _write(connection, rows, CHANGED_SCORES, "published_scores", mark, extra)
    for at in batch.weights:
        connection.execute(
            "insert or ignore into weights values ($model_id, $revision, $weights_hash, $seen_at)",
            asdict(at) | {"seen_at": utc(seen_at)},
        )
    if batch.gone:
        counts += write_gone_models(connection, {name.casefold() for name in batch.gone}, **mark)
    for old, new in batch.renamed:
        counts += write_gone_models(connection, {old.casefold()}, new=new, **mark)
        write_alias(connection, Alias(source, old, new, "renamed"), at=seen_at)
    if batch.history:
        n_written, refused = write_history(
            connection, batch.history, source=source, ingest_id=ingest_id, any_unit=any_unit
        )
        is_all = not (batch.models or batch.scores)  # otherwise those are counted
        counts += Counts(n_new=n_written if is_all else 0, refused=refused)
    return counts


def split_by_reporter(
    connection: duckdb.DuckDBPyConnection, scores: Iterable[SourceScore], *, source: str
) -> None:
    """Give stored scores of these models and benchmarks the key that has their reporter in it.

    Versions before it kept one score per model and benchmark, which each reporter overwrote; without this,
    the stored ones would be withdrawn and come back as new.
    """
    old = {score_key(s.name, s.benchmark, s.variant) for s in scores if s.is_per_reporter}
    if not old:
        return
    rows = connection.execute(
        "select distinct key, name, benchmark, variant, reported_by, reporter from published_scores"
        " where source = $source and key in (select unnest($keys))",
        {"source": source, "keys": list(old)},
    ).fetchall()
    names = ("key", "name", "benchmark", "variant", "reported_by", "reporter")
    staged = [dict(zip(names, row, strict=True)) | {"new_key": score_key(*row[1:])} for row in rows]
    if staged:
        schema = pa.schema([(name, pa.string()) for name in (*names, "new_key")])
        connection.register("staged", pa.Table.from_pylist(staged, schema=schema))
        connection.execute(SPLIT_BY_REPORTER, {"source": source})
        connection.unregister("staged")


def write_gone_models(
    connection: duckdb.DuckDBPyConnection,
    keys: Collection[str],
    *,
    source: str,
    ingest_id: str,
    seen_at: datetime,
    new: str | None = None,
) -> Counts:
    """Record that the source no longer lists these models, or lists them under another name."""
    params = {"source": source, "ingest_id": ingest_id, "seen_at": seen_at, "keys": list(keys), "new": new}
    ((n,),) = connection.execute(GONE_MODELS, params).fetchall()
    return Counts(n_gone=int(n))


def write_withdrawn(
    connection: duckdb.DuckDBPyConnection, keys: Collection[str], mark: Mapping[str, Any]
) -> Counts:
    """Record these models and scores as gone: the source no longer lists them."""
    counts = Counts()
    if keys:
        for statement, more in ((GONE_MODELS, {"new": None}), (WITHDRAWN_SCORES, {})):
            params = {**mark, "keys": list(keys), **more}
            ((n,),) = connection.execute(statement, params).fetchall()
            counts += Counts(n_gone=int(n))
    return counts


def write_alias(connection: duckdb.DuckDBPyConnection, alias: Alias, *, at: datetime | None = None) -> None:
    """Link a source's name to a Hub repository; never overrides a link made by a person.

    `at`: when; default: now.
    """
    added_at = at or datetime.now(UTC)
    connection.execute(
        "insert into aliases values ($source, $name, $model_id, $basis, $added_at)"
        " on conflict do update set model_id = excluded.model_id, basis = excluded.basis,"
        " added_at = excluded.added_at where aliases.basis <> 'person' or excluded.basis = 'person'",
        asdict(alias) | {"added_at": utc(added_at)},
    )


def delete_aliases(connection: duckdb.DuckDBPyConnection, names: Iterable[tuple[str, str]]) -> None:
    """Remove the links of these names, each a source and a name, except those made by a person."""
    statement = "delete from aliases where source = ? and name = ? and basis <> 'person'"
    connection.executemany(statement, [list(each) for each in names])


def read_state(connection: duckdb.DuckDBPyConnection, source: str) -> SourceState:
    """The position at which the last ingest of this source ended."""
    done = connection.execute(
        "select max(watermark) from ingests where source = $source and status = 'completed'",
        {"source": source},
    ).fetchall()
    last = connection.execute(
        "select status, resume, watermark from ingests where source = $source"
        " and status not in ('skipped_unavailable', 'skipped_missing_credential')"
        " order by ingest_id desc limit 1",
        {"source": source},
    ).fetchall()
    ((n_models,),) = connection.execute(
        "select count(*) from current_models where source = $source and not is_gone", {"source": source}
    ).fetchall()
    ((n_scores,),) = connection.execute(
        "select count(*) from current_scores where source = $source and not is_withdrawn", {"source": source}
    ).fetchall()
    status, resume, pending = last[0] if last else (None, None, None)
    cut_off = status is not None and status != OutcomeStatus.COMPLETED
    return SourceState(
        watermark=aware(done[0][0]),
        resume=resume if cut_off else None,
        pending_watermark=aware(pending) if cut_off else None,
        n_known=int(n_models) + int(n_scores),
    )


def _write(
    connection: duckdb.DuckDBPyConnection,
    rows: pa.Table,
    statement: str,
    table: str,
    mark: dict[str, Any],
    extra: str,
) -> Counts:
    connection.register("staged", rows)
    try:
        connection.execute(statement, {"source": mark["source"]})
    finally:
        connection.unregister("staged")
    ((n_new, n_changed),) = connection.execute(COUNTS).fetchall()
    connection.execute(
        f"insert into {table} by name select $ingest_id as ingest_id, $source as source,"  # noqa: S608
        f" $seen_at as seen_at, {extra}, * exclude (is_new, is_changed) from changed",
        mark,
    )
    return Counts(n_new=int(n_new), n_changed=int(n_changed))


def _model_rows(models: Iterable[SourceModel]) -> Iterable[dict[str, Any]]:
    last = {model.key: model for model in models}  # of two with the same key, the later one counts
    for key, model in last.items():
        row = {
            name: getattr(model, name) for name in MODEL_SCHEMA.names if name not in ("key", "fingerprint")
        }
        row |= {"key": key, "fingerprint": model.fingerprint}
        row |= {"access": model.access.value, "kind": model.kind.value}
        row |= {name: utc(row[name]) for name in ("released_at", "last_modified_at")}
        yield row


def _score_rows(scores: Iterable[SourceScore]) -> Iterable[dict[str, Any]]:
    for key, score in {score.key: score for score in scores}.items():
        row = {
            name: getattr(score, name) for name in SCORE_SCHEMA.names if name not in ("key", "fingerprint")
        }
        yield row | {"key": key, "fingerprint": score.fingerprint}


def utc(moment: datetime | None) -> datetime | None:
    """Convert a moment to the database's form: UTC, without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment and moment.tzinfo else moment


def aware(moment: datetime | None) -> datetime | None:
    """Convert a moment from the database's form: UTC, with its zone."""
    return moment.replace(tzinfo=UTC) if moment else None
