-- One row per task of one run, in the suite's order.
select *
from task_scores
where $run_id is null or run_id = $run_id
order by run_id, place
