-- One row per model of the vintage $vintage_id, with the Hub repository that its name is matched to and its size.
select vintage_models.*, aliases.model_id as hub_id, hub.n_params
from vintage_models
join vintages using (vintage_id)
left join aliases on aliases.source = vintages.source and aliases.name = vintage_models.model
left join current_models as hub on hub.source = 'hub-models' and hub.name = aliases.model_id
where vintage_id = $vintage_id
order by model
