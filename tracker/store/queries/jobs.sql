-- One row per job, in the order of processing. $suite, $status: only these; null for all.
select *, coalesce(set_priority, priority) as rank
from jobs
where ($suite is null or suite = $suite)
  and ($status is null or status = $status)
order by
    case status when 'running' then 0 when 'queued' then 1 when 'parked' then 2 when 'failed' then 3 else 4 end,
    rank desc, model_id
