-- One row per study of auto-research that was completed in ($since, $until] and counts on the board, oldest first.
with counted as (
    select
        study_id,
        count(*) filter (not is_placebo and verdict = 'caught') as n_caught,
        cast(sum(output_tokens) as bigint) as output_tokens,
        round(sum(latency_s), 3) as latency_s
    from trials
    group by study_id
)

select
    studies.study_id, agent_name as agent, tier, track, n_trials, seed, gain_bpb, gain_ci_low, gain_ci_high,
    test_bpb, ngram_bpb, transfer_gain_bpb, n_caught, output_tokens, latency_s
from studies
join counted using (study_id)
where status = 'complete'
  and gain_bpb is not null
  and not (track = 'code' and sandbox = 'none')
  and ended_at > $since and ended_at <= $until
order by ended_at, studies.study_id
