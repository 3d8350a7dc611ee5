-- One row per run and task: the score. $run_ids: of these runs.
select runs.model_id, runs.suite, runs.run_id, task_scores.task, task_scores.value
from runs
join task_scores using (run_id)
where task_scores."group" is null
  and ($run_ids is null or runs.run_id in (select unnest($run_ids::varchar[])))
