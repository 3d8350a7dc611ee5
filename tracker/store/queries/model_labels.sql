-- One row per model name that a source other than the Hub's list gives a date or a label open or closed.
select source, name, organization, access, released_at
from current_models
where source <> 'hub-models'
  and not is_gone
  and (released_at is not null or access <> 'unknown')
order by source, key
