-- One row per model and suite: the model's newest whole run that had ended at $at, measured here, with what is known
-- of the memory that it needs.
with newest as (
    select model_id, suite, max(run_id) as run_id
    from runs
    where status = 'complete' and "limit" is null and max_output_tokens is null and started_at <= $at
      and origin is null and coalesce(replicate, 1) = 1
    group by model_id, suite
)

select
    runs.run_id, runs.peak_memory_bytes, runs.memory_basis, runs.engine, runs.device, runs.n_params,
    cast(runs.fit ->> 'weights_bytes' as bigint) as weights_bytes,
    cast(runs.fit ->> 'overhead_bytes' as bigint) as overhead_bytes,
    cast(runs.fit ->> 'kv_cache_bytes' as double)
        / nullif(cast(runs.fit ->> 'context' as bigint) * cast(runs.fit ->> 'n_sequences' as bigint), 0)
        as cache_bytes_per_token
from newest
join runs using (run_id)
