-- One row per task of each run of one model, newest run first, in the suite's order.
-- $model_id: only this one; null for all.
select task_scores.*
from task_scores
join runs using (run_id)
where $model_id is null or runs.model_id = $model_id
order by runs.started_at desc, run_id desc, place
