-- What was measured here: the models, their runs, and one score per task of a run.
-- All of it can be rebuilt from items/*/run.json. Times are UTC. Later tables come as new files:
-- a migration is never edited.

create table store_state (
    change_id text not null  -- new with every write; a snapshot that carries the same one is up to date
);

insert into store_state values ('empty');

create table models (
    model_id text not null,
    revision text not null,
    path text,  -- local folder; null: the Hub's cache
    quantization text,  -- as published; null: 16 or 32 bits
    n_params bigint,
    license text,
    needs_remote_code boolean not null,
    first_run_at timestamp not null,
    primary key (model_id, revision)
);

create table runs (
    run_id text primary key,
    -- the model
    model_id text not null,
    revision text not null,
    path text,
    model_quantization text,
    n_params bigint,
    license text,
    needs_remote_code boolean not null,
    -- what was asked
    suite text not null,
    suite_version integer not null,
    "limit" bigint,  -- the first N items of each task; null: all
    settings json not null,
    harness_version text not null,
    -- what became of it
    status text not null,
    reason text,
    detail text,
    warnings json not null,
    started_at timestamp not null,
    ended_at timestamp,
    pid bigint not null,
    n_items bigint not null,
    n_reused_items bigint not null,
    -- what answered; `engine` is the one asked for where none could be loaded
    engine text not null,
    engine_version text,
    dtype text,
    device text,
    max_model_len bigint,
    chat_template_hash text,
    quantization text,
    attention text,
    versions json not null,
    predicted_memory_bytes bigint,
    fit json,
    hardware json not null,
    -- what it cost
    duration_s double not null,
    load_s double,
    prompt_tokens bigint not null,
    prefilled_tokens bigint not null,
    output_tokens bigint not null,
    tokens_per_s double,
    ttft_s double,
    peak_memory_bytes bigint,
    energy_j double
);

create table task_scores (
    run_id text not null,
    place integer not null,  -- order within the run
    task text not null,
    metric text not null,
    filter text not null,
    value double not null,
    stderr double,
    ci_low double,
    ci_high double,
    n_items bigint not null,
    chance double not null,
    truncated_fraction double not null,
    fingerprint text not null,
    n_reused_items bigint not null,
    "group" text,
    n_total bigint,
    unparsed_fraction double,
    primary key (run_id, place)
);
