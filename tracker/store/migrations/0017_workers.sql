-- How many workers shared a run; its speed and memory are those of one of them.

alter table runs add column n_workers integer;

comment on column runs.n_workers is 'Workers that shared the run: tokens_per_s and peak_memory_bytes are those of one; null: before several were possible';
