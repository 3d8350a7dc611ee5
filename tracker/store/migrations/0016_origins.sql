-- Runs that another program measured and that were imported here.

alter table runs add column origin json;

comment on column runs.origin is 'Where an imported run comes from, not measured here: tool, tool_version, file, sha256 (of its files), imported_at (UTC), evaluated_by; null: measured here';
