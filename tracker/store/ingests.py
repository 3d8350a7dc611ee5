"""What the sources say, as rows: a new row only where something changed, so that each ingest is a vintage."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from tracker.ingested import Batch, IngestOutcome, OutcomeStatus, SourceFacts, SourceModel, SourceScore

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
# A model is also written where only its popularity moved, and then counts as unchanged.
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
# A row that says that the last state has ended.
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


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows of a batch are new, and how many of the known ones are not what they were."""

    n_new: int = 0
    n_changed: int = 0
    n_gone: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(self.n_new + other.n_new, self.n_changed + other.n_changed, self.n_gone + other.n_gone)


@dataclass(frozen=True, slots=True)
class SourceState:
    """Where the last ingest of a source ended."""

    watermark: datetime | None = None
    resume: str | None = None
    pending_watermark: datetime | None = None  # of the ingest that was cut off
    n_known: int = 0  # models and scores that it had


@dataclass(frozen=True, slots=True)
class Alias:
    """One model under the name that a source gives it."""

    source: str
    name: str
    model_id: str  # Hub repository
    basis: str  # "person", "stated", "renamed", "same_id", "organization_and_name", "published_table"


def write_source(connection: duckdb.DuckDBPyConnection, facts: SourceFacts) -> None:
    """Keep what is to be known of the source; its licence may have changed."""
    row = {name: value for name, value in asdict(facts).items() if name != "is_whole"}
    row["source"] = row.pop("name")
    connection.execute("insert or replace into sources by name select unnest($row)", {"row": row})


def write_outcome(
    connection: duckdb.DuckDBPyConnection,
    outcome: IngestOutcome,
    *,
    started_at: datetime,
    state: SourceState,
    raw_sha256: Sequence[str] = (),
) -> None:
    """Replace the row of this ingest."""
    running = outcome.status is OutcomeStatus.RUNNING
    row = {
        "ingest_id": outcome.ingest_id,
        "source": outcome.source,
        "status": outcome.status.value,
        "started_at": utc(started_at),
        "ended_at": None if running else utc(datetime.now(UTC)),
        "n_seen": outcome.n_seen,
        "n_new": outcome.n_new,
        "n_changed": outcome.n_changed,
        "n_gone": outcome.n_gone,
        "reason": outcome.reason,
        "problems": json.dumps(list(outcome.problems)),
        "raw_sha256": json.dumps(list(raw_sha256)),
        "watermark": utc(state.watermark),
        "resume": state.resume,
    }
    connection.execute("insert or replace into ingests by name select unnest($row)", {"row": row})


def write_batch(
    connection: duckdb.DuckDBPyConnection, batch: Batch, *, source: str, ingest_id: str, seen_at: datetime
) -> Counts:
    """Write what the batch says anew; the caller holds the transaction."""
    mark: dict[str, Any] = {"source": source, "ingest_id": ingest_id, "seen_at": utc(seen_at)}
    counts = Counts()
    if batch.models:
        rows = pa.Table.from_pylist(list(_model_rows(batch.models)), schema=MODEL_SCHEMA)
        extra = "false as is_gone, null as renamed_to"
        counts += _write(connection, rows, CHANGED_MODELS, "model_snapshots", mark, extra)
    if batch.scores:
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
        write_alias(connection, Alias(source, old, new, "renamed"))
    return counts


def write_gone_models(
    connection: duckdb.DuckDBPyConnection,
    keys: Collection[str],
    *,
    source: str,
    ingest_id: str,
    seen_at: datetime,
    new: str | None = None,
) -> Counts:
    """Note that the source no longer has these, or has them under another name."""
    params = {"source": source, "ingest_id": ingest_id, "seen_at": seen_at, "keys": list(keys), "new": new}
    ((n,),) = connection.execute(GONE_MODELS, params).fetchall()
    return Counts(n_gone=int(n))


def write_absent(
    connection: duckdb.DuckDBPyConnection,
    seen: Collection[str],
    mark: Mapping[str, Any],
    *,
    unread: Collection[str] = (),
) -> Counts:
    """Note as gone whatever the source had and `seen`, its whole list of keys, does not contain."""
    source = {"source": mark["source"]}
    models = connection.execute(
        "select key from current_models where source = $source and not is_gone", source
    ).fetchall()
    scores = connection.execute(
        "select key from current_scores where source = $source and not is_withdrawn"
        " and benchmark not in (select unnest($unread::text[]))",
        source | {"unread": list(unread)},
    ).fetchall()
    counts = Counts()
    for rows, statement, more in ((models, GONE_MODELS, {"new": None}), (scores, WITHDRAWN_SCORES, {})):
        absent = [key for (key,) in rows if key not in seen]
        if absent:
            ((n,),) = connection.execute(statement, {**mark, "keys": absent, **more}).fetchall()
            counts += Counts(n_gone=int(n))
    return counts


def write_alias(connection: duckdb.DuckDBPyConnection, alias: Alias) -> None:
    """Say that a name in a source is a repository of the Hub; what a person said is not overruled."""
    connection.execute(
        "insert into aliases values ($source, $name, $model_id, $basis, now())"
        " on conflict do update set model_id = excluded.model_id, basis = excluded.basis,"
        " added_at = excluded.added_at where aliases.basis <> 'person' or excluded.basis = 'person'",
        asdict(alias),
    )


def read_state(connection: duckdb.DuckDBPyConnection, source: str) -> SourceState:
    """Where the last ingest of this source ended."""
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
    last = {model.key: model for model in models}  # of two with the same key, the later one
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
    """The moment as the database keeps it: UTC, without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment and moment.tzinfo else moment


def aware(moment: datetime | None) -> datetime | None:
    """What the database keeps, with its zone."""
    return moment.replace(tzinfo=UTC) if moment else None
