-- One row per metric of each task of each run, newest run first, in the suite's order; the unit is the metric's own.
-- $model_id, $run_id: only of these; null for all.
select task_metrics.*
from task_metrics
join runs using (run_id)
where ($model_id is null or runs.model_id = $model_id)
  and ($run_id is null or run_id = $run_id)
order by runs.started_at desc, run_id desc, place
