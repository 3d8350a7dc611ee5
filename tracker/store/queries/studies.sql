-- One row per study, newest first, with its trials by verdict and its cost so far: a training counts once per
-- study, however many comparisons use it. Seconds are rounded as measured, so that the order of summation does not
-- show.
-- $study_id, $tier, $track: only these; null for all.
with counted as (
    select
        study_id,
        count(*) filter (not is_placebo) as n_done,
        count(*) filter (not is_placebo and verdict not in ('invalid')) as n_valid,
        count(*) filter (not is_placebo and verdict = 'accepted') as n_accepted,
        count(*) filter (not is_placebo and verdict = 'rejected') as n_rejected,
        count(*) filter (not is_placebo and verdict = 'duplicate') as n_duplicates,
        count(*) filter (not is_placebo and verdict = 'invalid') as n_invalid,
        count(*) filter (not is_placebo and verdict = 'failed') as n_failed,
        count(*) filter (not is_placebo and verdict = 'caught') as n_caught,
        count(*) filter (is_placebo) as n_placebos,
        count(*) filter (is_placebo and verdict = 'accepted') as n_false_accepts,
        sum(prompt_tokens) as prompt_tokens,
        sum(output_tokens) as output_tokens,
        round(sum(latency_s), 3) as latency_s
    from trials
    group by study_id
),

paid as (
    select
        study_id,
        count(*) as n_trainings,
        round(sum(train_s), 3) as train_s,
        round(sum(cpu_s), 3) as cpu_s,
        round(sum(eval_s), 3) as eval_s
    from (
        select study_id, key, max(train_s) as train_s, max(cpu_s) as cpu_s, max(eval_s) as eval_s
        from trainings
        group by study_id, key
    )
    group by study_id
)

select
    studies.*,
    rules,
    coalesce(n_done, 0) as n_done,
    coalesce(n_valid, 0) as n_valid,
    coalesce(n_accepted, 0) as n_accepted,
    coalesce(n_rejected, 0) as n_rejected,
    coalesce(n_duplicates, 0) as n_duplicates,
    coalesce(n_invalid, 0) as n_invalid,
    coalesce(n_failed, 0) as n_failed,
    coalesce(n_caught, 0) as n_caught,
    coalesce(n_placebos, 0) as n_placebos,
    coalesce(n_false_accepts, 0) as n_false_accepts,
    coalesce(cast(prompt_tokens as bigint), 0) as prompt_tokens,
    coalesce(cast(output_tokens as bigint), 0) as output_tokens,
    coalesce(latency_s, 0) as latency_s,
    coalesce(n_trainings, 0) as n_trainings,
    coalesce(train_s, 0) as train_s,
    coalesce(cpu_s, 0) as cpu_s,
    coalesce(eval_s, 0) as eval_s
from studies
join study_agents using (study_id)
left join counted using (study_id)
left join paid using (study_id)
where ($study_id is null or studies.study_id = $study_id)
  and ($tier is null or tier = $tier)
  and ($track is null or track = $track)
order by started_at desc, studies.study_id desc
