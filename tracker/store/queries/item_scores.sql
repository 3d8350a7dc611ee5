-- One row per scored item of one run: what it scored, without its texts. $run_id: only this one; null for all.
with scored as (
    select task_scores.fingerprint, task_scores.task, min(task_scores.place) as place, max(runs."limit") as n_first
    from task_scores
    join runs using (run_id)
    where $run_id is null or run_id = $run_id
    group by task_scores.fingerprint, task_scores.task
)

select
    scored.place, items.task, items.doc_id, items.doc_hash,
    any_value(items.score) as score, any_value(items.cluster) as cluster
from items
join scored using (fingerprint, task)
where items.score is not null
  -- a longer run may have asked more of the same task than this one counted
  and (scored.n_first is null or items.doc_id < scored.n_first)
group by all
order by scored.place, items.task, items.doc_id
