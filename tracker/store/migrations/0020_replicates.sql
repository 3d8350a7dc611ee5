-- Runs that asked everything again.

alter table runs add column replicate integer;

comment on column runs.replicate is 'Which measurement of the same this is (`--replicate`): of 2 and more every item was asked again, which tells how many change their score; null in runs of older versions, as 1';
