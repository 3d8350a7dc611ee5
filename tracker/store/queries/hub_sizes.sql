-- One row per model of the Hub that could be run by itself and whose size is known, the most asked for first.
-- $n: at most so many; null for all.
select
    name as model_id, organization, kind, n_params, weights_bytes, license, gated, max_context, released_at,
    downloads, trending
from current_models
where source = 'hub-models'
  and not is_gone
  and not is_disabled
  and kind not in ('adapter', 'merge')
  and coalesce(weights_bytes, n_params) is not null
order by trending desc nulls last, downloads desc nulls last, name
limit coalesce($n, 1000000)
