-- One row per trial of an agent, in order: the study's gain so far, summed over the gains that were confirmed under
-- fresh seeds. Placebos do not count; failed studies are left out.
select
    studies.study_id, agent_name as agent, agent as kind, tier, track, n_trials, corpus_hash,
    rules, settings, seed, status,
    row_number() over (partition by study_id order by slot) as number,
    sum(case when verdict = 'accepted' then coalesce(confirmed_gain_bpb, 0) else 0 end)
        over (partition by study_id order by slot) as gain_bpb
from trials
join studies using (study_id)
join study_agents using (study_id)
where not is_placebo and status != 'failed'
order by study_id, number
