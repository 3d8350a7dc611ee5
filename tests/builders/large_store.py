"""A large store of invented runs, for the app's tests and benchmark.

Rows are written with SQL and items with Arrow: a record per row would take an hour. The columns are real.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tracker.files.parts import SCHEMA
from tracker.settings import Settings
from tracker.store import publish
from tracker.store.database import open_database

SUITES = ("quick", "broad")
N_TASKS = 20  # of each suite
ITEMS_OF_RUN = 20_000  # of the runs that have items on disk


@dataclass(frozen=True, slots=True)
class Size:
    """The size of the store; every model has one run of each suite, and a score on each of its tasks."""

    n_models: int = 5000
    n_items: int = 2_000_000

    @property
    def n_scores(self) -> int:
        """Total number of scores."""
        return self.n_models * len(SUITES) * N_TASKS


MODELS = """
create temp table made as
select
    i, 'lab' || lpad((i % 60)::text, 2, '0') || '/model-' || lpad(i::text, 5, '0') as model_id,
    md5(i::text) || substr(md5(i::text), 1, 8) as revision,
    (0.5 + 70 * pow((hash(i) % 1000) / 1000.0, 2)) * 1e9 as n_params,
    ['apache-2.0', 'mit', 'llama3.2', 'other'][1 + i % 4] as license
from range($n_models) as numbers(i)
"""
RUNS = """
insert into runs by name
select
    strftime(started_at, '%Y%m%dT%H%M%S') || '-' || lpad(to_hex(i), 5, '0') || (suite_place::text)
        as run_id,
    model_id, revision, null as path, null as model_quantization, n_params::bigint as n_params,
    license, false as needs_remote_code, suite, 1 as suite_version, null as "limit",
    '{"max_model_len": null, "thinking": null}' as settings, '0.4.13' as harness_version,
    'complete' as status, null as reason, null as detail, '[]' as warnings,
    started_at, started_at + interval 5 minute as ended_at, 4242 as pid,
    $items_of_run as n_items, 0 as n_reused_items, 'vllm' as engine, '0.32.0' as engine_version,
    'bfloat16' as dtype, 'NVIDIA H100 80GB HBM3' as device, 4096 as max_model_len,
    null as chat_template_hash, null as quantization, null as attention, '{}' as versions,
    (n_params * 2.2)::bigint as predicted_memory_bytes,
    json_object('weights_bytes', (2 * n_params)::bigint, 'overhead_bytes', 1500000000, 'context', 4096,
        'n_sequences', 1, 'kv_cache_bytes', (n_params / 60000 * 4096)::bigint) as fit,
    '{}' as hardware, 300.0 as duration_s, 20.0 as load_s, 2000000 as prompt_tokens,
    500000 as prefilled_tokens,
    400000 as output_tokens, 30000 / (1 + n_params / 1e9) as tokens_per_s, 0.04 as ttft_s,
    (n_params * 2.4)::bigint as peak_memory_bytes, 'used' as memory_basis, 90000.0 as energy_j
from (
    select *, timestamp '2026-01-01' + interval 1 minute * (i * 2 + suite_place) as started_at
    from made
    cross join (select unnest($suites) as suite, unnest(range(len($suites))) as suite_place)
)
"""
SCORES = """
insert into task_scores by name
select
    run_id, place::integer as place, suite || '_task_' || lpad(place::text, 2, '0') as task, 'acc' as metric,
    'none' as filter, value, 0.015 as stderr, greatest(value - 0.03, 0) as ci_low,
    least(value + 0.03, 1) as ci_high, 1000 as n_items, 0.25 as chance, 0.01 as truncated_fraction,
    md5(run_id || place::text) as fingerprint, 0 as n_reused_items, null as "group", 1000 as n_total,
    0.02 as unparsed_fraction
from (
    select runs.run_id, runs.suite, place,
        least(greatest(
            0.25 + 0.1 * ln(1 + n_params / 1e9) + (hash(run_id || place::text) % 1000) / 4000.0, 0
        ), 1) as value
    from runs
    cross join range($n_tasks) as places(place)
)
"""
KNOWN = """
insert into model_snapshots by name
select
    '20261101T000000-hub-models' as ingest_id, 'hub-models' as source, timestamp '2026-11-01' as seen_at,
    model_id as name, lower(model_id) as key, md5(model_id) as fingerprint, false as is_gone,
    null as renamed_to, null as hub_id, split_part(model_id, '/', 1) as organization, 'open' as access,
    'chat' as kind,
    timestamp '2026-01-01' as released_at, timestamp '2026-01-01' as last_modified_at, revision,
    license, null as gated, null as pipeline_tag, n_params::bigint as n_params,
    (2 * n_params)::bigint as weights_bytes,
    false as is_packed, true as has_safetensors, false as needs_remote_code, false as is_disabled,
    []::text[] as base_models, 131072 as max_context, null as price_in_usd_per_mtok,
    null as price_out_usd_per_mtok, i as downloads, i as likes, i as trending
from made
"""
REST = """
insert into models by name
select model_id, revision, null as path, null as quantization, n_params::bigint as n_params, license,
    false as needs_remote_code, timestamp '2026-01-01' as first_run_at
from made;
insert into sources values ('hub-models', 'Hugging Face Hub, models', 'https://huggingface.co/models',
    'Hub terms', 'Model metadata: Hugging Face Hub', false);
insert into ingests by name
select '20261101T000000-hub-models' as ingest_id, 'hub-models' as source, 'completed' as status,
    timestamp '2026-11-01' as started_at, timestamp '2026-11-01 00:05:00' as ended_at, count(*) as n_seen,
    count(*) as n_new, 0 as n_changed, 0 as n_gone, '[]'::json as problems, '[]'::json as raw_sha256
from made;
insert into published_scores by name
select
    '20261101T000000-hub-models' as ingest_id, 'hub-models' as source, timestamp '2026-11-01' as seen_at,
    md5(model_id || place::text) as key, md5(model_id || place::text) as fingerprint, false as is_withdrawn,
    model_id as name, 'Benchmark ' || place as benchmark, '' as variant, 0.5 + (i % 50) / 100.0 as value,
    'fraction' as unit, 'first_party' as reported_by, split_part(model_id, '/', 1) as reporter,
    false as is_verified
from made cross join range(4) as places(place);
insert into benchmark_tasks
select 'Benchmark ' || place, 'quick_task_0' || place, 'close' from range(4) as p(place);
"""


def build_large_store(home: Path, size: Size | None = None) -> Settings:
    """Fill `home` with models, scores and items, and publish the snapshot."""
    size = size or Size()
    settings = Settings(home=home)
    home.mkdir(parents=True, exist_ok=True)
    connection = open_database(settings.db_path, wait_s=1.0)
    connection.execute(MODELS, {"n_models": size.n_models})
    connection.execute(RUNS, {"suites": list(SUITES), "items_of_run": ITEMS_OF_RUN})
    connection.execute(SCORES, {"n_tasks": N_TASKS})
    connection.execute(KNOWN)
    connection.execute(REST)
    connection.execute("update store_state set change_id = 'large'")
    newest = connection.execute(
        "select run_id from runs where suite = $suite order by run_id desc limit $n",
        {"suite": SUITES[0], "n": -(-size.n_items // ITEMS_OF_RUN)},
    ).fetchall()
    runs = [run_id for (run_id,) in newest]
    scores = connection.execute(
        "select run_id, task, fingerprint from task_scores where run_id in (select unnest($runs))",
        {"runs": runs},
    ).fetchall()
    connection.close()
    n_each = size.n_items // max(len(scores), 1)
    for number, (run_id, task, fingerprint) in enumerate(scores):
        _write_items(settings.items_path / run_id, task, fingerprint, n=n_each, seed=number)
    publish(settings)
    return settings


def _write_items(folder: Path, task: str, fingerprint: str, *, n: int, seed: int) -> None:
    """One part with `n` items of one task, as a worker writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    is_right = np.random.default_rng(seed).random(n) < 0.6
    numbers = range(n)
    same = {"run_id": folder.name, "fingerprint": fingerprint, "task": task, "metrics": "{}"}
    same |= {"finish_reason": "stop", "prompt_tokens": 48, "output_tokens": 9, "cached_tokens": 40}
    answers = [str(number + 17) if right else "0" for number, right in zip(numbers, is_right, strict=True)]
    columns: dict[str, pa.Array] = {name: pa.array([value] * n) for name, value in same.items()}
    columns |= {
        "doc_id": pa.array(numbers),
        "doc_hash": pa.array([f"{number:08x}" for number in numbers]),
        "prompt": pa.array(
            [f"What is {number} + 17? Think, then say: The answer is N." for number in numbers]
        ),
        "target": pa.array([str(number + 17) for number in numbers]),
        "response": pa.array([f"The answer is {answer}." for answer in answers]),
        "extracted": pa.array(answers),
        "score": pa.array(is_right.astype(float)),
    }
    empty = {field.name: pa.nulls(n, field.type) for field in SCHEMA if field.name not in columns}
    table = pa.table(columns | empty).select(SCHEMA.names).cast(SCHEMA)
    pq.write_table(
        table, folder / f"{fingerprint}-000000.parquet", compression="zstd", write_page_checksum=True
    )
