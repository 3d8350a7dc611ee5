-- One row per run, newest first.
-- $model_id, $suite, $status: only these; null for all.
select *
from runs
where ($model_id is null or model_id = $model_id)
  and ($suite is null or suite = $suite)
  and ($status is null or status = $status)
order by started_at desc, run_id desc
