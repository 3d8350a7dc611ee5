-- One row per Hub model that is another one at $until than it was at $since, or than it was first seen after that
-- (`is_new`): its facts at $until, and those before. Popularity does not count, nor what changed and changed back.
-- Of a packed checkpoint, which stores several weights in one value, n_params_at_least is the number of values.
with known as (
    select * from model_snapshots where source = 'hub-models' and seen_at <= $until
    qualify row_number() over (partition by key order by ingest_id desc, seen_at desc) = 1
),

earlier as (
    select *, false as is_new from model_snapshots where source = 'hub-models' and seen_at <= $since
    qualify row_number() over (partition by key order by ingest_id desc, seen_at desc) = 1
),

first_seen as (
    select *, true as is_new from model_snapshots
    where source = 'hub-models' and seen_at <= $until and key not in (select key from earlier)
    qualify row_number() over (partition by key order by ingest_id, seen_at) = 1
),

before as (select * from earlier union all by name select * from first_seen)

select
    known.name, known.seen_at, known.kind,
    case when not known.is_packed then known.n_params end as n_params,
    case when known.is_packed then known.n_params end as n_params_at_least,
    known.weights_bytes, known.revision, known.downloads, known.trending, known.renamed_to, known.is_gone,
    known.gated, known.license,
    before.is_new, before.is_gone as was_gone, before.gated as gated_before, before.license as license_before
from known
join before using (key)
where known.seen_at > $since
  and (
      before.is_new
      or before.is_gone <> known.is_gone
      or (not known.is_gone and before.fingerprint <> known.fingerprint)
  )
order by known.trending desc nulls last, known.downloads desc nulls last, known.name
