-- One row per item of a run, in the order of its tasks; `n_matching` is how many there are on all pages.
-- $run_id, $task, $doc_id: only these; $only: 'right', 'wrong', 'unparsed' or 'truncated'. Null for all.
-- $limit rows (50 if null) from $offset on (0 if null).
-- $preview: shorten the long texts to so many characters, the prompt to its end. Null for all of them.
with scored as (
    select task_scores.fingerprint, task_scores.place, runs."limit" as n_first
    from task_scores
    join runs using (run_id)
    where $run_id is null or run_id = $run_id
),

wanted as (
    select items.*, scored.place,
        coalesce(score >= 1, false) as is_right,
        finish_reason = 'length' as is_truncated,
        extracted = '[invalid]' as is_unparsed  -- what lm-eval's filters say when they find nothing
    from items
    left join (select fingerprint, min(place) as place, max(n_first) as n_first from scored group by fingerprint)
        as scored using (fingerprint)
    where ($task is null or task = $task)
      and ($doc_id is null or doc_id = $doc_id)
      -- a longer run may have asked more of the same task than this one counted
      and (n_first is null or doc_id < n_first)
)

select
    * replace (
        right(prompt, coalesce($preview, length(prompt))) as prompt,
        left(response, coalesce($preview, length(response))) as response,
        left(extracted, coalesce($preview, length(extracted))) as extracted,
        left(target, coalesce($preview, length(target))) as target,
        left(thinking, coalesce($preview, length(thinking))) as thinking
    ),
    count(*) over () as n_matching
from wanted
where $only is null
   or ($only = 'right' and is_right)
   or ($only = 'wrong' and score is not null and not is_right)
   or ($only = 'unparsed' and is_unparsed)
   or ($only = 'truncated' and is_truncated)
order by place nulls last, task, doc_id
limit coalesce($limit, 50) offset coalesce($offset, 0)
