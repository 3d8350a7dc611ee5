-- One row per run of a suite of episodes, oldest first: those with a task whose metrics count calls and turns.
-- $suite: only of this one; null for all.
select run_id, any_value(runs.suite) as suite
from task_metrics
join runs using (run_id)
where runs.status in ('complete', 'partial')
  and ($suite is null or runs.suite = $suite)
group by run_id
having bool_or(task_metrics.metric = 'calls') and bool_or(task_metrics.metric = 'turns')
order by run_id
