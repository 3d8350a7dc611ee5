-- One row per model, suite and task: the score that rests on the most items, the newest of equals, so that a
-- quick look with `--limit` never hides a whole measurement. Of a suite only its newest version here counts.
-- $suite, $model_id: only these; null for all.
with measured as (
    select runs.run_id, runs.model_id, runs.revision, runs.suite, task_scores.place
    from runs
    join task_scores using (run_id)
    where runs.status in ('complete', 'partial')
      and ($suite is null or runs.suite = $suite)
      and ($model_id is null or runs.model_id = $model_id)
    qualify runs.suite_version = max(runs.suite_version) over (partition by runs.suite)
        and row_number() over (
            partition by
                runs.model_id, runs.revision, runs.suite, runs.suite_version,
                task_scores.task, task_scores."group"
            order by task_scores.n_items desc, runs.run_id desc
        ) = 1
)

select
    runs.model_id, runs.revision, runs.suite, runs.suite_version,
    task_scores.task, task_scores.metric, task_scores.filter, task_scores."group",
    task_scores.value, task_scores.stderr, task_scores.ci_low, task_scores.ci_high,
    task_scores.n_items, task_scores.n_total, task_scores.chance,
    task_scores.truncated_fraction, task_scores.unparsed_fraction, task_scores.fingerprint,
    runs.run_id, runs.status, runs.reason, runs.started_at, runs.ended_at, runs."limit", runs.warnings,
    runs.n_params, runs.license, runs.model_quantization,
    runs.engine, runs.engine_version, runs.dtype, runs.device, runs.quantization,
    runs.duration_s, runs.output_tokens, runs.tokens_per_s, runs.ttft_s, runs.peak_memory_bytes, runs.energy_j
from measured
join runs using (run_id)
join task_scores using (run_id, place)
order by runs.suite, runs.model_id, runs.revision, task_scores.place
