-- One row per failed run without a later successful run of the same model and suite, newest first.
-- $model_id: only this one; null for all.
select *
from runs as failed
where status = 'failed'
  and ($model_id is null or model_id = $model_id)
  and not exists (
      from runs as later
      where later.model_id = failed.model_id
        and later.suite = failed.suite
        and coalesce(later.replicate, 1) = coalesce(failed.replicate, 1)
        and later.status in ('complete', 'partial')
        and later.started_at > failed.started_at
  )
order by started_at desc, run_id desc
