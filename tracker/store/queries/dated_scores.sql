-- One row per model of a source's benchmark: the value that is known now, with its access and its first known
-- date. Dates come from the source itself, from the Hub repository that an alias names, or from another source
-- that writes the name the same way. $variant: only this one; null for those without.
with dates as (
    select key, min(released_at) as released_at
    from current_models
    where released_at is not null
    group by key
)

select
    scores.name, scores.value, scores.ci_low, scores.ci_high, scores.unit, scores.evaluated_on, scores.seen_at,
    case
        when hub.key is not null or aliases.model_id is not null then 'open'
        else coalesce(own.access, 'unknown')
    end as access,
    coalesce(own.released_at, hub.released_at, dates.released_at) as released_at
from current_scores as scores
left join aliases on aliases.source = scores.source and lower(aliases.name) = lower(scores.name)
left join current_models as own on own.source = scores.source and own.key = lower(scores.name)
left join current_models as hub
    on hub.source = 'hub-models' and hub.key = lower(coalesce(aliases.model_id, scores.name))
left join dates on dates.key = lower(scores.name)
where scores.source = $source
  and scores.benchmark = $benchmark
  and scores.variant = coalesce($variant, '')
  and not scores.is_withdrawn
order by scores.value desc, scores.name
