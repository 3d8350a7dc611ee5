-- One row per scored item of one run: its score, without its texts. $run_id: only this one; null for all.
with scored as (
    select
        run_id, task_scores.fingerprint, task_scores.task, task_scores.place, task_scores.n_items, runs.sample_seed,
        case when runs.sample_seed is null then runs."limit" end as n_first
    from task_scores
    join runs using (run_id)
    where $run_id is null or run_id = $run_id
),

-- A longer or later run may have answered more items of the same task than this run counts. Those of a random sample
-- are the ones whose hashes are the smallest, as `runners.harness.sample` draws them.
counted as (
    select scored.place, items.task, items.doc_id, items.doc_hash, items.score, items.cluster
    from items
    join scored using (fingerprint)
    where (scored.n_first is null or items.doc_id < scored.n_first)
      and (scored.sample_seed is null or items.run_id <= scored.run_id)
    qualify scored.sample_seed is null or scored.n_items >= dense_rank() over (
        partition by scored.run_id, scored.fingerprint, scored.task, scored.place
        order by sha256(  -- each repeat `TASK#2` of a task asks the sample of the task
            scored.sample_seed || ':' || regexp_replace(items.task, '#[0-9]+$', '') || ':' || items.doc_id
        )
    )
)

select
    min(place) as place, task, doc_id, doc_hash, any_value(score) as score, any_value(cluster) as cluster
from counted
where score is not null
group by task, doc_id, doc_hash
order by place, task, doc_id
