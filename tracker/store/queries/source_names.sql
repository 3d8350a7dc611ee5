-- One row per model name in a source other than the Hub's list, with the repository that it is, if that is known.
with names as (
    select source, name, lower(name) as lower_name from current_models
    where source <> 'hub-models' and not is_gone
    union
    select source, name, lower(name) from current_scores where not is_withdrawn
)

select
    names.source, arg_min(names.name, names.name) as name,
    any_value(models.hub_id) as hub_id, any_value(models.organization) as organization,
    coalesce(any_value(models.access), 'unknown') as access,
    any_value(aliases.model_id) as model_id, any_value(aliases.basis) as basis
from names
left join current_models as models
    on models.source = names.source and models.key = names.lower_name and not models.is_gone
left join aliases on aliases.source = names.source and lower(aliases.name) = names.lower_name
group by names.source, names.lower_name
order by names.source, names.lower_name
