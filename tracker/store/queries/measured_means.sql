-- One row per model and suite: the mean centered score of its newest whole run that had ended at $at, and the
-- memory that it took at most.
with newest as (
    select model_id, suite, max(run_id) as run_id
    from runs
    where status = 'complete' and "limit" is null and started_at <= $at
    group by model_id, suite
)

select
    runs.model_id, runs.suite, runs.run_id, runs.started_at, runs.peak_memory_bytes,
    avg((task_scores.value - task_scores.chance) / (1 - task_scores.chance)) as mean_centered,
    count(*) as n_tasks
from newest
join runs using (run_id)
join task_scores using (run_id)
where task_scores."group" is null
group by all
order by runs.suite, mean_centered desc, runs.model_id
