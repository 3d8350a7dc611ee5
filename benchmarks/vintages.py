"""The cost of vintages: ingesting and refitting one, and the frontier page with thirty of them.

`python -m benchmarks.vintages`: Epoch AI's layout of October 2026 with 239 models and 2,453 scores, from a
local stand-in. CPU seconds count all threads; they hardly depend on other processes. `--n 30`: vintages for
the page.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from benchmarks.app import page_times
from tests.builders.epoch_october import ingest_october, october
from tests.builders.store_builder import NOW
from tracker.answers.frontier import answer_question
from tracker.answers.vintages import tables_of
from tracker.frontier.question import Question, fitted
from tracker.settings import Settings
from tracker.store import Store, open_snapshot, publish, read_vintage_data, read_vintages

N_VINTAGES = 30


@dataclass(frozen=True, slots=True)
class Timed:
    """Wall and CPU seconds since it was made."""

    began_s: float
    began_cpu_s: float

    @classmethod
    def now(cls) -> Timed:
        """Start timing."""
        return cls(time.perf_counter(), time.process_time())

    def row(self) -> dict[str, float]:
        """The seconds so far."""
        return {"wall_s": time.perf_counter() - self.began_s, "cpu_s": time.process_time() - self.began_cpu_s}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=N_VINTAGES)
    asked = parser.parse_args()
    body = october()
    found: dict[str, dict[str, float | str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home").model_copy(update={"fixed_now": NOW})
        timed = Timed.now()
        ingest_october(settings, body)
        found["ingest with refit and draws"] = {**timed.row()}
        timed = Timed.now()
        ingest_october(settings, body)
        found["ingest of the same again"] = {**timed.row()}
        with open_snapshot(settings) as snapshot:
            (vintage,) = read_vintages(snapshot)
            data, _ = read_vintage_data(snapshot, vintage)
        timed = Timed.now()
        fitted(tables_of(vintage, settings), Question(vintage=vintage.day), None)
        found["refit and both kinds of draws"] = {**timed.row()}
        timed = Timed.now()
        answer_question(Question(), settings)
        found["first answer with intervals"] = {**timed.row()}
        with Store.open(settings) as store:
            for n in range(1, asked.n):
                day = date(2025, 1, 1) + timedelta(days=7 * n)
                older = replace(vintage, vintage_id=f"2025-{n:03}", day=day, digest=f"{n}")
                store.put_vintage(older, replace(data, day=day))
        publish(settings)
        found[f"frontier page with {asked.n} vintages"] = page_times(settings.home, "frontier", {})
        found["size"] = {"database_mb": settings.db_path.stat().st_size / 1e6}
    for name, row in found.items():
        numbers = "  ".join(f"{key} {value:8.2f}" for key, value in row.items() if isinstance(value, float))
        print(f"{name:<34} {numbers}", file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
