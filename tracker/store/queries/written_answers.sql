-- One row per fingerprint of written answers to a task: of each model the run that has most of them, the newest of
-- several; of this model and of a few others. $model: the model. $tasks: the tasks as suites name them.
with written as (
    select
        runs.run_id, runs.model_id, runs.model_id is not distinct from $model as is_own, task_scores.fingerprint,
        regexp_replace(task_scores.task, '#[0-9]+$', '') as task, task_scores.n_items
    from task_scores
    join runs using (run_id)
    where runs.status in ('complete', 'partial')
      and runs.origin is null
      and task_scores.empty_fraction is not null
      and (list_contains($tasks::text[], task_scores.task) or list_contains($tasks::text[], task_scores."group"))
      and not exists (  -- the score of a group is over the items of its tasks
          from task_scores as part where part.run_id = task_scores.run_id and part."group" = task_scores.task
      )
),

newest as (
    select *
    from written
    qualify run_id = first_value(run_id) over (partition by model_id, task order by n_items desc, run_id desc)
)

select distinct task, fingerprint, is_own
from newest
qualify dense_rank() over (partition by task, is_own order by run_id desc) <= 8
order by task, fingerprint
