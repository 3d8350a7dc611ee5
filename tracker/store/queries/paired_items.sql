-- One row per question that both models answered in the same suite: their scores side by side.
-- $first, $second: model ids. $suite, $task: only these; null for all.
-- Of each model and suite one run counts, so that one row of settings answered all of it: the run with the most
-- items, of equals that which answered most of them anew, then the newest. Tasks that were named one by one are no
-- suite: there the run is chosen per task.
with scored as (
    select
        runs.run_id, runs.model_id, runs.suite, runs.suite_version, runs."limit" as n_first,
        runs.n_items - runs.n_reused_items as n_new_items,
        case when runs.suite = 'tasks' then task_scores.task end as chosen_for,
        sum(task_scores.n_items) over (partition by runs.run_id, chosen_for) as n_scored_items,
        task_scores.task, task_scores.metric, task_scores.filter, task_scores.fingerprint
    from runs
    join task_scores using (run_id)
    where runs.status in ('complete', 'partial')
      and runs.model_id in ($first, $second)
      and ($suite is null or runs.suite = $suite)
      and ($task is null or task_scores.task = $task)
),

chosen as (
    select *
    from scored
    qualify run_id = first_value(run_id) over (
        partition by model_id, suite, suite_version, chosen_for
        order by n_scored_items desc, n_new_items desc, run_id desc
    )
),

-- an item may stand in several runs; it is the same answer
answered as (
    select
        chosen.run_id, chosen.model_id, chosen.suite, chosen.suite_version, chosen.task, chosen.metric, chosen.filter,
        items.doc_id, items.doc_hash,
        any_value(items.score) as score,
        any_value(items.cluster) as cluster
    from chosen
    join items on items.fingerprint = chosen.fingerprint and items.task = chosen.task
    where items.score is not null
      and (chosen.n_first is null or items.doc_id < chosen.n_first)
    group by all
)

select
    a.suite, a.suite_version, a.task, a.metric, a.filter, a.doc_id,
    a.score as first_score, b.score as second_score, a.cluster,
    a.run_id as first_run_id, b.run_id as second_run_id
from answered as a
join answered as b using (suite, suite_version, task, metric, filter, doc_id, doc_hash)
where a.model_id = $first and b.model_id = $second
order by a.suite, a.suite_version, a.task, a.doc_id
