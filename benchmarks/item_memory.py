"""Memory while items are written and queried: flat, however many there are.

`python -m benchmarks.item_memory [ITEMS_WRITTEN [ITEMS_QUERIED]]`: by default 5,000 and 100,000.
Each measurement is a process of its own; the peak of a query is that of its worker.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

from tests.builders.large_store import ITEMS_OF_RUN, Size, build_large_store
from tests.builders.some_runs import items
from tracker.answers.shipped import answer_sql
from tracker.files.items import write_part
from tracker.settings import Settings
from tracker.store import QueryLimits

N_WRITTEN, N_QUERIED = 5_000, 100_000
CHUNK = 100  # items in a part: what a worker has answered after a few seconds
TIMEOUT_S = 600.0
STATEMENTS = {
    "count": "select count(*) from items",
    "mean by task": "select task, avg(score), sum(output_tokens) from items group by all",
    "longest answers": "select task, doc_id, response from items order by length(response) desc limit 10",
    "first rows of all": "select * from items",
}
MIB = 2**20


def write(folder: str, n_items: int) -> None:
    before, began_s = _peak_bytes(resource.RUSAGE_SELF), time.perf_counter()
    for start in range(0, n_items, CHUNK):
        n = min(CHUNK, n_items - start)
        write_part(Path(folder), "run", "fingerprint", items("task", n, start=start))
    wall_s, grown = time.perf_counter() - began_s, _peak_bytes(resource.RUSAGE_SELF) - before
    speed = f"{wall_s:.1f} s, {n_items / wall_s:,.0f}/s"
    print(f"{n_items:,} items written in {speed}, memory +{grown / MIB:.0f} MiB")


def query(home: str, name: str) -> None:
    began_s = time.perf_counter()
    found = answer_sql(STATEMENTS[name], Settings(home=Path(home)), QueryLimits(timeout=TIMEOUT_S))
    wall_s = time.perf_counter() - began_s
    worker, parent = _peak_bytes(resource.RUSAGE_CHILDREN), _peak_bytes(resource.RUSAGE_SELF)
    told = f"{len(found.rows):,} rows in {wall_s:.1f} s, peak of the worker {worker / MIB:.0f} MiB"
    print(f"  {name}: {told}, of its parent {parent / MIB:.0f} MiB")


def _peak_bytes(who: int) -> int:
    return resource.getrusage(who).ru_maxrss * 1024


def _apart(target: object, *args: object) -> None:
    process = multiprocessing.get_context("spawn").Process(target=target, args=args)  # type: ignore[arg-type]
    process.start()
    process.join()
    assert process.exitcode == 0


def main() -> None:
    given = [int(word.replace(",", "")) for word in sys.argv[1:]]
    n_written, n_queried = [*given, *(N_WRITTEN, N_QUERIED)[len(given) :]]
    for n in (n_written // 4, n_written):
        with tempfile.TemporaryDirectory() as folder:
            _apart(write, folder, n)
    for n in (n_queried // 10, n_queried):
        with tempfile.TemporaryDirectory() as home:
            build_large_store(Path(home), Size(n_models=-(-n // ITEMS_OF_RUN), n_items=n))
            print(f"{n:,} items")
            for name in STATEMENTS:
                _apart(query, home, name)


if __name__ == "__main__":
    main()
