"""The cost of a publication: wall seconds, bytes written and size against runs, and with a large database.

`python -m benchmarks.publication [--runs 100,1000,5000] [--large-mb 160]`: each size is published four times
with one more run in between, and the last publication counts. A full copy of the same file is measured
beside it: the ratio is of this machine in this minute. Bytes come from the copy itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb

from tests.builders.some_runs import run
from tracker.settings import Settings
from tracker.store import Store, publish
from tracker.store.file_copies import copy_file

MB = 10**6
BATCH = 500
PUBLICATIONS = 4  # from the fourth on, there is a snapshot to recycle


@dataclass(frozen=True, slots=True)
class Cost:
    """One publication, and a full copy of the same file."""

    n_runs: int
    size_mb: float
    method: str
    written_mb: float
    publish_s: float
    copy_s: float  # of the copy inside a publication
    full_copy_s: float
    copy_ratio: float  # copy_s over full_copy_s
    written_ratio: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", default="100,1000,5000")
    parser.add_argument("--large-mb", type=int, default=160)
    asked = parser.parse_args()
    for n_runs in map(int, asked.runs.split(",")):
        print(json.dumps(asdict(measured(n_runs))), flush=True)
    print(json.dumps(asdict(measured(1000, large_mb=asked.large_mb))), flush=True)


def measured(n_runs: int, *, large_mb: int = 0) -> Cost:
    """The cost with so many runs, and with model rows until the database has so many megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home")
        for first in range(0, n_runs, BATCH):
            with Store.open(settings) as store:
                store.add_runs(run(number) for number in range(first, min(first + BATCH, n_runs)))
        if large_mb:
            fill(settings, large_mb * MB)
        publish_s = 0.0
        for number in range(PUBLICATIONS):
            with Store.open(settings) as store:
                store.add_run(run(n_runs + number))
            began_s = time.perf_counter()
            publish(settings)
            publish_s = time.perf_counter() - began_s
        with Store.open(settings) as store:
            store.add_run(run(n_runs + PUBLICATIONS))
        oldest = min(settings.snapshots_path.glob("*.duckdb"), key=lambda path: path.stat().st_mtime_ns)
        began_s = time.perf_counter()
        copied = copy_file(settings.db_path, Path(folder) / "home" / "copy.duckdb", recycled=oldest)
        copy_s = time.perf_counter() - began_s
        began_s = time.perf_counter()
        copy_file(settings.db_path, Path(folder) / "home" / "full.duckdb")
        full_copy_s = time.perf_counter() - began_s
        size = settings.db_path.stat().st_size
    return Cost(
        n_runs=n_runs,
        size_mb=round(size / MB, 1),
        method=copied.method,
        written_mb=round(copied.n_written_bytes / MB, 2),
        publish_s=round(publish_s, 3),
        copy_s=round(copy_s, 3),
        full_copy_s=round(full_copy_s, 3),
        copy_ratio=round(copy_s / full_copy_s, 2),
        written_ratio=round(copied.n_written_bytes / size, 4),
    )


def fill(settings: Settings, n_bytes: int) -> None:
    """Add rows of models until the database has that size; their texts do not compress."""
    with duckdb.connect(settings.db_path) as connection:
        number = 0
        while settings.db_path.stat().st_size < n_bytes:
            connection.execute(
                "insert into model_snapshots by name select 'i' || $n as ingest_id, 'hub-models' as source,"
                " now()::timestamp as seen_at, uuid()::text as name, uuid()::text as key,"
                " md5(random()::text) as fingerprint, false as is_gone, 'open' as access, 'chat' as kind,"
                " false as is_packed, false as has_safetensors, false as needs_remote_code,"
                " false as is_disabled, []::text[] as base_models from range(50000)",
                {"n": number},
            )
            connection.execute("checkpoint")
            number += 1


if __name__ == "__main__":
    main()
