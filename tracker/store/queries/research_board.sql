-- One row per complete study on the board of agents. It excludes running studies, and studies whose agent's code
-- ran without a sandbox, since such code could have forged its score.
-- $tier, $track: only these; null for all.
with counted as (
    select
        study_id,
        count(*) filter (not is_placebo and verdict != 'invalid') as n_valid,
        count(*) filter (not is_placebo and verdict = 'duplicate') as n_duplicates,
        count(*) filter (not is_placebo and verdict = 'failed') as n_failed,
        count(*) filter (not is_placebo and verdict = 'caught') as n_caught,
        count(*) filter (is_placebo) as n_placebos,
        count(*) filter (is_placebo and verdict = 'accepted') as n_false_accepts,
        cast(sum(prompt_tokens) as bigint) as prompt_tokens,
        cast(sum(output_tokens) as bigint) as output_tokens,
        round(sum(latency_s), 3) as latency_s
    from trials
    group by study_id
),

-- without the trainings at a larger size, which are not every study's
paid as (
    select study_id, round(sum(train_s), 3) as train_s
    from (
        select study_id, key, max(train_s) as train_s
        from trainings
        where phase != 'transfer'
        group by study_id, key
    )
    group by study_id
),

-- trials of a wave run side by side; a study that was resumed did not work in between
worked as (
    select study_id, round(sum(wave_s) + max(latency_s), 3) as wall_s
    from (
        select
            study_id,
            epoch(max(ended_at) - min(started_at)) as wave_s,
            sum(sum(latency_s)) over (partition by study_id) as latency_s
        from trials
        group by study_id, wave
    )
    group by study_id
),

touched as (
    select
        study_id, slot, unnest(categories) as category, coalesce(confirmed_gain_bpb, 0) / len(categories) as gain_bpb
    from trials
    where not is_placebo and verdict = 'accepted' and len(categories) > 0
),

summed as (
    select study_id, category, sum(gain_bpb order by slot) as gain_bpb
    from touched
    group by study_id, category
),

profiled as (
    select study_id, cast(json_group_object(category, gain_bpb) as json) as gains_by_category
    from summed
    group by study_id
)

select
    studies.study_id, agent_name as agent, agent as kind, tier, track, n_trials, corpus_hash,
    rules, settings, seed, gain_bpb, gain_ci_low, gain_ci_high, claimed_gain_bpb,
    n_valid, n_duplicates, n_failed, n_caught, n_placebos, n_false_accepts,
    prompt_tokens, output_tokens, train_s, latency_s, wall_s, secret_hash, transfer_gain_bpb,
    baseline_bpb, ngram_bpb,
    coalesce(gains_by_category, cast('{}' as json)) as gains_by_category
from studies
join study_agents using (study_id)
join counted using (study_id)
join paid using (study_id)
join worked using (study_id)
left join profiled using (study_id)
where status = 'complete'
  and gain_bpb is not null
  and not (track = 'code' and sandbox = 'none')
  and ($tier is null or tier = $tier)
  and ($track is null or track = $track)
order by tier, track, n_trials, agent, seed, studies.study_id
