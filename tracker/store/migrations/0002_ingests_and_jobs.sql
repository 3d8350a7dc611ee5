-- What the sources say: one row per ingest, and of models and scores a new row only where something changed.
-- Nothing is overwritten: the state at an ingest is, per source and key, the newest row up to it.

create table sources (
    source text primary key,
    title text not null,
    url text not null,
    license text not null,
    attribution text not null,
    is_private boolean not null  -- left out of exports
);

create table ingests (
    ingest_id text primary key,  -- sorts by time
    source text not null,
    status text not null,
    started_at timestamp not null,
    ended_at timestamp,
    n_seen bigint not null,
    n_new bigint not null,
    n_changed bigint not null,
    n_gone bigint not null,
    reason text,
    problems json not null,
    raw_sha256 json not null,  -- of each answer, in their order
    watermark timestamp,  -- all that is older had been seen at the end of it
    resume text  -- where an unfinished one goes on
);

create table model_snapshots (
    ingest_id text not null,
    source text not null,
    seen_at timestamp not null,
    name text not null,
    key text not null,
    fingerprint text not null,  -- of all but popularity
    is_gone boolean not null,
    renamed_to text,
    hub_id text,
    organization text,
    access text not null,
    kind text not null,
    released_at timestamp,
    last_modified_at timestamp,
    revision text,
    license text,
    gated text,
    pipeline_tag text,
    n_params bigint,
    weights_bytes bigint,
    is_packed boolean not null,
    has_safetensors boolean,
    needs_remote_code boolean not null,
    is_disabled boolean not null,
    base_models text[] not null,
    max_context bigint,
    price_in_usd_per_mtok double,
    price_out_usd_per_mtok double,
    downloads bigint,
    likes bigint,
    trending bigint
);

create table published_scores (
    ingest_id text not null,
    source text not null,
    seen_at timestamp not null,
    key text not null,
    fingerprint text not null,
    is_withdrawn boolean not null,
    name text not null,
    benchmark text not null,
    variant text not null,
    value double not null,
    unit text not null,
    stderr double,
    ci_low double,
    ci_high double,
    n_items bigint,
    reported_by text not null,
    reporter text,
    source_url text,
    evaluated_on date,
    is_verified boolean not null
);

create table aliases (
    source text not null,
    name text not null,  -- as the source calls it
    model_id text not null,  -- Hub repository
    basis text not null,
    added_at timestamp not null,
    primary key (source, name)
);

create table benchmark_tasks (
    benchmark text primary key,  -- as a source names it
    task text not null,  -- of lm-eval
    match text not null  -- "exact", or "close": other prompts, shots or items
);

create table jobs (
    model_id text not null,
    suite text not null,
    suite_version integer not null,
    kind text not null,
    status text not null,
    priority double not null,
    set_priority double,  -- by a person; goes before the computed one
    reasons json not null,
    parked_reason text,
    revision text,
    n_params bigint,
    weights_bytes bigint,
    predicted_bytes bigint,
    attempts integer not null,
    lease_pid bigint,
    run_id text,
    added_at timestamp not null,
    updated_at timestamp not null,
    primary key (model_id, suite)
);

create view current_models as
select *
from model_snapshots
qualify row_number() over (partition by source, key order by ingest_id desc, seen_at desc) = 1;

create view current_scores as
select *
from published_scores
qualify row_number() over (partition by source, key order by ingest_id desc, seen_at desc) = 1;
