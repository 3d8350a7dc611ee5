-- One row per source: when it was last ingested and last complete. $now: the moment that ages are relative to.
with last_asked as (
    select source, arg_max(status, ingest_id) as status, arg_max(reason, ingest_id) as reason,
        max(started_at) as asked_at
    from ingests
    group by source
),

last_good as (
    select source, max(ended_at) as completed_at
    from ingests
    where status in ('completed', 'partial')
    group by source
)

select
    source, title, status, reason, asked_at, completed_at,
    date_diff('second', completed_at, $now::timestamp) / 86400.0 as age_days,
    status <> 'skipped_missing_credential'
        and coalesce(date_diff('day', completed_at, $now::timestamp) > 8, true) as is_overdue
from last_asked
left join last_good using (source)
left join sources using (source)
order by source
