-- One row per model and suite: its newest run, whatever its status; no replicate of another.
select
    model_id, suite,
    arg_max(suite_version, run_id) as suite_version, arg_max(status, run_id) as status,
    arg_max(reason, run_id) as reason, arg_max(revision, run_id) as revision, max(run_id) as run_id,
    max(started_at) as started_at
from runs
where coalesce(replicate, 1) = 1
group by model_id, suite
order by model_id, suite
