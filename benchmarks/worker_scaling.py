"""How evenly several workers share a job: `python -m benchmarks.worker_scaling [--workers 1 2 4] [--json]`.

The real driver and real worker processes with a simulated engine that takes real time: `SLOTS` answers at
once, a step of 0.5 ms and 0.01 ms for each, lengths lognormal with a median of 600 tokens, cut at 4,000. The
time is that from the first request to the scores, without the start of the processes. Each engine sleeps, so
that a machine with two cores can stand for four cards; its length of an answer depends on the prompt alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.simulated_slots import slot_steps
from runners.engines import Generation, GenerationRequest
from runners.executors.jobs import run_job
from tests.conftest import ROOT
from tests.doubles.engines import SUM, ArithmeticEngine
from tracker.records import EngineSettings, Job, Model, RunRequest, Suite, Task
from tracker.settings import Settings

STEP_S, STEP_S_EACH = 0.0005, 0.00001
MEDIAN_TOKENS, SPREAD, MOST_TOKENS = 600, 0.8, 4_000
SLOTS = 8
REPEATS = 12  # of 400 questions
ENGINE = "benchmarks.worker_scaling:SleepingEngine"


class SleepingEngine(ArithmeticEngine):
    """Keeps all slots filled with what it was given, and sleeps as long as that takes."""

    begins_in_order = True

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        lengths, now_s = [_n_tokens(request) for request in requests], time.monotonic()
        for n_steps, n_busy, done in slot_steps(lengths, slots=SLOTS):
            now_s += n_steps * (STEP_S + STEP_S_EACH * n_busy)  # what the harness does meanwhile costs none
            time.sleep(max(0.0, now_s - time.monotonic()))
            for place in done:
                found = SUM.search(requests[place].prompt)
                assert found
                text = f" {int(found[1]) + int(found[2])}"
                yield place, Generation(text, "stop", 7, lengths[place])


def _n_tokens(request: GenerationRequest) -> int:
    key = hashlib.sha256(f"{request.prompt} {sorted(request.sampling.items())}".encode()).digest()
    drawn = np.random.default_rng(int.from_bytes(key[:8], "big")).lognormal(np.log(MEDIAN_TOKENS), SPREAD)
    return int(min(drawn, MOST_TOKENS))


def seconds(n_workers: int, *, repeats: int) -> float:
    """Seconds from the last worker's first request to the scores."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        suite = Suite(
            "sums", 1, "", (Task("sums"),), include_path=str(ROOT / "tests" / "tasks"), repeats=repeats,
            sampling="model",
        )  # fmt: skip
        (Path(folder) / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.6}')
        model = Model("acme/simulated", "0" * 40, path=folder)
        settings = Settings(home=home)
        job = Job(model, EngineSettings(engine=ENGINE), (RunRequest("run-1", suite),), str(home / "items"))
        end = run_job(job, settings, lambda _: None, cards=[()] * n_workers)
    (run,) = end.runs
    assert run.n_items == 400 * repeats, run
    return run.cost.duration_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    took = {n: seconds(n, repeats=given.repeats) for n in given.workers}
    first = min(took)
    rows = {n: {"seconds": s, "of linear": took[first] * first / (n * s)} for n, s in took.items()}
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    for n, row in rows.items():
        print(f"{n} workers: {row['seconds']:.1f} s, {row['of linear']:.1%} of linear")


if __name__ == "__main__":
    main()
