-- One row per item of a run, in the order of its tasks; `n_matching` is their number on all pages.
-- $run_id, $task, $doc_id: only these; $only: 'right', 'wrong', 'unparsed' or 'truncated'. Null for all.
-- $words: only items with this text in the prompt, an answer, the thinking or the target, in any case; null for all.
-- $limit rows (50 if null) from $offset on (0 if null).
-- $preview: shorten long texts to this many characters, keeping the end of the prompt. Null for full texts.
with scored as (
    select
        run_id, task_scores.fingerprint, task_scores.task, task_scores.place, task_scores.n_items, runs.sample_seed,
        case when runs.sample_seed is null then runs."limit" end as n_first
    from task_scores
    join runs using (run_id)
    where $run_id is null or run_id = $run_id
),

-- the items of a random sample: those whose hashes are the smallest, as `runners.harness.sample` draws them;
-- each repeat `TASK#2` of a task asks the sample of the task
sampled as (
    select fingerprint, items.doc_id
    from items
    join scored using (fingerprint)
    where scored.sample_seed is not null
      and items.run_id <= scored.run_id
    qualify scored.n_items >= dense_rank() over (
        partition by scored.run_id, fingerprint, scored.place
        order by sha256(
            scored.sample_seed || ':' || regexp_replace(items.task, '#[0-9]+$', '') || ':' || items.doc_id
        )
    )
),

tasks as (
    select
        fingerprint, min(place) as place, max(n_first) as n_first,
        bool_or(n_first is null and sample_seed is null) as is_whole
    from scored
    group by fingerprint
),

wanted as (
    select items.*, tasks.place,
        coalesce(score >= 1, false) as is_right,
        finish_reason in ('length', 'repetition') as is_truncated,
        extracted = '[invalid]' as is_unparsed  -- lm-eval's filters return this when they find nothing
    from items
    left join tasks using (fingerprint)
    where ($task is null or task = $task)
      and ($doc_id is null or doc_id = $doc_id)
      and (
          $words is null
          or contains(lower(concat_ws(' ', prompt, response, thinking, extracted, target)), lower($words))
      )
      -- a longer or later run may have answered more items of the same task than this run counts
      and (
          coalesce(tasks.is_whole, true)
          or doc_id < tasks.n_first
          or (fingerprint, doc_id) in (select (fingerprint, doc_id) from sampled)
      )
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
