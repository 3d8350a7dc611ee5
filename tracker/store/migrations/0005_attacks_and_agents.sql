-- What became of the scripted cheats, and what else than its name makes an agent of the board another one.
-- Attacks can be rebuilt from attacks/*.json.

create table attacks (
    suite_run_id text not null,  -- sorts by time
    started_at timestamp not null,
    ended_at timestamp not null,
    tier text not null,
    sandbox text not null,
    version text not null,
    is_whole boolean not null,  -- all cheats that there are, not some by name
    name text not null,
    outcome text not null,  -- caught, passed
    how text not null,
    primary key (suite_run_id, name)
);

alter table studies add column agent_settings json;  -- of the model and the hybrid; null: stored before this step

-- One row per study: by what it may be compared (`rules`), and which variant of its agent it is (`settings`).
create view study_agents as
select
    study_id,
    concat(script_hash[:12], ' ', program_hash[:12], ' ', harness_version) as rules,
    cast(json_merge_patch(
        json_object('wave', wave_size, 'revision', revision, 'engine', engine),
        coalesce(agent_settings, cast('{}' as json))
    ) as json) as settings
from studies;
