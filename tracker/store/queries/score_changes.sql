-- One row per published score that is another one at $until than it was at $since: new (`before` is null), changed
-- or withdrawn. A score that was withdrawn and came back as it was is none, and neither is one whose source or
-- parser only names it by another key.
with known as (
    select * from published_scores where seen_at <= $until
    qualify row_number() over (partition by source, key order by ingest_id desc, seen_at desc) = 1
),

earlier as (
    select * from published_scores where seen_at <= $since
    qualify row_number() over (partition by source, key order by ingest_id desc, seen_at desc) = 1
),

moved as (
    select
        known.*, lower(known.name) as lower_name, earlier.value as before, earlier.ci_low as before_ci_low,
        earlier.ci_high as before_ci_high, earlier.stderr as before_stderr
    from known
    left join earlier using (source, key)
    where known.seen_at > $since
      and case
          when earlier.key is null then not known.is_withdrawn
          when earlier.is_withdrawn and known.is_withdrawn then false
          else known.is_withdrawn or known.value <> earlier.value
      end
),

fresh as (select * from moved where before is null),

withdrawn as (select * from moved where is_withdrawn),

without_other_keys as (
    select * from moved where before is not null and not is_withdrawn
    union all by name
    select * from fresh anti join withdrawn using (source, lower_name, benchmark, variant, value)
    union all by name
    select * from withdrawn anti join fresh using (source, lower_name, benchmark, variant, value)
)

select
    scores.source, scores.name, aliases.model_id, benchmark, variant, unit, value, ci_low, ci_high, stderr, before,
    before_ci_low, before_ci_high, before_stderr, reported_by, reporter, source_url, is_withdrawn, seen_at
from without_other_keys as scores
left join aliases on aliases.source = scores.source and lower(aliases.name) = scores.lower_name
order by scores.source, benchmark, value desc, scores.name, variant
