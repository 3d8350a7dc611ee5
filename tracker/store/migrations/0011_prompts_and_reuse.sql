-- In which form a run put its questions, and which earlier runs answered those that it did not ask again.

alter table runs add column reused json;
alter table runs add column prompts json;

comment on column runs.reused is 'Earlier runs with items that this run reused: run_id, n_items, started_at, base_url; null: before this was recorded';
comment on column runs.prompts is 'Per task: chat (through the chat template or as plain text), system (with a system message); null: before this was recorded';
