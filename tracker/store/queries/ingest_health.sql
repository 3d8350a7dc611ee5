-- One row per source: when it was last ingested and last complete. $now: the moment that ages are relative to.
-- An ingest that a clock dated more than a day ahead counts only where the source has no other.
with dated as (
    select *, started_at <= $now::timestamp + interval 1 day as is_past from ingests
),

last_asked as (
    select source,
        coalesce(arg_max(status, ingest_id) filter (where is_past), arg_max(status, ingest_id)) as status,
        case
            when bool_or(is_past) then arg_max(reason, ingest_id) filter (where is_past)
            else arg_max(reason, ingest_id)
        end as reason,
        coalesce(max(started_at) filter (where is_past), max(started_at)) as asked_at
    from dated
    group by source
),

last_good as (
    select source, coalesce(max(ended_at) filter (where is_past), max(ended_at)) as completed_at
    from dated
    where status in ('completed', 'partial')
    group by source
)

select
    source, title, status, reason, asked_at, completed_at,
    date_diff('second', completed_at, $now::timestamp) / 86400.0 as age_days,
    status <> 'skipped_missing_credential'
        and coalesce(date_diff('day', completed_at, $now::timestamp) not between -1 and 8, true) as is_overdue
from last_asked
left join last_good using (source)
left join sources using (source)
order by source
