-- The speed of a model as a load generator measured it, and each concurrency of its sweep.

create table speeds (
    speed_id varchar primary key,
    model_id varchar not null,
    revision varchar not null,
    path varchar,
    model_quantization varchar,
    n_params bigint,
    license varchar,
    needs_remote_code boolean not null,
    status varchar not null,
    reason varchar,
    detail varchar,
    started_at timestamp not null,
    ended_at timestamp,
    engine varchar not null,
    engine_version varchar,
    dtype varchar,
    device varchar,
    max_model_len bigint,
    settings json not null,
    generator varchar not null,
    generator_version varchar not null,
    endpoint varchar not null,
    input_tokens bigint not null,
    asked_output_tokens bigint not null,
    prompt_tokens bigint not null,
    ignores_end boolean not null,
    counts_from varchar not null,
    bound json not null,
    load_s double,
    peak_memory_bytes bigint,
    n_cards integer not null,
    hardware json not null,
    warnings json not null
);

create table speed_levels (
    speed_id varchar not null,
    place integer not null,
    concurrency bigint not null,
    n_requests bigint not null,
    n_answered bigint not null,
    n_good bigint not null,
    duration_s double not null,
    prompt_tokens bigint not null,
    output_tokens bigint not null,
    output_tokens_per_s double not null,
    requests_per_s double not null,
    goodput_per_s double not null,
    ttft_s double,
    ttft_ci_low double,
    ttft_ci_high double,
    ttft_p90_s double,
    ttft_p99_s double,
    tpot_s double,
    tpot_ci_low double,
    tpot_ci_high double,
    tpot_p90_s double,
    tpot_p99_s double,
    itl_s double,
    itl_p90_s double,
    itl_p99_s double,
    e2el_s double,
    e2el_ci_low double,
    e2el_ci_high double,
    e2el_p90_s double,
    e2el_p99_s double,
    energy_j double,
    joules_per_token double,
    error varchar not null,
    primary key (speed_id, place)
);

comment on table speeds is 'One row per measurement of speed by a load generator against the server of an engine';
comment on column speeds.speed_id is 'Identity, and name of the folder under speeds/; sorts by time';
comment on column speeds.model_id is 'Model, see models';
comment on column speeds.revision is 'Commit of the weights';
comment on column speeds.path is 'Folder or file of the weights; null: the Hub';
comment on column speeds.n_params is 'Number of parameters; null: not known';
comment on column speeds.license is 'License; null: not stated';
comment on column speeds.needs_remote_code is 'Whether the repository runs code of its own';
comment on column speeds.model_quantization is 'Quantization of the published weights; null: none';
comment on column speeds.status is 'complete, partial, interrupted or failed';
comment on column speeds.reason is 'Machine-readable cause of anything but complete';
comment on column speeds.detail is 'The same for people';
comment on column speeds.started_at is 'Start, UTC';
comment on column speeds.ended_at is 'End, UTC; null after a kill';
comment on column speeds.engine is 'Engine whose server answered';
comment on column speeds.engine_version is 'Its version; null: it was never ready';
comment on column speeds.dtype is 'Data type of the weights';
comment on column speeds.device is 'Device as the engine reports it; server: another machine, or not known';
comment on column speeds.max_model_len is 'Longest context in tokens; 0: not reported';
comment on column speeds.settings is 'JSON: the settings of the engine';
comment on column speeds.generator is 'Load generator';
comment on column speeds.generator_version is 'Its version';
comment on column speeds.endpoint is 'Path of the requests, after the base URL';
comment on column speeds.input_tokens is 'Tokens of a prompt that were asked for';
comment on column speeds.prompt_tokens is 'Tokens of one prompt, as the server counted them; 0: it was not asked';
comment on column speeds.asked_output_tokens is 'Most tokens of an answer';
comment on column speeds.ignores_end is 'Whether every answer has that length, whatever the model would do';
comment on column speeds.counts_from is 'Who counted output tokens: server, or pieces of the stream where the generator passes no count on';
comment on column speeds.bound is 'JSON: the bound of goodput: ttft_s, tpot_s, e2el_s in seconds; null: none';
comment on column speeds.load_s is 'Seconds until the server was ready; null: it was running already';
comment on column speeds.peak_memory_bytes is 'Peak memory of the server; null: it was not started here';
comment on column speeds.n_cards is 'Cards whose energy counts; 0: none';
comment on column speeds.hardware is 'JSON: cores, memory, cards and driver';
comment on column speeds.warnings is 'JSON list: warnings';
comment on table speed_levels is 'One row per measurement of speed and number of requests under way at once';
comment on column speed_levels.speed_id is 'Measurement, see speeds';
comment on column speed_levels.place is 'Place in the sweep';
comment on column speed_levels.concurrency is 'Requests under way at once';
comment on column speed_levels.n_requests is 'Requests sent';
comment on column speed_levels.n_answered is 'Requests answered';
comment on column speed_levels.n_good is 'Requests answered within the bound';
comment on column speed_levels.duration_s is 'Seconds from the first request to the last answer';
comment on column speed_levels.prompt_tokens is 'Tokens of the prompts';
comment on column speed_levels.output_tokens is 'Tokens written';
comment on column speed_levels.output_tokens_per_s is 'Output tokens per second, of all requests together';
comment on column speed_levels.requests_per_s is 'Requests answered per second';
comment on column speed_levels.goodput_per_s is 'Requests per second answered within the bound';
comment on column speed_levels.ttft_s is 'Median seconds to the first token';
comment on column speed_levels.ttft_ci_low is 'Its 95% interval over requests; null: fewer than six';
comment on column speed_levels.ttft_ci_high is 'Its upper end';
comment on column speed_levels.ttft_p90_s is 'Its 90th percentile';
comment on column speed_levels.ttft_p99_s is 'Its 99th percentile';
comment on column speed_levels.tpot_s is 'Median seconds per output token after the first, mean of each request';
comment on column speed_levels.tpot_ci_low is 'Its 95% interval over requests; null: fewer than six';
comment on column speed_levels.tpot_ci_high is 'Its upper end';
comment on column speed_levels.tpot_p90_s is 'Its 90th percentile';
comment on column speed_levels.tpot_p99_s is 'Its 99th percentile';
comment on column speed_levels.itl_s is 'Median seconds between two pieces of an answer, over all of them';
comment on column speed_levels.itl_p90_s is 'Its 90th percentile';
comment on column speed_levels.itl_p99_s is 'Its 99th percentile';
comment on column speed_levels.e2el_s is 'Median seconds to the last token';
comment on column speed_levels.e2el_ci_low is 'Its 95% interval over requests; null: fewer than six';
comment on column speed_levels.e2el_ci_high is 'Its upper end';
comment on column speed_levels.e2el_p90_s is 'Its 90th percentile';
comment on column speed_levels.e2el_p99_s is 'Its 99th percentile';
comment on column speed_levels.energy_j is 'Joules of the cards in this time; null: they do not report it';
comment on column speed_levels.joules_per_token is 'Joules of the cards per output token';
comment on column speed_levels.error is 'Why the first unanswered request was not answered; empty: all were';
