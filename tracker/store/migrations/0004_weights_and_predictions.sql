-- Which weights a repository has at a commit, and where the memory that a job needs is known from.

create table weights (
    model_id text not null,
    revision text not null,
    weights_hash text not null,  -- over names and contents of the safetensors files
    seen_at timestamp not null,
    primary key (model_id, revision)
);

alter table jobs add column predicted_by text;  -- "fit": from headers and configuration; "weights": from their size
