-- One row per model measured here, with its newest run.
-- $license: only licenses that contain this; $max_params: only models with at most this many. Null for all.
with newest as (
    select model_id, revision, count(*) as n_runs, max(run_id) as run_id
    from runs
    group by model_id, revision
)

select
    models.*, newest.n_runs, newest.run_id,
    runs.suite, runs.status, runs.reason, runs.detail, runs.started_at, runs.engine, runs.device, runs.origin
from models
join newest using (model_id, revision)
join runs using (run_id)
where ($license is null or contains(lower(models.license), lower($license)))
  and ($max_params is null or models.n_params <= $max_params)
order by runs.started_at desc, models.model_id, models.revision
