-- One row per study and category of change: how often it was tried and kept, and the gain confirmed on fresh
-- seeds. A change that touches several categories counts its gain in equal parts in each.
-- $study_id, $tier, $track: only these; null for all.
with touched as (
    select
        study_id, slot, verdict, unnest(categories) as category,
        coalesce(confirmed_gain_bpb, 0) / len(categories) as gain_bpb
    from trials
    where not is_placebo and len(categories) > 0
)

select
    study_id, category,
    count(*) as n_tried,
    count(*) filter (verdict = 'accepted') as n_accepted,
    coalesce(sum(touched.gain_bpb) filter (verdict = 'accepted'), 0) as gain_bpb
from touched
join studies using (study_id)
where ($study_id is null or study_id = $study_id)
  and ($tier is null or tier = $tier)
  and ($track is null or track = $track)
group by study_id, category
order by study_id, category
