-- What a run found about the model beside a reference, where that ended its tasks.

alter table runs add column against json;

comment on column runs.against is 'Per task of `--until-better-than`: reference, task, n_items, n_total, difference, ci_low, ci_high (95%, valid at every look); empty: none; null: before this was recorded';
