-- One row per model name in a source other than the Hub's list, with its Hub repository if known, the number of
-- benchmarks with a score under that name, and whether all of these are an index.
with names as (
    select source, name, null as benchmark, null as unit from current_models
    where source <> 'hub-models' and not is_gone
    union all
    select source, name, benchmark, unit from current_scores where not is_withdrawn
)

select
    names.source, arg_min(names.name, names.name) as name,
    any_value(models.hub_id) as hub_id, any_value(models.organization) as organization,
    coalesce(any_value(models.access), 'unknown') as access, any_value(models.released_at) as released_at,
    count(distinct names.benchmark) as n_benchmarks,
    coalesce(bool_and(names.unit = 'index'), false) as is_index_only,
    any_value(aliases.model_id) as model_id, any_value(aliases.basis) as basis
from names
left join current_models as models
    on models.source = names.source and models.key = lower(names.name) and not models.is_gone
left join aliases on aliases.source = names.source and lower(aliases.name) = lower(names.name)
group by names.source, lower(names.name)
order by names.source, lower(names.name)
