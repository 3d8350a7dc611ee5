-- Of a run with a limit, `limit` counts either the first items of each task or a random sample of them.

alter table runs add column sample_seed bigint;

comment on column runs.sample_seed is 'Seed of the random sample that limit counts; null: limit counts the first items, or is null';
