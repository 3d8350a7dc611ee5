-- One row per model, suite and task: from the model's newest complete or partial run of that suite.
-- $suite, $model_id: only these; null for all.
with newest as (
    select model_id, revision, suite, max(run_id) as run_id
    from runs
    where status in ('complete', 'partial')
      and ($suite is null or suite = $suite)
      and ($model_id is null or model_id = $model_id)
    group by model_id, revision, suite
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
from newest
join runs using (run_id)
join task_scores using (run_id)
order by runs.suite, runs.model_id, runs.revision, task_scores.place
