-- One row with the day on which the Hub says that the repository $model_id was released; none if it is not known.
select cast(released_at as date) as released
from current_models
where source = 'hub-models' and lower(name) = lower($model_id) and released_at is not null
order by released_at
limit 1
