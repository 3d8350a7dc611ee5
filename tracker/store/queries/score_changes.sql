-- One row per published score that came, changed or went in ($since, $until]; `before` is null for a new one.
with history as (
    select *,
        lag(value) over known as before, lag(ci_low) over known as before_ci_low,
        lag(ci_high) over known as before_ci_high, lag(stderr) over known as before_stderr
    from published_scores
    window known as (partition by source, key order by ingest_id, seen_at)
)

select
    history.source, name, benchmark, variant, unit, value, ci_low, ci_high, stderr, before, before_ci_low,
    before_ci_high, before_stderr, reported_by, reporter, source_url, is_withdrawn, seen_at
from history
left join sources using (source)
where seen_at > $since and seen_at <= $until
  and (before is null or before <> value or is_withdrawn)
order by history.source, benchmark, value desc, name
