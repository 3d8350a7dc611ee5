-- The mean of a run's tasks, where that ended the run.

alter table runs add column suite_mean json;

comment on column runs.suite_mean is 'Of `--until-mean`: tasks, value (each task counted equally), ci_low, ci_high (95%, valid at every look), n_items, n_total, wanted_half_width; null: the run did not end so';
