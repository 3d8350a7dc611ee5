-- One row per suite version: the most items of any run without a limit, to show the progress of a running one.
-- Individually selected tasks are excluded: they are a different set each time.
select suite, suite_version, max(n_items) as n_items
from runs
where status = 'complete' and "limit" is null and suite <> 'tasks'
group by suite, suite_version
order by suite, suite_version
