-- Auto-research: studies, their trials, every exchange with a model, every training behind a verdict.
-- All of it can be rebuilt from studies/*/. Losses are bits per byte, gains bits per byte saved.

create table studies (
    study_id text primary key,  -- sorts by time
    agent text not null,  -- kind: model, random, tpe, cma, scripted
    agent_name text not null,  -- on the board
    model_id text,
    revision text,
    engine text,
    tier text not null,
    track text not null,
    seed bigint not null,
    n_trials bigint not null,
    wave_size bigint not null,
    placebo_share double not null,
    status text not null,
    reason text,
    detail text,
    warnings json not null,
    started_at timestamp not null,
    ended_at timestamp,
    pid bigint not null,
    corpus_hash text not null,
    script_hash text not null,
    program_hash text not null,
    harness_version text not null,
    program text not null,
    sandbox text not null,
    hardware json not null,
    incumbent json not null,
    -- the result, once it is complete
    baseline_bpb double,
    test_bpb double,
    best_val_bpb double,
    gain_bpb double,
    gain_ci_low double,
    gain_ci_high double,
    claimed_gain_bpb double
);

create table trials (
    study_id text not null,
    slot bigint not null,
    wave bigint not null,
    is_placebo boolean not null,
    verdict text not null,
    proposer text not null,
    rationale text not null,
    params json,  -- null: nothing could be read out of the answer
    script text,  -- null: the shipped one
    diff text,
    problem text,
    parent json not null,
    categories text[] not null,
    n_pairs bigint not null,
    n_confirmations bigint not null,
    val_bpb double,  -- of the first pair: what the agent was shown
    parent_val_bpb double,
    p_better double,
    claimed_gain_bpb double,
    confirmed_gain_bpb double,
    reason text,
    detail text,
    started_at timestamp not null,
    ended_at timestamp not null,
    prompt_tokens bigint not null,
    output_tokens bigint not null,
    latency_s double not null,
    primary key (study_id, slot)
);

create table proposals (
    study_id text not null,
    slot bigint not null,
    place bigint not null,  -- one row per exchange; a repair turn is a second
    verdict text not null,
    prompt text not null,
    reply text not null,
    thinking text,
    finish_reason text not null,
    prompt_tokens bigint not null,
    output_tokens bigint not null,
    latency_s double not null,
    primary key (study_id, slot, place)
);

create table trainings (
    study_id text not null,
    slot bigint not null,  -- -1: the final comparison on `test`
    phase text not null,  -- gate, confirmation, test
    place bigint not null,  -- of the pair within its phase
    role text not null,  -- parent, child
    key text not null,  -- equal key, the same training: it was paid for once
    seed bigint not null,
    status text not null,
    reason text,
    detail text,
    val_bpb double,
    select_bpb double,
    test_bpb double,
    curve json not null,  -- [[training tokens seen, nats per token], …]
    n_tokens bigint not null,
    n_params bigint,
    train_s double not null,
    cpu_s double not null,
    eval_s double not null,
    tokens_per_s double,
    mfu double,
    peak_memory_bytes bigint,
    device text not null,
    primary key (study_id, slot, phase, place, role)
);
