-- One row per task of a suite version: the most items of any complete run without a limit. $suite: only this one.
-- Tasks that are the mean of others are left out, so that no item counts twice.
select runs.suite_version, task_scores.task, max(task_scores.n_items) as n_items
from task_scores
join runs using (run_id)
where runs.suite = $suite and runs.status = 'complete' and runs."limit" is null
  and not exists (
      from task_scores as part where part.run_id = task_scores.run_id and part."group" = task_scores.task
  )
group by runs.suite_version, task_scores.task
order by runs.suite_version, task_scores.task
