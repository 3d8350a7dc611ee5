-- One row per pair: a model's score as claimed by a source, and as measured here on the same task.
-- `difference` is measured minus claimed. `verdict` compares with the 95% interval of the measured score,
-- widened by the claim's own standard error, $standard_errors times. $model_id: only this one; null for all.
-- $contradicted: true for only those with a claim outside the interval. $since, $until: only those of which the later
-- of claim and measurement was after the one and not after the other.
with named as (
    select scores.*, coalesce(aliases.model_id, scores.name) as model_id
    from current_scores as scores
    left join aliases on aliases.source = scores.source and lower(aliases.name) = lower(scores.name)
    where not scores.is_withdrawn and scores.unit = 'fraction'
),

newest as (
    select model_id, suite, arg_max(run_id, (("limit" is null)::integer, run_id)) as run_id
    from runs
    where status in ('complete', 'partial') and origin is null and coalesce(replicate, 1) = 1
    group by model_id, suite
),

renamed as (
    select lower(name) as old, any_value(renamed_to) as new
    from current_models
    where source = 'hub-models' and is_gone and renamed_to is not null
    group by lower(name)
),

measured as (
    select runs.model_id, runs.revision, runs.suite, runs.run_id, runs."limit", runs.started_at, task_scores.*
        exclude (run_id)
    from newest
    join runs using (run_id)
    join task_scores using (run_id)
    where task_scores."group" is null
      and ($model_id is null or runs.model_id = $model_id)
),

-- names that sources may use for a measured model: one equality key each, since the join takes seconds otherwise
known_as as (
    select distinct model_id, lower(model_id) as key from measured
    union
    select distinct measured.model_id, lower(renamed.new)
    from measured
    join renamed on renamed.old = lower(measured.model_id)
)

select
    measured.model_id, measured.revision, benchmark_tasks.task, named.benchmark, named.variant,
    benchmark_tasks.match, named.source, named.reported_by, named.reporter, named.source_url, named.seen_at,
    named.value as claimed, named.stderr as claimed_stderr,
    measured.value as measured, measured.ci_low, measured.ci_high, measured.n_items, measured."limit",
    measured.completed_fraction, measured.completed_value,
    measured.suite, measured.run_id, measured.started_at as measured_at,
    measured.value - named.value as difference,
    case
        when measured.ci_low is null then 'unclear'
        when named.value > measured.ci_high + $standard_errors * coalesce(named.stderr, 0) then 'claimed_higher'
        when named.value < measured.ci_low - $standard_errors * coalesce(named.stderr, 0) then 'claimed_lower'
        else 'agrees'
    end as verdict
from named
join benchmark_tasks using (benchmark)
join known_as on known_as.key = lower(named.model_id)
join measured on measured.model_id = known_as.model_id and measured.task = benchmark_tasks.task
where ($contradicted is null or verdict in ('claimed_higher', 'claimed_lower'))
  and ($since is null or greatest(measured.started_at, named.seen_at) > $since)
  and ($until is null or greatest(measured.started_at, named.seen_at) <= $until)
order by measured.model_id, benchmark_tasks.task, named.source, named.variant
