-- Counts of an ingest that were not stored, rows that an answer would take away, and values with a date.

alter table ingests add column n_problems bigint;  -- rows left out; `problems` has the first ones
alter table ingests add column n_overwritten bigint;

-- What the last answer of a source lacked and has not been withdrawn: the same answer on another day confirms it.
create table held_rows (
    source text not null,
    key text not null,  -- of a row in model_snapshots or published_scores
    missing_since date not null,
    primary key (source, key)
);

-- Series that a source publishes with dates. A newer answer replaces the value of a day.
create table dated_values (
    source text not null,
    series text not null,
    day date not null,
    name text not null,
    value double not null,
    unit text not null,
    ci_low double,
    ci_high double,
    access text not null,
    ingest_id text not null,  -- of the last answer that changed it
    primary key (source, series, day, name)
);

comment on column ingests.n_problems is 'Rows left out; problems has the first ones; null: not counted by an older version';
comment on column ingests.n_overwritten is 'Scores replaced by a later one of the same answer with the same identity; null: not counted by an older version';
comment on table held_rows is 'Rows missing from the last answer of a source that were not withdrawn, because too many were missing';
comment on column held_rows.source is 'Source, see sources';
comment on column held_rows.key is 'Row in model_snapshots or published_scores';
comment on column held_rows.missing_since is 'Day of the first answer without it; the same answer on a later day withdraws it';
comment on table dated_values is 'Series that a source publishes with dates: boards of ratings, shares of tokens';
comment on column dated_values.source is 'Source, see sources';
comment on column dated_values.series is 'Series';
comment on column dated_values.day is 'Day that the source gives';
comment on column dated_values.name is 'Model as the source writes it';
comment on column dated_values.value is 'Value in unit';
comment on column dated_values.unit is 'rating, fraction, index';
comment on column dated_values.ci_low is 'Lower end of the interval that the source states';
comment on column dated_values.ci_high is 'Upper end of the interval that the source states';
comment on column dated_values.access is 'open, closed or unknown, as the source labels the model on that day';
comment on column dated_values.ingest_id is 'Ingest that wrote the value, see ingests';
