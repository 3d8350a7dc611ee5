-- One row per suite version: the most items that a run of it without a limit had, to say how far a running one is.
-- Without the tasks that were named one by one: they are another set each time.
select suite, suite_version, max(n_items) as n_items
from runs
where status = 'complete' and "limit" is null and suite <> 'tasks'
group by suite, suite_version
order by suite, suite_version
