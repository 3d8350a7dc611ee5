-- At most one row: the newest complete run of the attack suite, and how many attacks passed in it.
select
    suite_run_id, started_at, ended_at, tier, sandbox, version,
    count(*) as n_attacks,
    count(*) filter (outcome = 'passed') as n_passed
from attacks
where is_whole
group by all
order by suite_run_id desc
limit 1
