-- One row per claimed score of a Hub model, as currently published.
with named as (
    select scores.*, coalesce(aliases.model_id, hub.name) as model_id
    from current_scores as scores
    left join aliases on aliases.source = scores.source and lower(aliases.name) = lower(scores.name)
    left join (select name, key from current_models where source = 'hub-models') as hub
        on hub.key = lower(scores.name)
    where not scores.is_withdrawn and scores.unit = 'fraction'
)

select
    named.model_id, named.source, named.benchmark, named.variant, named.value, named.stderr,
    named.ci_low, named.ci_high, named.reported_by, named.reporter, named.source_url, named.evaluated_on,
    named.is_verified, named.seen_at, benchmark_tasks.task, benchmark_tasks.match
from named
left join benchmark_tasks using (benchmark)
where named.model_id is not null
order by named.model_id, named.benchmark, named.source, named.variant
