-- One row per Hub model that is measured or queued here, with the commit measured last, if any. $n: at most this
-- many, those not seen in the Hub's list for the longest time.
with ours as (
    select model_id, revision, first_run_at
    from models
    where path is null and contains(model_id, '/') and revision <> 'unresolved'
      and not starts_with(revision, 'server:')
    union all
    select model_id, null as revision, null as first_run_at
    from jobs
    where status in ('queued', 'parked') and contains(model_id, '/')
)

select arg_min(ours.model_id, ours.model_id) as model_id, arg_max(ours.revision, ours.first_run_at) as revision
from ours
left join current_models as hub on hub.source = 'hub-models' and hub.key = lower(ours.model_id)
group by lower(ours.model_id)
order by coalesce(bool_or(hub.is_gone), false), max(hub.seen_at) nulls first, model_id
limit coalesce($n, 1000000)
