-- One row per scored item of one run without its texts: its score, how its answer ended, and the log-probabilities of
-- its choices. $run_id: only this one; null for all.
with scored as (
    select
        run_id, task_scores.fingerprint, task_scores.task, task_scores.metric, task_scores.filter, task_scores.place,
        coalesce(task_scores."group", task_scores.task) as asked, task_scores.n_items, runs.sample_seed,
        case when runs.sample_seed is null then runs."limit" end as n_first
    from task_scores
    join runs using (run_id)
    where ($run_id is null or run_id = $run_id)
      and not exists (  -- the score of a group is over the items of its tasks
          from task_scores as part where part.run_id = task_scores.run_id and part."group" = task_scores.task
      )
),

-- A longer or later run may have answered more items of the same task than this run counts. Those of a random sample
-- are the ones whose hashes are the smallest, as `runners.harness.sample` draws them.
counted as (
    select scored.place, scored.asked, scored.metric, scored.filter, items.*
    from items
    join scored using (fingerprint)
    where items.score is not null
      and (scored.n_first is null or items.doc_id < scored.n_first)
      and (scored.sample_seed is null or items.run_id <= scored.run_id)
    qualify scored.sample_seed is null or scored.n_items >= dense_rank() over (
        partition by scored.run_id, scored.fingerprint, scored.task, scored.place
        order by sha256(
            scored.sample_seed || ':' || regexp_replace(items.task, '#[0-9]+$', '') || ':' || items.doc_id
        )
    )
)

select
    place, asked, task, metric, filter, doc_id, doc_hash, score, cluster, log_probs,
    finish_reason <> 'loglikelihood' as is_written,
    finish_reason = 'length' as is_truncated,
    finish_reason = 'stop' and trim(response) = '' as is_empty,
    case when finish_reason <> 'loglikelihood' then md5(response) end as text_hash
from counted
order by place, task, doc_id
