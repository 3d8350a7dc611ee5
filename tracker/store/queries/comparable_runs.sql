-- One row per task of the run that counts for each of these models and each suite: the run with the most scored
-- items, of which each counts once; ties go to the run with the fewest repeats, then to the one that reused fewest
-- items, then to the newest, as in `paired_items.sql`. Individually selected tasks are not a suite: for them, and for
-- imported ones, the run is chosen per task. The items of the first repeat `TASK#1` are those of `TASK`.
-- $models: only these; null for all.
with scored as (
    select
        runs.run_id, runs.model_id, runs.suite, runs.suite_version,
        case when runs.sample_seed is null then runs."limit" end as n_first, runs.sample_seed,
        runs.n_items - runs.n_reused_items as n_new_items,
        coalesce(runs.repeats, 1) as n_repeats,
        n_repeats > 1 and task_scores."group" is not null and regexp_matches(task_scores.task, '#[0-9]+$') as is_repeat,
        case when runs.suite = 'tasks' or runs.origin is not null then
            case when is_repeat then regexp_replace(task_scores.task, '#[0-9]+$', '') else task_scores.task end
        end as chosen_for,
        sum(case when is_repeat then 0 else task_scores.n_items end) over (partition by runs.run_id, chosen_for)
            as n_scored_items,
        case when is_repeat then regexp_replace(task_scores.task, '#1$', '') else task_scores.task end as task_asked,
        task_scores.place, task_asked as task, task_scores.metric, task_scores.filter, task_scores.fingerprint,
        runs.engine, runs.engine_version, runs.dtype, runs.device, runs.origin,
        coalesce(runs.quantization, runs.model_quantization) as quantization,
        coalesce(runs.ended_at, runs.started_at) as measured_at
    from runs
    join task_scores using (run_id)
    where runs.status in ('complete', 'partial') and coalesce(runs.replicate, 1) = 1
      and ($models is null or list_contains($models::text[], runs.model_id))
)

select * exclude (chosen_for, n_repeats, is_repeat, task_asked)
from scored
qualify run_id = first_value(run_id) over (
    partition by model_id, suite, suite_version, chosen_for
    order by n_scored_items desc, n_repeats, n_new_items desc, run_id desc
)
order by suite, suite_version desc, model_id, place, task
