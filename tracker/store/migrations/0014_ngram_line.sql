-- The line of a table of counts, beside which the defaults and the gains of a study are read.

alter table studies add column ngram_bpb double;

comment on column studies.ngram_bpb is 'Bits per byte of the best n-gram table on `test`, counted on the text of one training; null: a task without such a line';
