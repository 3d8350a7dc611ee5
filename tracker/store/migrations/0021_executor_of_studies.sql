-- Studies that trained on a cluster.

alter table studies add column executor varchar;

comment on column studies.executor is 'Where its trainings ran: `local`, `ray`, `slurm` or another executor; null: a study from before that, which trained locally';
