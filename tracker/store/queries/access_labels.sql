-- One row per model that OpenRouter or models.dev labels, with what they say; also of models no longer listed.
select source, name, access, is_gone
from current_models
where source in ('openrouter', 'models-dev') and access <> 'unknown'
order by source, name
