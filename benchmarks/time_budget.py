"""How busy a card stays under a budget: a prefix of the draw, against blocks of questions.

`python -m benchmarks.time_budget [--slots N] [--json]`: the real harness on a simulated engine with its own
clock: `slots` answers at once, steps of 6 ms and 0.02 ms for each, lengths lognormal with a median of 6,000
tokens, cut at 32,000. The times are an assumption; what is measured is the order in which the harness asks.
First a budget of time that suffices for 1,200 answers; then a precision (`--until`), also against plain
sampling, which is told how many answers are enough and asks just these at once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.simulated_slots import slot_steps
from runners.engines import Generation, GenerationRequest
from runners.harness.walk import RunningSuite, prepare
from tests.conftest import ROOT
from tests.doubles.engines import SUM, ArithmeticEngine
from tracker.records import EngineSettings, Job, Model, RunRequest, Suite, Task

STEP_MS, STEP_MS_EACH = 6.0, 0.02
MEDIAN_TOKENS, SPREAD, MOST_TOKENS = 6_000, 0.8, 32_000
REPEATS = 3  # of 400 questions
HALF_WIDTH = 0.05
WRONG = 0.2  # of the answers
ENGINE = "tests.doubles.engines:ArithmeticEngine"


class SimulatedEngine(ArithmeticEngine):
    """Keeps all slots filled with what it was given, and says how long that took on its own clock."""

    def __init__(self, model: Model, *, slots: int, in_order: bool) -> None:
        super().__init__(model, EngineSettings())
        self.begins_in_order = in_order
        self._slots, self._dice = slots, np.random.default_rng(1)
        self.took_ms = self.full_ms = self.n_tokens = 0.0
        self.n_calls = 0

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        self.n_calls += 1
        drawn = self._dice.lognormal(np.log(MEDIAN_TOKENS), SPREAD, len(requests))
        left = [int(tokens) for tokens in np.minimum(drawn, MOST_TOKENS)]
        for n_steps, n_busy, done in slot_steps(left, slots=self._slots):
            self.took_ms += n_steps * (STEP_MS + STEP_MS_EACH * n_busy)
            # what these tokens take where every slot is in use
            self.full_ms += n_steps * n_busy * (STEP_MS / self._slots + STEP_MS_EACH)
            self.n_tokens += n_steps * n_busy
            for place in done:
                found = SUM.search(requests[place].prompt)
                assert found
                wrong = is_wrong_by(f"{requests[place].seed} {requests[place].prompt}")
                text = f" {int(found[1]) + int(found[2]) + wrong}"
                yield place, Generation(text, "stop", 7, left[place])


def is_wrong_by(text: str) -> bool:
    """Whether an answer is wrong: one in five, by its text."""
    return hashlib.sha256(text.encode()).digest()[0] < 256 * WRONG


def asked(
    *, slots: int, in_order: bool, until: float | None = None, limit: int | None = None, repeats: int = 1
) -> dict[str, float]:
    """Minutes and tokens on the engine's clock until a budget is spent: a precision, or time for all."""
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(
            "sums", 1, "", (Task("sums"),), include_path=str(ROOT / "tests" / "tasks"), repeats=repeats,
            sampling="model",
        )  # fmt: skip
        (Path(folder) / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.6}')
        model = Model("acme/simulated", "0" * 40, path=folder)
        engine = SimulatedEngine(model, slots=slots, in_order=in_order)
        request = RunRequest("run-1", suite)
        job = Job(
            model, EngineSettings(engine=ENGINE), (request,), str(Path(folder) / "items"), limit=limit,
            sample_seed=0, until_half_width=until,
        )  # fmt: skip
        tasks = prepare(suite, cache_path=Path(folder) / "cache")
        deadline = None if until or limit else time.monotonic() + 3600
        walked = RunningSuite(engine, job, request, tasks, lambda _: None, lambda: False, deadline)
        walked.run_tasks()
    return {
        "scored": walked.tally.n_items,
        "tokens": engine.n_tokens,
        "minutes": engine.took_ms / 60_000,
        "busy": engine.full_ms / engine.took_ms,
        "calls": engine.n_calls,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, nargs="*", default=[64, 256, 1024])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {
        n: {
            "blocks": asked(slots=n, in_order=False, repeats=REPEATS),
            "at once": asked(slots=n, in_order=True, repeats=REPEATS),
            "precision in blocks": asked(slots=n, in_order=False, until=HALF_WIDTH),
            "precision by prefix": (prefix := asked(slots=n, in_order=True, until=HALF_WIDTH)),
            "plain sample": asked(slots=n, in_order=True, limit=int(prefix["scored"])),
        }
        for n in given.slots
    }
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for slots, ways in found.items():
        for way, row in ways.items():
            print(
                f"{slots} slots, {way}: {row['minutes']:.1f} min, {row['busy']:.0%} of full speed,"
                f" {row['scored']} scored, {row['tokens'] / 1e6:.2f} M tokens"
            )
        time_ratio = ways["blocks"]["minutes"] / ways["at once"]["minutes"]
        until_ratio = ways["precision in blocks"]["minutes"] / ways["precision by prefix"]["minutes"]
        print(f"  {time_ratio:.1f} times faster at once, {until_ratio:.1f} times for a precision")


if __name__ == "__main__":
    main()
