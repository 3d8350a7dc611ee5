-- One row per measurement of speed of $model_id (null: of every model) and concurrency, the newest first; a
-- measurement without a level has one row with nulls.
select s.* rename (prompt_tokens as tokens_per_prompt), l.* exclude (speed_id)
from speeds as s
left join speed_levels as l using (speed_id)
where $model_id is null or s.model_id = $model_id
order by s.started_at desc, s.speed_id desc, l.place
