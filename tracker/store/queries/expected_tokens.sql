-- One row per item: how many tokens an answer to it may have, as these answers suggest. A model that answers at length
-- is one at all items, so a length is first held against the mean of its task, both as logarithms.
-- $fingerprints: of the answers. $own: those of them that are the same model's, which count alone where there are any.
with answered as (
    select
        regexp_replace(task, '#[0-9]+$', '') as task, doc_id, fingerprint,
        list_contains($own::text[], fingerprint) as is_own, ln(greatest(output_tokens, 1)) as log_tokens
    from items
    where list_contains($fingerprints::text[], fingerprint)
      and finish_reason not in ('loglikelihood', 'refused')
      and doc_id between 0 and 99999
),

levels as (
    select fingerprint, task, any_value(is_own) as is_own, avg(log_tokens) as level
    from answered
    group by fingerprint, task
),

tasks as (
    select task, coalesce(avg(level) filter (is_own), avg(level)) as level
    from levels
    group by task
),

deviations as (
    select
        task, doc_id, coalesce(
            avg(log_tokens - levels.level) filter (answered.is_own), avg(log_tokens - levels.level)
        ) as deviation
    from answered
    join levels using (fingerprint, task)
    group by task, doc_id
)

select task, doc_id, greatest(1, round(exp(tasks.level + deviation)))::bigint as n_tokens
from deviations
join tasks using (task)
order by task, doc_id
