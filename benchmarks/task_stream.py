"""How busy a card stays with the tasks of a suite: asked in one stream, against one after the other.

`python -m benchmarks.task_stream [--slots N] [--json]`: the real harness on a simulated engine with its own
clock, which works on `slots` answers at once. Tasks have the sizes of those of `anchor-reasoning`, and of the
second stage of `place` for a model that thinks; lengths are lognormal, cut at 32,000 tokens. Steps and
lengths are assumptions; what is measured is the order in which the harness asks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.simulated_slots import slot_steps
from runners.engines import Generation, GenerationRequest
from runners.harness.walk import RunningSuite, prepare
from tests.doubles.engines import ArithmeticEngine
from tracker.records import EngineSettings, Job, Model, RunRequest, Suite, Task

ENGINE = "tests.doubles.engines:ArithmeticEngine"
SPREAD, MOST_TOKENS = 0.8, 32_000
GPQA, AIME, MATH = 8_000, 12_000, 4_000  # tokens: medians of a model that thinks
SUITES: Mapping[str, Sequence[tuple[int, int]]] = {  # questions of each task, and the median of their answers
    "anchor-reasoning": ((198, GPQA), (30, AIME), (30, AIME), (1_324, MATH)),
    "place, second stage": ((198, GPQA), (200, MATH)),
}
TASK = """\
task: part_{number}
custom_dataset: !function make.sums
test_split: test
output_type: generate_until
doc_to_text: "{median}: {{{{question}}}}"
doc_to_target: "0"
generation_kwargs: {{until: [], max_gen_toks: 32768, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1, n_items: {n_items}, number: {number}}}
"""
MAKE = """\
from datasets import Dataset


def sums(*, n_items, number, **_):
    return {"test": Dataset.from_list([{"question": f"{number} + {n} ="} for n in range(n_items)])}
"""


@dataclass(frozen=True, slots=True)
class Speed:
    """How long a step takes."""

    step_ms: float
    each_ms: float  # and for each answer in progress


SPEEDS = {"8B": Speed(6.0, 0.02), "1B": Speed(2.0, 0.005)}


class StreamEngine(ArithmeticEngine):
    """Keeps all slots filled with what it was given, and says how long that took on its own clock."""

    def __init__(self, model: Model, *, slots: int, speed: Speed, in_order: bool) -> None:
        super().__init__(model, EngineSettings())
        self.begins_in_order = in_order
        self._slots, self._speed = slots, speed
        self.took_ms = self.full_ms = 0.0

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        left = [n_tokens(request.prompt) for request in requests]
        speed = self._speed
        for n_steps, n_busy, done in slot_steps(left, slots=self._slots):
            self.took_ms += n_steps * (speed.step_ms + speed.each_ms * n_busy)
            # what these tokens take where every slot is in use
            self.full_ms += n_steps * n_busy * (speed.step_ms / self._slots + speed.each_ms)
            for place in done:
                yield place, Generation("0", "stop", 7, left[place])


def n_tokens(prompt: str) -> int:
    """The length of an answer, the same whenever it is asked for."""
    dice = np.random.default_rng(int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8], "big"))
    median = int(prompt.partition(":")[0])
    return int(min(dice.lognormal(np.log(median), SPREAD), MOST_TOKENS))


def asked(parts: Sequence[tuple[int, int]], *, slots: int, speed: Speed, in_order: bool) -> dict[str, float]:
    """Minutes on the engine's clock for all tasks, and the share of the speed of full slots."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "make.py").write_text(MAKE)
        for number, (n_items, median) in enumerate(parts):
            text = TASK.format(number=number, n_items=n_items, median=median)
            (folder / f"part_{number}.yaml").write_text(text)
        tasks = tuple(Task(f"part_{number}") for number in range(len(parts)))
        suite = Suite("parts", 1, "", tasks, include_path=name)
        model, request = Model("acme/simulated", "0" * 40, path=name), RunRequest("run-1", suite)
        engine = StreamEngine(model, slots=slots, speed=speed, in_order=in_order)
        job = Job(model, EngineSettings(engine=ENGINE), (request,), str(folder / "items"))
        prepared = prepare(suite, cache_path=folder / "cache")
        run = RunningSuite(engine, job, request, prepared, lambda _: None, lambda: False)
        run.run_tasks()
    assert run.tally.n_items == sum(n for n, _ in parts)
    return {"minutes": engine.took_ms / 60_000, "busy": engine.full_ms / engine.took_ms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, nargs="*", default=[64, 256, 1024])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = [
        {
            "suite": name,
            "model": size,
            "slots": slots,
            "in turn": asked(parts, slots=slots, speed=speed, in_order=False),
            "one stream": asked(parts, slots=slots, speed=speed, in_order=True),
        }
        for name, parts in SUITES.items()
        for size, speed in SPEEDS.items()
        for slots in given.slots
    ]
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for row in found:
        before, after = row["in turn"], row["one stream"]
        print(
            f"{row['suite']}, {row['model']}, {row['slots']} slots: {before['minutes']:.1f} min in turn,"
            f" {after['minutes']:.1f} min in one stream ({before['minutes'] / after['minutes']:.2f} times),"
            f" {before['busy']:.0%} → {after['busy']:.0%} of full speed"
        )


if __name__ == "__main__":
    main()
