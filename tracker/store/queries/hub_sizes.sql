-- One row per Hub model that can run on its own and whose size is known, the most popular first. Parameters of packed
-- checkpoints as in known_models. $n: at most this many; null for all.
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
)

select
    hub.name as model_id, hub.organization, hub.kind,
    case when hub.is_packed then parents.n_params else hub.n_params end as n_params,
    case when hub.is_packed and parents.n_params is null then hub.n_params end as n_params_at_least,
    hub.weights_bytes, hub.license, hub.gated, hub.max_context, hub.released_at, hub.downloads, hub.trending
from hub
left join parents using (key)
where not hub.is_disabled
  and hub.kind not in ('adapter', 'merge')
  and coalesce(hub.weights_bytes, hub.n_params) is not null
order by hub.trending desc nulls last, hub.downloads desc nulls last, hub.name
limit coalesce($n, 1000000)
