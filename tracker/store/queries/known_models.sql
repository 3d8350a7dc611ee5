-- One row per current Hub model, as last seen. A packed checkpoint, which stores several weights in one value, has
-- the parameters of its parent; without one these are unknown, and n_params_at_least is the number of stored values.
-- $max_params, $license, $kind, $since: only these.
with hub as (
    select * from current_models where source = 'hub-models' and not is_gone
),

bases as (
    select key, n_params as n_stored, unnest(base_models) as parent, generate_subscripts(base_models, 1) as place
    from hub
    where is_packed
),

parents as (
    select bases.key, arg_min(hub.n_params, bases.place) as n_params
    from bases
    join hub on hub.key = lower(bases.parent) and not hub.is_packed and hub.n_params >= bases.n_stored
    group by bases.key
),

counted as (
    select
        hub.* replace (case when hub.is_packed then parents.n_params else hub.n_params end as n_params),
        case when hub.is_packed and parents.n_params is null then hub.n_params end as n_params_at_least
    from hub
    left join parents using (key)
)

select *
from counted
where ($max_params is null or n_params <= $max_params)
  and ($license is null or contains(lower(license), lower($license)))
  and ($kind is null or kind = $kind)
  and ($since is null or released_at >= $since)
order by trending desc nulls last, downloads desc nulls last, name
