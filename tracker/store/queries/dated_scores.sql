-- One row per model of a source's benchmark: the current value, with what the source itself says of the model
-- and what the Hub says of the repository that it names or that an alias gives. $variant: only this one; null
-- for those without.
select
    scores.name, scores.value, scores.ci_low, scores.ci_high, scores.unit, scores.evaluated_on, scores.seen_at,
    own.organization, own.access as own_access, own.released_at as own_released_at,
    hub.key is not null or aliases.model_id is not null as is_on_hub, hub.released_at as hub_released_at,
    (
        select max(evaluated_on) from current_scores where source = $source and not is_withdrawn
    ) as source_evaluated_on
from current_scores as scores
left join aliases on aliases.source = scores.source and lower(aliases.name) = lower(scores.name)
left join current_models as own on own.source = scores.source and own.key = lower(scores.name)
left join current_models as hub
    on hub.source = 'hub-models' and hub.key = lower(coalesce(aliases.model_id, scores.name))
where scores.source = $source
  and scores.benchmark = $benchmark
  and scores.variant = coalesce($variant, '')
  and not scores.is_withdrawn
qualify row_number() over (  -- of several evaluators, not the developer where others have a score too
    partition by lower(scores.name)
    order by scores.reported_by = 'first_party', scores.reported_by = 'unknown', scores.seen_at desc, scores.value
) = 1
order by scores.value desc, scores.name
