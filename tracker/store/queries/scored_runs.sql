-- One row per run with scores, the newest first: its settings, its tasks, whether any of them is in $tasks, and the
-- day on which the Hub says that its model was released.
-- $tasks: the tasks that are on the scale of the index.
with hub as (
    select lower(name) as name, cast(min(released_at) as date) as hub_released
    from current_models
    where source = 'hub-models' and released_at is not null
    group by lower(name)
),

scored as (
    select
        run_id, list(task order by place) as tasks,
        bool_or(list_contains($tasks::text[], task)) as is_on_scale
    from task_scores
    where "group" is null
    group by run_id
)

select
    runs.run_id, runs.model_id, runs.revision, runs.suite, runs.status,
    coalesce(runs.quantization, runs.model_quantization) as quantization,
    cast(runs.settings ->> 'thinking' as boolean) as thinking,
    cast(runs.started_at as date) as measured_on,
    runs.n_params, cast(runs.fit ->> 'weights_bytes' as bigint) as weights_bytes,
    hub.hub_released, scored.tasks, scored.is_on_scale
from runs
join scored using (run_id)
left join hub on hub.name = lower(runs.model_id)
where runs.status in ('complete', 'partial') and runs.origin is null and coalesce(runs.replicate, 1) = 1
order by runs.run_id desc
