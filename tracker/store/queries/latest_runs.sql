-- One row per run, newest first. $n: at most this many; null for all.
select *
from runs
order by started_at desc, run_id desc
limit coalesce($n, 1000000)
