-- One row per model, distinguishing settings, suite and task: the score with the most items, so that a quick look
-- with `--limit` never hides a complete measurement; ties go to the run that reused fewest items, so that a
-- repetition with nothing left to do never hides the cost, then to the newest. Only the newest version here of a
-- suite counts. `asked_max_model_len` is the requested length: the granted one varies with free memory.
-- $suite, $model_id: only these; null for all.
with scored as (
    select *,
        n_items - n_reused_items as n_new_items,
        cast(settings ->> 'max_model_len' as bigint) as asked_max_model_len,
        cast(settings ->> 'thinking' as boolean) as thinking,
        coalesce(sampling, 'task') as asked_sampling
    from runs
    where status in ('complete', 'partial') and coalesce(replicate, 1) = 1
      and ($suite is null or suite = $suite)
      and ($model_id is null or model_id = $model_id)
),

measured as (
    select
        scored.run_id, task_scores.place, scored.asked_max_model_len, scored.thinking, scored.asked_sampling
    from scored
    join task_scores using (run_id)
    qualify scored.suite_version = max(scored.suite_version) over (partition by scored.suite)
        and row_number() over (
            partition by
                scored.model_id, scored.revision, scored.suite, scored.suite_version,
                task_scores.task, task_scores."group",
                scored.engine, scored.dtype, scored.quantization, scored.asked_max_model_len, scored.thinking, scored.asked_sampling, scored.max_output_tokens
            order by task_scores.n_items desc, scored.n_new_items desc, scored.run_id desc
        ) = 1
)

select
    runs.model_id, runs.revision, runs.suite, runs.suite_version,
    task_scores.task, task_scores.metric, task_scores.filter, task_scores."group",
    task_scores.value, task_scores.stderr, task_scores.ci_low, task_scores.ci_high,
    task_scores.n_items, task_scores.n_total, task_scores.chance,
    task_scores.truncated_fraction, task_scores.unparsed_fraction, task_scores.empty_fraction,
    task_scores.completed_fraction, task_scores.completed_value, task_scores.completed_ci_low,
    task_scores.completed_ci_high, task_scores.repeats, task_scores.mean_output_tokens, task_scores.fingerprint,
    runs.run_id, runs.status, runs.reason, runs.started_at, runs.ended_at, runs."limit", runs.warnings,
    runs.n_params, runs.license, runs.model_quantization,
    runs.engine, runs.engine_version, runs.dtype, runs.device, runs.quantization,
    measured.asked_max_model_len, measured.thinking, measured.asked_sampling as sampling,
    runs.max_output_tokens,
    runs.duration_s, runs.output_tokens, runs.tokens_per_s, runs.ttft_s, runs.peak_memory_bytes, runs.memory_basis, runs.origin, runs.energy_j
from measured
join runs using (run_id)
join task_scores using (run_id, place)
order by runs.suite, runs.model_id, runs.revision, task_scores.place, runs.run_id
