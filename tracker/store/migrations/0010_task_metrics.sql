-- Every metric that a task computes, in its own unit; task_scores has the one of each task that is a share.

create table task_metrics (
    run_id text not null,
    place integer not null,
    task text not null,
    metric text not null,
    filter text not null,
    value double not null,
    stderr double,
    n_items bigint not null,
    higher_is_better boolean,
    is_headline boolean not null,
    primary key (run_id, place)
);

comment on table task_metrics is 'One row per run, task, metric and filter, in the unit of the metric';
comment on column task_metrics.run_id is 'Run, see runs; sorts by time';
comment on column task_metrics.place is 'Order within the run, from 0';
comment on column task_metrics.task is 'Task as lm-eval names it';
comment on column task_metrics.metric is 'Metric as lm-eval names it';
comment on column task_metrics.filter is 'Filter that extracted the answer';
comment on column task_metrics.value is 'Value in the unit of the metric';
comment on column task_metrics.stderr is 'Standard error; null: the metric is no mean over items';
comment on column task_metrics.n_items is 'Items that the value rests on';
comment on column task_metrics.higher_is_better is 'Whether more is better; null: the task does not say';
comment on column task_metrics.is_headline is 'Whether the score of the task in task_scores is this metric';
comment on column runs."limit" is 'Only N items of each task, see sample_seed; null: all';
