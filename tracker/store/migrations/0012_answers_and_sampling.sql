-- What became of written answers, their score without those that did not end, and how tokens were chosen.

alter table task_scores add column empty_fraction double;
alter table task_scores add column only_thinking_fraction double;
alter table task_scores add column cut_thinking_fraction double;
alter table task_scores add column completed_fraction double;
alter table task_scores add column completed_value double;
alter table task_scores add column completed_ci_low double;
alter table task_scores add column completed_ci_high double;
alter table task_scores add column repeats integer;
alter table task_scores add column mean_output_tokens double;
alter table runs add column sampling text;
alter table runs add column sampling_values json;
alter table runs add column repeats integer;
alter table runs add column max_output_tokens integer;
alter table runs add column memory_basis text;

comment on column task_scores.empty_fraction is 'Share of answers that the model ended without text; null: no answer is written, or not counted';
comment on column task_scores.only_thinking_fraction is 'Share of answers that ended with text in the thinking alone';
comment on column task_scores.cut_thinking_fraction is 'Share of answers cut off at the token limit before the thinking ended';
comment on column task_scores.completed_fraction is 'Share of answers that ended by themselves, with text';
comment on column task_scores.completed_value is 'Score of these answers alone, 0 to 1';
comment on column task_scores.completed_ci_low is 'Lower end of its 95% interval';
comment on column task_scores.completed_ci_high is 'Upper end of its 95% interval';
comment on column task_scores.repeats is 'Times that each item was asked; null: once';
comment on column task_scores.mean_output_tokens is 'Mean tokens of an answer, with its thinking';
comment on column runs.sampling is 'How tokens of written answers were chosen: task, greedy or model; null: as the task says';
comment on column runs.sampling_values is 'JSON: the settings of the checkpoint that were used, for sampling model';
comment on column runs.repeats is 'Times that each question with a sampled answer was asked';
comment on column runs.max_output_tokens is 'Token budget asked for each written answer; null: as suite and tasks say';
comment on column runs.memory_basis is 'What peak_memory_bytes counts: used, without what was only reserved; predicted, in part; null: all that was taken, with vllm a share of the card';
