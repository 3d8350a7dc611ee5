-- Run and task of each score of these runs for which no better score of its task needs as little memory.
-- $run_ids: the runs; $needs: the memory of each, in any unit; $without: suites without records. Of equal scores, the
-- better one is that of the model whose name comes first.
with asked as (
    select unnest($run_ids::varchar[]) as run_id, unnest($needs::double[]) as needs
),

ranked as (
    select
        run_id, task_scores.task, asked.needs,
        min(asked.needs) over (
            partition by runs.suite, task_scores.task
            order by task_scores.value desc, runs.model_id, run_id
            rows between unbounded preceding and 1 preceding
        ) as needs_of_better
    from asked
    join runs using (run_id)
    join task_scores using (run_id)
    where task_scores."group" is null and not list_contains($without::varchar[], runs.suite)
)

select run_id, task from ranked
where needs_of_better is null or needs < needs_of_better
