"""A store of up to 100 million items: pages, queries, a compaction, a rebuild, each in a process of its own.

`python -m benchmarks.store_size FOLDER [--items 10,000,000] [--small 0.05] [--only page,query] [--no-build]`

FOLDER becomes a home of invented runs: each has 10 tasks of 2,000 items with texts, whose answers are one of
eight sets per task. A share of the runs (`--small`) has its items in parts of 100, as a worker writes that
flushes every few seconds; those of the rest were joined before. `--no-build` measures a home as it is.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.builders.some_runs import model, run
from tracker.answers.shipped import answer_sql
from tracker.files.items import write_run
from tracker.files.parts import REPLACES_KEY, SCHEMA, WITH_STATISTICS, part_name
from tracker.records import TaskScore, fingerprint
from tracker.serialization import VERSION_KEY
from tracker.settings import Settings
from tracker.store import QueryLimits, compact, open_snapshot, publish, rebuild

N_TASKS, N_EACH = 10, 2_000  # of a run
ITEMS_OF_RUN = N_TASKS * N_EACH
SMALL = 100  # items in a part that a worker wrote
CORES = 2
MIB, GB = 2**20, 10**9
TIMEOUT_S = 600.0
WORDS = (
    "the a of train ship water seven blue circle river machine cost profit hour day school child price total"
    " half twice remaining first last each other store sold bought number minutes walks runs reads"
)
N_SETS = 8  # of answers to the questions of a task
# Stand in the content of a set until a run's own, of the same lengths, take their places.
RUN_ID, KEY = run(1).run_id, "0123456789abcdef" * 2
STATEMENTS = {
    "count": "select count(*) from items",
    "mean by task": "select task, avg(score) from items group by all order by all",
    "wrong answers of one run": "select doc_id, response from items where run_id = '{run_id}' and score = 0",
}


def build(home: Path, n_items: int, *, small: float) -> None:
    """Write the runs, on all cores; those that are there stay."""
    n_runs = -(-n_items // ITEMS_OF_RUN)
    began_s = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(CORES) as pool:
        jobs = ((str(home), number, (number * 7919) % 1000 < 1000 * small) for number in range(n_runs))
        n_bytes = sum(pool.imap_unordered(_write_run, jobs, chunksize=4))
    print(f"{n_runs:,} runs written, {n_bytes / GB:.2f} GB, {time.perf_counter() - began_s:,.0f} s")


def _write_run(job: tuple[str, int, bool]) -> int:
    home, number, is_small = job
    of = model(f"lab{number % 60:02d}/model-{number // 4:05d}")
    scores = tuple(_score(place, number, of.model_id) for place in range(N_TASKS))
    a_run = replace(run(number + 1, of=of, scores=scores, n_items=ITEMS_OF_RUN), metrics=())
    folder = Path(home, "items", a_run.run_id)
    if (folder / "run.json").exists():
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    n_bytes = 0
    for place, score in enumerate(scores):
        for part, content in enumerate(_contents(place, number * 7 % N_SETS, is_small)):
            own = content.replace(RUN_ID.encode(), a_run.run_id.encode())
            own = own.replace(KEY.encode(), score.fingerprint.encode())
            (folder / part_name(score.fingerprint, part, own)).write_bytes(own)
            n_bytes += len(own)
    write_run(folder.parent, a_run)
    return n_bytes


@lru_cache(maxsize=2 * N_TASKS * N_SETS)
def _contents(place: int, number: int, is_small: bool) -> list[bytes]:
    """The parts of a set of answers, in which run and fingerprint are not compressed."""
    rows = _rows(
        RUN_ID, place, replace(_score(place, number, ""), fingerprint=KEY), seed=place * N_SETS + number
    )
    size = SMALL if is_small else N_EACH
    compression = dict.fromkeys(SCHEMA.names, "zstd") | {"run_id": "none", "fingerprint": "none"}
    contents = []
    for start in range(0, N_EACH, size):
        metadata = {VERSION_KEY: "1"} | ({} if is_small else {REPLACES_KEY: '["joined.parquet"]'})
        out = pa.BufferOutputStream()
        pq.write_table(
            rows.slice(start, size).replace_schema_metadata(metadata),
            out,
            compression=compression,
            write_statistics=list(WITH_STATISTICS),
        )
        contents.append(out.getvalue().to_pybytes())
    return contents


def _score(place: int, number: int, model_id: str) -> TaskScore:
    key = fingerprint({"task": place, "model": model_id, "number": number})
    return TaskScore(
        f"task_{place:02d}", "acc", "none", 0.6, 0.011, 0.58, 0.62, N_EACH, 0.0, 0.0, key, n_total=N_EACH
    )


_TEXTS: dict[int, tuple[pa.Array, list[str]]] = {}  # of a task, the same in every run


def _texts(place: int) -> tuple[pa.Array, list[str]]:
    if place not in _TEXTS:
        dice = np.random.default_rng(place)
        words = dice.choice(WORDS.split(), size=(N_EACH, 60))
        prompts = [f"Question {n}: {' '.join(row)}? Think, then answer." for n, row in enumerate(words)]
        _TEXTS[place] = (
            pa.array(prompts),
            [" ".join(row[:24]) for row in dice.choice(WORDS.split(), (4_000, 24))],
        )
    return _TEXTS[place]


def _rows(run_id: str, place: int, score: TaskScore, *, seed: int) -> pa.Table:
    """The items of a task: each answer is its own mixture of sentences."""
    dice = np.random.default_rng(seed)
    prompts, sentences = _texts(place)
    n = N_EACH
    is_right = dice.random(n) < 0.6
    picked = dice.integers(len(sentences), size=n)
    answers = dice.integers(1000, size=n)
    tokens = dice.integers(20, 400, size=n)
    latency = dice.lognormal(0.5, 0.6, size=n)
    same: dict[str, Any] = {"run_id": run_id, "fingerprint": score.fingerprint, "task": score.task}
    same |= {"finish_reason": "stop", "prompt_tokens": 80}
    columns = {name: pa.array([value] * n) for name, value in same.items()} | {
        "doc_id": pa.array(range(n)),
        "doc_hash": pa.array([f"{place:04x}{number:08x}" for number in range(n)]),
        "prompt": prompts,
        "target": pa.array([str(number) for number in range(n)]),
        "response": pa.array(
            [
                f"{sentences[one]}. The answer is {answer}."
                for one, answer in zip(picked, answers, strict=True)
            ]
        ),
        "extracted": pa.array([str(answer) for answer in answers]),
        "score": pa.array(is_right.astype(float)),
        "metrics": pa.array([f'{{"acc,none": {float(right)}}}' for right in is_right]),
        "output_tokens": pa.array(tokens),
        "latency_s": pa.array(latency),
    }
    empty = {field.name: pa.nulls(n, field.type) for field in SCHEMA if field.name not in columns}
    return pa.table(columns | empty).select(SCHEMA.names).cast(SCHEMA)


def measure_page(home: str) -> Iterator[str]:
    settings = Settings(home=Path(home))
    run_id = _middle_run(settings)
    asked: dict[str, dict[str, Any]] = {
        "first": {},
        "second": {"offset": 50},
        "wrong only": {"only": "wrong"},
    }
    for name, more in asked.items():
        began_s = time.perf_counter()
        with open_snapshot(settings) as snapshot:
            rows = snapshot.query("items_page", run_id=run_id, limit=50, preview=300, **more)
        yield f"{name} page of a run: {len(rows)} rows in {time.perf_counter() - began_s:.2f} s"


def measure_query(home: str) -> Iterator[str]:
    settings = Settings(home=Path(home))
    run_id = _middle_run(settings)
    for name, sql in STATEMENTS.items():
        began_s = time.perf_counter()
        found = answer_sql(sql.format(run_id=run_id), settings, QueryLimits(timeout=TIMEOUT_S))
        yield f"{name}: {len(found.rows):,} rows in {time.perf_counter() - began_s:.1f} s"


def measure_compaction(home: str) -> Iterator[str]:
    for name in ("first", "again"):
        began_s = time.perf_counter()
        done = compact(Settings(home=Path(home)))
        told = f"{done.n_parts_before:,} to {done.n_parts_after:,} parts, {done.n_items:,} items written"
        sizes = f"{done.bytes_before / GB:.2f} to {done.bytes_after / GB:.2f} GB"
        yield f"compaction, {name}: {told}, {sizes}, {time.perf_counter() - began_s:,.1f} s"


def measure_rebuild(home: str) -> Iterator[str]:
    settings = Settings(home=Path(home))
    began_s = time.perf_counter()
    done = rebuild(settings)
    yield f"rebuild: {done.n_runs:,} runs in {time.perf_counter() - began_s:,.1f} s"
    began_s = time.perf_counter()
    publish(settings)
    yield f"publication: {time.perf_counter() - began_s:,.1f} s"


MEASURES: dict[str, Callable[[str], Iterator[str]]] = {
    "rebuild": measure_rebuild,
    "page": measure_page,
    "query": measure_query,
    "compaction": measure_compaction,
}


def _middle_run(settings: Settings) -> str:
    with open_snapshot(settings) as snapshot:
        rows = snapshot.select("select run_id from runs order by run_id").rows
    return str(rows[len(rows) // 2][0])


def _measured(name: str, home: str) -> None:
    for line in MEASURES[name](home):
        peak = max(
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        print(f"  {line}, peak {peak * 1024 / MIB:,.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=lambda text: int(text.replace(",", "")), default=10_000_000)
    parser.add_argument("--small", type=float, default=0.05)
    parser.add_argument("--only", default=",".join(MEASURES))
    parser.add_argument("--no-build", action="store_true")
    given = parser.parse_args()
    if not given.no_build:
        build(given.folder, given.items, small=given.small)
    for name in given.only.split(","):
        process = multiprocessing.get_context("spawn").Process(
            target=_measured, args=(name, str(given.folder))
        )
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(f"{name}: exit {process.exitcode}")


if __name__ == "__main__":
    main()
