-- One row per suite and task that is no part of another: how many models have a score on it. The suite with the
-- most scores comes first.
with counted as (
    select
        suite, task, min(place) as place, count(distinct model_id) as n_models,
        arg_max(metric, run_id) as metric, arg_max(chance, run_id) as chance
    from runs
    join task_scores using (run_id)
    where status in ('complete', 'partial') and task_scores."group" is null
    group by suite, task
)

select * from counted
order by sum(n_models) over (partition by suite) desc, suite, place, task
