-- One row per run, the newest first: at most $n of them; null for all.
select *
from runs
order by started_at desc, run_id desc
limit coalesce($n, 1000000)
