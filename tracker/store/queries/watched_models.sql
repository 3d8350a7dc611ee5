-- One row per Hub model that is measured or queued here, with the newest commit known here; at most $n.
with ours as (
    select model_id, arg_max(revision, first_run_at) as revision, 1 as place
    from models
    where path is null and contains(model_id, '/') and revision <> 'unresolved'
      and not starts_with(revision, 'server:')
    group by model_id
    union all
    select model_id, revision, 2 as place
    from jobs
    where status in ('queued', 'parked')
)

select model_id, arg_min(revision, place) as revision
from ours
group by model_id
order by min(place), model_id
limit coalesce($n, 1000000)
