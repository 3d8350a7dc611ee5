-- One row per run and task: the score with its 95% interval.
-- $run_ids, $tasks: only these pairs of a run and a task, in two lists of the same length.
select
    runs.model_id, runs.suite, runs.run_id, runs.started_at,
    task_scores.task, task_scores.value, task_scores.ci_low, task_scores.ci_high, task_scores.n_items,
    task_scores.completed_fraction, task_scores.completed_value
from runs
join task_scores using (run_id)
where task_scores."group" is null
  and (
      $run_ids is null
      or (task_scores.run_id, task_scores.task) in (select unnest($run_ids::varchar[]), unnest($tasks::varchar[]))
  )
order by runs.suite, task_scores.task, task_scores.value desc, runs.model_id
