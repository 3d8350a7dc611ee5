-- One row per question that both models answered in the same suite: their scores side by side.
-- $first, $second: model ids. $suite, $task: only these; null for all.
-- One run counts per model and suite, so that all of its answers have the same settings: the run with the most
-- items, of which each counts once; ties go to the run with the fewest repeats, then to the one that reused fewest
-- items, then to the newest. Individually selected tasks are not a suite: for them the run is chosen per task. The
-- items of the first repeat `TASK#1` are those of `TASK`, as a run without repeats asks them.
-- An imported run is in a suite of its own: its tasks are chosen singly, and pair with those of a run measured here
-- of whatever suite where metric, filter, number, content, prompt and right answer of the question agree.
with scored as (
    select
        runs.run_id, runs.model_id, runs.suite, runs.suite_version,
        case when runs.sample_seed is null then runs."limit" end as n_first, runs.sample_seed,
        runs.n_items - runs.n_reused_items as n_new_items,
        coalesce(runs.repeats, 1) as n_repeats,
        n_repeats > 1 and task_scores."group" is not null and regexp_matches(task_scores.task, '#[0-9]+$') as is_repeat,
        runs.origin is not null as is_imported,
        case when runs.suite = 'tasks' or is_imported then
            case when is_repeat then regexp_replace(task_scores.task, '#[0-9]+$', '') else task_scores.task end
        end as chosen_for,
        sum(case when is_repeat then 0 else task_scores.n_items end) over (partition by runs.run_id, chosen_for)
            as n_scored_items,
        case when is_repeat then regexp_replace(task_scores.task, '#1$', '') else task_scores.task end as task_asked,
        task_asked as task, task_scores.metric, task_scores.filter, task_scores.fingerprint, task_scores.n_items
    from runs
    join task_scores using (run_id)
    where runs.status in ('complete', 'partial') and coalesce(runs.replicate, 1) = 1
      and runs.model_id in ($first, $second)
      and ($suite is null or runs.suite = $suite or is_imported)
      and ($task is null or task_asked = $task)
),

chosen as (
    select *
    from scored
    qualify run_id = first_value(run_id) over (
        partition by model_id, suite, suite_version, chosen_for
        order by n_scored_items desc, n_repeats, n_new_items desc, run_id desc
    )
),

-- A longer or later run may have answered more items of the same task than this run counts. Those of a random sample
-- are the ones whose hashes are the smallest, as `runners.harness.sample` draws them.
counted as (
    select
        chosen.run_id, chosen.model_id, chosen.suite, chosen.suite_version, chosen.task, chosen.metric, chosen.filter,
        chosen.is_imported, items.doc_id, items.doc_hash, items.target,
        case when (select bool_or(is_imported) from chosen) then hash(items.prompt) end as prompt, items.score, items.cluster
    from chosen
    join items using (fingerprint)
    where (chosen.n_first is null or items.doc_id < chosen.n_first)
      and (chosen.sample_seed is null or items.run_id <= chosen.run_id)
    qualify chosen.sample_seed is null or chosen.n_items >= dense_rank() over (
        partition by chosen.run_id, chosen.fingerprint, chosen.task
        order by sha256(  -- each repeat `TASK#2` of a task asks the sample of the task
            chosen.sample_seed || ':' || regexp_replace(chosen.task, '#[0-9]+$', '') || ':' || items.doc_id
        )
    )
),

-- an item may belong to several runs; the answer is the same
answered as (
    select
        run_id, model_id, suite, suite_version, is_imported, task, metric, filter, doc_id, doc_hash, target, prompt,
        any_value(score) as score,
        any_value(cluster) as cluster
    from counted
    where score is not null
    group by all
)

select
    case when a.is_imported then b.suite else a.suite end as suite,
    case when a.is_imported then b.suite_version else a.suite_version end as suite_version, a.task, a.metric, a.filter, a.doc_id,
    a.score as first_score, b.score as second_score, a.cluster,
    a.run_id as first_run_id, b.run_id as second_run_id
from answered as a
join answered as b using (task, metric, filter, doc_id, doc_hash)
where a.model_id = $first and b.model_id = $second
  and case
      when a.is_imported = b.is_imported then a.suite = b.suite and a.suite_version = b.suite_version
      else a.prompt = b.prompt and trim(a.target) = trim(b.target)
  end
  and ($suite is null or $suite in (a.suite, b.suite))
order by suite, suite_version, a.task, first_run_id, second_run_id, a.doc_id
