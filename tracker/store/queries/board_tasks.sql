-- One row per suite and top-level task: how many models have a score on it in the suite's newest version here, as
-- in `board.sql`. The suite with the most scores comes first; those that
-- were imported follow all others.
with scored as (
    select
        runs.run_id, runs.model_id, runs.suite, runs.suite_version,
        task_scores.task, task_scores.place, task_scores.metric, task_scores.chance,
        runs.origin is not null as is_imported
    from runs
    join task_scores using (run_id)
    where runs.status in ('complete', 'partial') and coalesce(runs.replicate, 1) = 1 and task_scores."group" is null
),

newest as (
    select suite, max(suite_version) as suite_version
    from scored
    group by suite
),

counted as (
    select
        suite, task, min(place) as place, count(distinct model_id) as n_models,
        bool_and(is_imported) as is_imported,
        arg_max(metric, run_id) as metric, arg_max(chance, run_id) as chance
    from scored
    join newest using (suite, suite_version)
    group by suite, task
)

select * exclude (is_imported) from counted
order by is_imported, sum(n_models) over (partition by suite) desc, suite, place, task
