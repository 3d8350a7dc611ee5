-- One row per model that answered a task: its newest run with a score on it. $task: the task.
select runs.model_id, runs.run_id
from task_scores
join runs using (run_id)
where task_scores.task = $task and runs.origin is null and coalesce(runs.replicate, 1) = 1
qualify row_number() over (partition by runs.model_id order by runs.started_at desc, runs.run_id desc) = 1
order by runs.model_id
