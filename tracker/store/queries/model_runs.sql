-- One row per run of one model, newest first, including failed ones with their reason.
select *
from runs
where $model_id is null or model_id = $model_id
order by started_at desc, run_id desc
