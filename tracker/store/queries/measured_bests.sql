-- One row per model, suite and task: the score of the model's newest whole run that had ended at $at, with its
-- 95% interval, and the memory that the run took at most, beside what the fit check read of its headers.
with newest as (
    select model_id, suite, max(run_id) as run_id
    from runs
    where status = 'complete' and "limit" is null and max_output_tokens is null and started_at <= $at
    group by model_id, suite
)

select
    runs.model_id, runs.suite, runs.run_id, runs.started_at, runs.peak_memory_bytes,
    runs.memory_basis, runs.engine, runs.device,
    runs.n_params,
    cast(runs.fit ->> 'weights_bytes' as bigint) as weights_bytes,
    cast(runs.fit ->> 'overhead_bytes' as bigint) as overhead_bytes,
    cast(runs.fit ->> 'kv_cache_bytes' as double)
        / nullif(cast(runs.fit ->> 'context' as bigint) * cast(runs.fit ->> 'n_sequences' as bigint), 0)
        as cache_bytes_per_token,
    task_scores.task, task_scores.value, task_scores.ci_low, task_scores.ci_high, task_scores.n_items,
    task_scores.completed_fraction, task_scores.completed_value
from newest
join runs using (run_id)
join task_scores using (run_id)
where task_scores."group" is null
order by runs.suite, task_scores.task, task_scores.value desc, runs.model_id
