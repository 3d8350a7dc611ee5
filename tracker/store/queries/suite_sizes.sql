-- One row per suite version: the most items that a run of it without a limit had, to say how far a running one is.
select suite, suite_version, max(n_items) as n_items
from runs
where status = 'complete' and "limit" is null
group by suite, suite_version
order by suite, suite_version
