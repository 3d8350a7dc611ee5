-- One row per run and task of episodes: what its metrics count, and the tokens of each episode, fewest first.
-- A task is one of episodes if its metrics count calls and turns; of a group, the episodes of all its tasks.
-- $run_ids: of these runs, see `runs_of_episodes`.
with episodes as (
    select
        run_id, task_metrics.task,
        max(task_metrics.value) filter (task_metrics.metric = 'calls') as mean_calls,
        max(task_metrics.value) filter (task_metrics.metric = 'turns') as mean_turns,
        cast(round(max(task_metrics.value) filter (task_metrics.metric = 'unsafe')) as bigint) as n_unsafe,
        max(task_metrics.value) filter (task_metrics.metric = 'unsafe_episodes') as unsafe_fraction
    from task_metrics
    join runs using (run_id)
    where runs.status in ('complete', 'partial')
      and run_id in (select unnest($run_ids))
    group by run_id, task_metrics.task
    having mean_calls is not null and mean_turns is not null
),

scored as (
    select
        run_id, episodes.task, task_scores.task as part, task_scores.place, task_scores.fingerprint,
        task_scores.n_items, runs.sample_seed,
        case when runs.sample_seed is null then runs."limit" end as n_first
    from episodes
    join runs using (run_id)
    join task_scores using (run_id)
    where coalesce(task_scores."group", task_scores.task) = episodes.task
      and not exists (  -- the score of a group is over the items of its tasks
          from task_scores as part where part.run_id = task_scores.run_id and part."group" = task_scores.task
      )
),

-- A longer or later run may have answered more items of the same task than this run counts. Those of a random sample
-- are the ones whose hashes are the smallest, as `runners.harness.sample` draws them.
counted as (
    select scored.run_id, scored.task, scored.part, items.doc_id, items.output_tokens, items.prompt_tokens
    from items
    join scored using (fingerprint)
    where items.score is not null
      and (scored.n_first is null or items.doc_id < scored.n_first)
      and (scored.sample_seed is null or items.run_id <= scored.run_id)
    qualify scored.sample_seed is null or scored.n_items >= dense_rank() over (
        partition by scored.run_id, scored.fingerprint, scored.part, scored.place
        order by sha256(
            scored.sample_seed || ':' || regexp_replace(items.task, '#[0-9]+$', '') || ':' || items.doc_id
        )
    )
),

-- an item may belong to several runs; the answer is the same
spent as (
    select
        run_id, task, part, doc_id,
        any_value(output_tokens) as output_tokens,
        any_value(prompt_tokens) as prompt_tokens
    from counted
    group by all
),

tokens as (
    select
        run_id, task,
        list(output_tokens order by output_tokens) as output_tokens,
        avg(prompt_tokens) as mean_prompt_tokens
    from spent
    group by run_id, task
)

select
    run_id, episodes.task, mean_calls, mean_turns, n_unsafe,
    cast(round(unsafe_fraction * task_scores.n_items) as bigint) as n_unsafe_episodes,
    tokens.output_tokens, tokens.mean_prompt_tokens, runs.prompts
from episodes
join runs using (run_id)
join task_scores using (run_id, task)
left join tokens using (run_id, task)
order by run_id, task_scores.place
