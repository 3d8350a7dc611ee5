-- One row per task of the run that counts for each of these models and each suite: the run with the most scored
-- items, of equals that which answered most of them anew, then the newest, as in `paired_items.sql`.
-- $models: only these; null for all.
with scored as (
    select
        runs.run_id, runs.model_id, runs.suite, runs.suite_version, runs."limit" as n_first,
        runs.n_items - runs.n_reused_items as n_new_items,
        sum(task_scores.n_items) over (partition by runs.run_id) as n_scored_items,
        task_scores.place, task_scores.task, task_scores.metric, task_scores.filter, task_scores.fingerprint
    from runs
    join task_scores using (run_id)
    where runs.status in ('complete', 'partial')
      and ($models is null or list_contains($models::text[], runs.model_id))
)

select *
from scored
qualify run_id = first_value(run_id) over (
    partition by model_id, suite, suite_version
    order by n_scored_items desc, n_new_items desc, run_id desc
)
order by suite, suite_version desc, model_id, place
