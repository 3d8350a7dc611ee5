-- One row per model, distinguishing settings, and task of one suite: the score with the most items; ties go to the
-- run that reused fewest of them, then to the newest. Only the newest version here of a suite counts, whichever
-- tasks are selected, so a task that it dropped has no row. The same choice as in `leaderboard.sql`, but filtered
-- before choosing.
-- $suite: only this one; $tasks: only these; null for all.
with scored as (
    select
        run_id, model_id, revision, suite, suite_version, engine, dtype, quantization, "limit",
        n_items - n_reused_items as n_new_items,
        cast(settings ->> 'max_model_len' as bigint) as asked_max_model_len,
        cast(settings ->> 'thinking' as boolean) as thinking,
        coalesce(sampling, 'task') as asked_sampling, max_output_tokens
    from runs
    where status in ('complete', 'partial') and coalesce(replicate, 1) = 1
      and ($suite is null or suite = $suite)
),

newest as (
    select suite, max(suite_version) as suite_version
    from scored
    where run_id in (select run_id from task_scores where "group" is null)
    group by suite
),

measured as (
    select
        scored.run_id, scored.asked_max_model_len, scored.thinking, scored.asked_sampling,
        task_scores.place, task_scores.task, task_scores.metric, task_scores.value, task_scores.stderr,
        task_scores.ci_low, task_scores.ci_high, task_scores.n_items, task_scores.n_total, task_scores.chance,
        task_scores.truncated_fraction, task_scores.empty_fraction, task_scores.completed_fraction,
        task_scores.completed_value, task_scores.completed_ci_low, task_scores.completed_ci_high,
        task_scores.repeats, task_scores.mean_output_tokens
    from scored
    join newest using (suite, suite_version)
    join task_scores using (run_id)
    where task_scores."group" is null
      and ($tasks is null or list_contains($tasks::text[], task_scores.task))
    qualify row_number() over (
        partition by
            scored.model_id, scored.revision, scored.suite, task_scores.task,
            scored.engine, scored.dtype, scored.quantization, scored.asked_max_model_len, scored.thinking, scored.asked_sampling, scored.max_output_tokens
        order by task_scores.n_items desc, scored.n_new_items desc, scored.run_id desc
    ) = 1
)

select
    runs.model_id, runs.revision, runs.suite, measured.task, measured.metric,
    measured.value as score, measured.ci_low, measured.ci_high, measured.n_items, measured.n_total,
    measured.chance, measured.truncated_fraction, measured.empty_fraction, measured.completed_fraction,
    measured.completed_value, measured.completed_ci_low, measured.completed_ci_high,
    measured.repeats, measured.mean_output_tokens,
    runs.engine, runs.dtype, coalesce(runs.quantization, runs.model_quantization) as quantization, runs.device,
    measured.asked_max_model_len, measured.thinking, measured.asked_sampling as sampling,
    runs.max_output_tokens, runs."limit",
    runs.path, runs.settings ->> 'dtype' as asked_dtype, runs.settings ->> 'quantization' as asked_quantization,
    runs.n_params, runs.license, runs.tokens_per_s, runs.ttft_s, runs.peak_memory_bytes, runs.memory_basis, runs.origin,
    cast(runs.fit ->> 'weights_bytes' as bigint) as weights_bytes,
    cast(runs.fit ->> 'overhead_bytes' as bigint) as overhead_bytes,
    cast(runs.fit ->> 'kv_cache_bytes' as double)
        / nullif(cast(runs.fit ->> 'context' as bigint) * cast(runs.fit ->> 'n_sequences' as bigint), 0)
        as cache_bytes_per_token,
    runs.status, coalesce(runs.ended_at, runs.started_at) as measured_at, runs.run_id
from measured
join runs using (run_id)
order by runs.model_id, runs.revision, measured.place, runs.run_id
