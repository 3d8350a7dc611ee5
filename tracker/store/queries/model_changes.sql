-- One row per change of a Hub model that was seen in ($since, $until]: `what` is new, back, gone, renamed, gated,
-- opened, license or revision. Popularity is no change.
with history as (
    select *,
        lag(fingerprint) over known as fingerprint_before, lag(is_gone) over known as was_gone,
        lag(gated) over known as gated_before, lag(license) over known as license_before,
        lag(revision) over known as revision_before
    from model_snapshots
    where source = 'hub-models'
    window known as (partition by key order by ingest_id, seen_at)
)

select
    name, seen_at, kind, n_params, weights_bytes, license, gated, revision, renamed_to, downloads, trending,
    case
        when is_gone and renamed_to is not null then 'renamed'
        when is_gone then 'gone'
        when fingerprint_before is null then 'new'
        when was_gone then 'back'
        when gated is not null and gated_before is null then 'gated'
        when gated is null and gated_before is not null then 'opened'
        when license is distinct from license_before then 'license'
        else 'revision'
    end as what,
    license_before
from history
where seen_at > $since and seen_at <= $until
  and (fingerprint_before is distinct from fingerprint or is_gone or was_gone)
order by trending desc nulls last, downloads desc nulls last, name
