-- One row per task of the run that counts for each of these models and each suite: the run with the most scored
-- items; ties go to the run that reused fewest of them, then to the newest, as in `paired_items.sql`. Individually
-- selected tasks are not a suite: for them the run is chosen per task.
-- $models: only these; null for all.
with scored as (
    select
        runs.run_id, runs.model_id, runs.suite, runs.suite_version,
        case when runs.sample_seed is null then runs."limit" end as n_first, runs.sample_seed,
        runs.n_items - runs.n_reused_items as n_new_items,
        case when runs.suite = 'tasks' then task_scores.task end as chosen_for,
        sum(task_scores.n_items) over (partition by runs.run_id, chosen_for) as n_scored_items,
        task_scores.place, task_scores.task, task_scores.metric, task_scores.filter, task_scores.fingerprint,
        runs.engine, runs.engine_version, runs.dtype, runs.device,
        coalesce(runs.quantization, runs.model_quantization) as quantization,
        coalesce(runs.ended_at, runs.started_at) as measured_at
    from runs
    join task_scores using (run_id)
    where runs.status in ('complete', 'partial')
      and ($models is null or list_contains($models::text[], runs.model_id))
)

select * exclude (chosen_for)
from scored
qualify run_id = first_value(run_id) over (
    partition by model_id, suite, suite_version, chosen_for
    order by n_scored_items desc, n_new_items desc, run_id desc
)
order by suite, suite_version desc, model_id, place, task
