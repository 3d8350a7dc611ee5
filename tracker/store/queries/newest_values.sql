-- One row per model, suite and task: the score of the model's newest whole run that had ended at $at.
with newest as (
    select model_id, suite, max(run_id) as run_id
    from runs
    where status = 'complete' and "limit" is null and max_output_tokens is null and started_at <= $at
    group by model_id, suite
)

select newest.model_id, newest.suite, newest.run_id, task_scores.task, task_scores.value
from newest
join task_scores using (run_id)
where task_scores."group" is null
