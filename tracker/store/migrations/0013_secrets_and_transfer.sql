-- The secret that a study's seeds follow from, and what its final change gains at a larger size.

alter table studies add column secret_hash text;
alter table studies add column secret text;
alter table studies add column has_transfer boolean;
alter table studies add column transfer_n_params bigint;
alter table studies add column transfer_n_tokens bigint;
alter table studies add column transfer_gain_bpb double;
alter table studies add column transfer_gain_ci_low double;
alter table studies add column transfer_gain_ci_high double;
alter table studies add column transfer_detail text;

comment on column studies.secret_hash is 'SHA-256 of the secret that the seeds of its trainings follow from; null: they follow from seed, which an agent can compute';
comment on column studies.secret is 'That secret, once the study is complete: `tracker research run --study-secret` repeats it';
comment on column studies.has_transfer is 'Whether its final change is tried at a larger size; null: a study from before that';
comment on column studies.transfer_n_params is 'Parameters of the defaults at that size';
comment on column studies.transfer_n_tokens is 'Tokens of a training at that size';
comment on column studies.transfer_gain_bpb is 'Bits per byte saved on `test` at that size; null: not tried, or failed';
comment on column studies.transfer_gain_ci_low is 'Lower end of its 95% interval';
comment on column studies.transfer_gain_ci_high is 'Upper end of its 95% interval';
comment on column studies.transfer_detail is 'Why there is no such gain, in a sentence';
