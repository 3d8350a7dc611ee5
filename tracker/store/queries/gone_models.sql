-- One row per model that the Hub no longer has, with its new name if it was renamed.
select name, renamed_to, seen_at
from current_models
where source = 'hub-models' and is_gone
order by name
