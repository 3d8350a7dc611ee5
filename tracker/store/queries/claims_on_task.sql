-- One row per claimed score of a Hub model on the benchmarks that correspond to $task, the newest per reporter.
with named as (
    select scores.*, coalesce(aliases.model_id, hub.name) as model_id,
        case when not hub.is_packed then hub.n_params end as n_params, hub.license, hub.weights_bytes
    from current_scores as scores
    join benchmark_tasks using (benchmark)
    left join aliases on aliases.source = scores.source and lower(aliases.name) = lower(scores.name)
    left join (select * from current_models where source = 'hub-models') as hub
        on hub.key = lower(coalesce(aliases.model_id, scores.name))
    where not scores.is_withdrawn and scores.unit = 'fraction'
      and ($task is null or benchmark_tasks.task = $task)
)

select
    named.model_id, named.source, named.benchmark, named.variant, named.value as score, named.reported_by,
    named.reporter, named.source_url, named.evaluated_on, named.seen_at, named.n_params, named.license,
    named.weights_bytes
from named
where named.model_id is not null
order by score desc, model_id
