-- One row per model whose weights, as seen in ($since, $until], differ from those last measured here.
with measured as (
    select model_id, arg_max(revision, run_id) as revision
    from runs
    where status in ('complete', 'partial') and path is null
    group by model_id
)

select measured.model_id, measured.revision as measured_revision, newer.revision, newer.seen_at
from measured
join weights as older on lower(older.model_id) = lower(measured.model_id) and older.revision = measured.revision
join weights as newer on lower(newer.model_id) = lower(measured.model_id)
    and newer.weights_hash <> older.weights_hash
join current_models as hub on hub.source = 'hub-models' and hub.key = lower(measured.model_id)
    and hub.revision = newer.revision
where newer.seen_at > $since and newer.seen_at <= $until
order by measured.model_id
