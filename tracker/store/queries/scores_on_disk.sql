-- One row per score: how many of the items that it rests on can be read from the disk, from whichever run.
-- $model_id, $run_id: only these; null for all.
with scored as (
    select
        task_scores.run_id, task_scores.place, task_scores.fingerprint, task_scores.task, task_scores."group",
        task_scores.n_items, task_scores.repeats
    from task_scores
    join runs using (run_id)
    where ($model_id is null or runs.model_id = $model_id)
      and ($run_id is null or run_id = $run_id)
),

readable as (
    select fingerprint, count(distinct doc_id) as n_readable
    from items
    where fingerprint in (select fingerprint from scored)
    group by fingerprint
),

counted as (
    select scored.*, least(scored.n_items, coalesce(readable.n_readable, 0)) as n_items_on_disk
    from scored
    left join readable using (fingerprint)
),

-- the score of a group rests on the items of its tasks
parts as (
    select run_id, "group" as task, sum(n_items_on_disk)::bigint as n_items_on_disk
    from counted
    where "group" is not null
    group by run_id, "group"
),

-- the score of a repeated task rests on the items of `TASK#1`, `TASK#2` …
repeated as (
    select
        run_id, regexp_replace(task, '#[0-9]+$', '') as task,
        sum(n_items_on_disk)::bigint as n_items_on_disk
    from counted
    where "group" is not null and regexp_matches(task, '#[0-9]+$')
    group by all
)

select
    counted.run_id, counted.place,
    case
        when counted.repeats is not null
            then coalesce(repeated.n_items_on_disk, parts.n_items_on_disk, 0) // counted.repeats
        when counted."group" is null then coalesce(parts.n_items_on_disk, counted.n_items_on_disk)
        else counted.n_items_on_disk
    end as n_items_on_disk
from counted
left join parts using (run_id, task)
left join repeated using (run_id, task)
order by counted.run_id, counted.place
