-- One row per benchmark and access: the best published score known at $at.
with known as (
    select *
    from published_scores
    where seen_at <= $at
    qualify row_number() over (partition by source, key order by ingest_id desc, seen_at desc) = 1
),

labelled as (
    select known.*,
        case
            when hub.key is not null then 'open'
            when aliases.model_id is not null then 'open'
            else coalesce(models.access, 'unknown')
        end as access
    from known
    left join aliases on aliases.source = known.source and lower(aliases.name) = lower(known.name)
    left join current_models as models on models.source = known.source and models.key = lower(known.name)
    left join current_models as hub on hub.source = 'hub-models' and hub.key = lower(known.name)
    where not known.is_withdrawn
)

select
    source, benchmark, unit, access, max(value) as value, arg_max(name, value) as name,
    arg_max(ci_low, value) as ci_low, arg_max(ci_high, value) as ci_high
from labelled
where access in ('open', 'closed')
group by source, benchmark, unit, access
order by source, benchmark, access
