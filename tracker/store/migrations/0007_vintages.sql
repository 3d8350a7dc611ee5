create table vintages (
    vintage_id text primary key,
    source text not null,
    day date not null,
    ingested_at timestamp not null,
    confirmed_at timestamp not null,
    digest text not null,
    n_models integer not null,
    n_scores integer not null,
    n_benchmarks integer not null,
    is_accepted boolean not null,
    reason text,
    is_refitted boolean not null,
    refit_n integer,
    refit_mean_error double,
    refit_max_error double
);

create table vintage_models (
    vintage_id text not null,
    model text not null,
    organization text not null,
    country text not null,
    access text not null,
    released date not null,
    index double,
    ci_low double,
    ci_high double,
    draws float[] not null
);

create table vintage_scores (
    vintage_id text not null,
    model text not null,
    benchmark text not null,
    score double not null,
    model_version text,
    source text
);

create table vintage_benchmarks (
    vintage_id text not null,
    benchmark text not null,
    chance double not null,
    ceiling double not null,
    released date,
    superseded_by text,
    is_anchor boolean not null,
    difficulty double,
    slope double,
    difficulty_draws float[] not null,
    slope_draws float[] not null
);

comment on table vintages is 'One row per different state of a published index that was ingested';
comment on column vintages.vintage_id is 'Identity; sorts by the time of the ingest';
comment on column vintages.source is 'Source, see sources';
comment on column vintages.day is 'Day of the data: of the newest release or evaluation in them';
comment on column vintages.ingested_at is 'When the source first said so, UTC';
comment on column vintages.confirmed_at is 'When the source last said the same, UTC';
comment on column vintages.digest is 'Hash of the content';
comment on column vintages.n_models is 'Models in it';
comment on column vintages.n_scores is 'Scores in it that the index is fitted to';
comment on column vintages.n_benchmarks is 'Benchmarks in it';
comment on column vintages.is_accepted is 'Whether answers use it; false: much was missing, and nothing confirmed that';
comment on column vintages.reason is 'Why it is not accepted or could not be refitted; null: neither';
comment on column vintages.is_refitted is 'Whether the index was refitted; otherwise the published values are used';
comment on column vintages.refit_n is 'Models behind the two errors; null: not compared';
comment on column vintages.refit_mean_error is 'Mean distance between refitted and published index, in points';
comment on column vintages.refit_max_error is 'Largest distance, in points';

comment on table vintage_models is 'One row per vintage and model of the published index';
comment on column vintage_models.vintage_id is 'Vintage, see vintages';
comment on column vintage_models.model is 'Model as the index names it';
comment on column vintage_models.organization is 'Developer; empty: not known';
comment on column vintage_models.country is 'Country of the developer; empty: not known';
comment on column vintage_models.access is 'open, closed or unknown';
comment on column vintage_models.released is 'Release';
comment on column vintage_models.index is 'Published index; null: none';
comment on column vintage_models.ci_low is 'Lower end of the published 90% interval; null: none';
comment on column vintage_models.ci_high is 'Upper end of the published 90% interval; null: none';
comment on column vintage_models.draws is 'Published joint draws of the index; empty: none';

comment on table vintage_scores is 'One row per vintage, model and benchmark: what the index is fitted to';
comment on column vintage_scores.vintage_id is 'Vintage, see vintages';
comment on column vintage_scores.model is 'Model, see vintage_models';
comment on column vintage_scores.benchmark is 'Benchmark, see vintage_benchmarks';
comment on column vintage_scores.score is 'Chance is 0, the ceiling is 1';
comment on column vintage_scores.model_version is 'Release and effort that reached it; null: not known';
comment on column vintage_scores.source is 'Who published it; null: the publisher of the index ran it';

comment on table vintage_benchmarks is 'One row per vintage and benchmark of the published index';
comment on column vintage_benchmarks.vintage_id is 'Vintage, see vintages';
comment on column vintage_benchmarks.benchmark is 'Benchmark as the index names it';
comment on column vintage_benchmarks.chance is 'Raw score that counts as 0';
comment on column vintage_benchmarks.ceiling is 'Raw score that counts as 1';
comment on column vintage_benchmarks.released is 'First publication; null: not known';
comment on column vintage_benchmarks.superseded_by is 'Benchmark that replaces it where a model has both; null: none';
comment on column vintage_benchmarks.is_anchor is 'Whether it fixes the slope of the index';
comment on column vintage_benchmarks.difficulty is 'Published difficulty on the scale of the index; null: none';
comment on column vintage_benchmarks.slope is 'Published slope; null: none';
comment on column vintage_benchmarks.difficulty_draws is 'Published joint draws of the difficulty; empty: none';
comment on column vintage_benchmarks.slope_draws is 'Published joint draws of the slope; empty: none';
