-- One row per model that the Hub has now, as last seen. $max_params, $license, $kind, $since: only these.
select *
from current_models
where source = 'hub-models'
  and not is_gone
  and ($max_params is null or n_params <= $max_params)
  and ($license is null or contains(lower(license), lower($license)))
  and ($kind is null or kind = $kind)
  and ($since is null or released_at >= $since)
order by trending desc nulls last, downloads desc nulls last, name
