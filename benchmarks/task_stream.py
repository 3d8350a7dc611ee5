"""How busy a card stays with the tasks of a load: asked in one stream, against one after the other.

`python -m benchmarks.task_stream [--load NAME] [--slots N] [--json]`: the real harness on a simulated engine
with its own clock, which works on `slots` answers at once. Tasks have the sizes of those of
`anchor-reasoning`, of the second stage of `place` for a model that thinks, or of three suites; lengths are
lognormal, cut at 32,000 tokens. Then again with expected lengths, whose logarithms correlate with those of
the answers to 0, 0.4, 0.7 and 1. The bound is what nobody can beat who knows all lengths: the longest answer,
or all tokens over all slots. Steps and lengths are assumptions; the order of the questions is the harness's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.simulated_slots import slot_steps
from runners.engines import Generation, GenerationRequest
from runners.harness.suite_stream import ask_suites_together
from runners.harness.walk import RunningSuite, prepare
from tests.doubles.engines import ArithmeticEngine
from tracker.records import EngineSettings, Job, Model, RunRequest, Suite, Task

ENGINE = "tests.doubles.engines:ArithmeticEngine"
SPREAD, MOST_TOKENS = 0.8, 32_000
CORRELATIONS = (0.0, 0.4, 0.7, 1.0)
GPQA, AIME, MATH = 8_000, 12_000, 4_000  # tokens: medians of a model that thinks
Parts = Sequence[tuple[int, int]]  # questions of each task, and the median of their answers
REASONING: Parts = ((198, GPQA), (30, AIME), (30, AIME), (1_324, MATH))
LOADS: Mapping[str, Sequence[Parts]] = {
    "anchor-reasoning": (REASONING,),
    "place, second stage": (((198, GPQA), (200, MATH)),),
    "anchor-reasoning, instruct and code": (REASONING, ((541, 1_500),), ((164, 3_000), (500, 3_000))),
}
PROMPT = "{median}: {question}"
TASK = """\
task: part_{number}
custom_dataset: !function make.sums
test_split: test
output_type: generate_until
doc_to_text: "{prompt}"
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
    """Keeps all slots filled with what it was given, and counts its steps."""

    def __init__(self, model: Model, *, slots: int, in_order: bool) -> None:
        super().__init__(model, EngineSettings())
        self.begins_in_order = in_order
        self._slots = slots
        self.n_steps = self.n_tokens = self.longest = 0

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        left = [n_tokens(request.prompt) for request in requests]
        self.longest = max(self.longest, *left)
        for n_steps, n_busy, done in slot_steps(left, slots=self._slots):
            self.n_steps += n_steps
            self.n_tokens += n_steps * n_busy
            for place in done:
                yield place, Generation("0", "stop", 7, left[place])

    def told(self, speed: Speed) -> dict[str, float]:
        """Minutes, the share of the speed of full slots, and the share of what is possible."""
        of_tokens = self.n_tokens * speed.each_ms
        n_least = max(self.longest, math.ceil(self.n_tokens / self._slots))
        took = self.n_steps * speed.step_ms + of_tokens
        bound = n_least * speed.step_ms + of_tokens
        return {
            "minutes": took / 60_000,
            "busy": (self.n_tokens / self._slots * speed.step_ms + of_tokens) / took,
            "bound_minutes": bound / 60_000,
            "of_bound": bound / took,
        }


def n_tokens(prompt: str) -> int:
    """The length of an answer, the same whenever it is asked for."""
    return _length(prompt, _dice(prompt).standard_normal())


def expected_length(prompt: str, correlation: float) -> int:
    """What another model's answer tells of its length: both logarithms correlate so."""
    dice = _dice(prompt)
    own, other = dice.standard_normal(2)
    return _length(prompt, correlation * (correlation * own + math.sqrt(1 - correlation**2) * other))


def _dice(prompt: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8], "big"))


def _length(prompt: str, deviation: float) -> int:
    return int(min(int(prompt.partition(":")[0]) * math.exp(SPREAD * deviation), MOST_TOKENS))


def expected_lengths(parts: Parts, correlation: float) -> dict[str, tuple[int, ...]]:
    """Of each task, as the driver hands them to a job."""
    return {
        f"part_{number}": tuple(
            expected_length(PROMPT.format(median=median, question=f"{number} + {n} ="), correlation)
            for n in range(n_items)
        )
        for number, (n_items, median) in enumerate(parts)
    }


def asked(
    suites: Sequence[Parts],
    *,
    slots: int,
    in_order: bool = True,
    in_one_window: bool = True,
    correlation: float | None = None,
) -> StreamEngine:
    """The engine after all tasks.

    `in_one_window`: those of all suites. `correlation`: that of expected lengths; None: nothing is known.
    """
    parts = [part for of_suite in suites for part in of_suite]
    expected = {} if correlation is None else expected_lengths(parts, correlation)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "make.py").write_text(MAKE)
        for number, (n_items, median) in enumerate(parts):
            prompt = PROMPT.format(median=median, question="{{question}}")
            text = TASK.format(number=number, n_items=n_items, prompt=prompt)
            (folder / f"part_{number}.yaml").write_text(text)
        tasks = iter([Task(f"part_{number}") for number in range(len(parts))])
        requests = tuple(
            RunRequest(
                f"run-{n}", Suite(f"suite-{n}", 1, "", tuple(islice(tasks, len(some))), include_path=name)
            )
            for n, some in enumerate(suites)
        )
        model, settings = Model("acme/simulated", "0" * 40, path=name), EngineSettings(engine=ENGINE)
        engine = StreamEngine(model, slots=slots, in_order=in_order)
        job = Job(model, settings, requests, str(folder / "items"), expected_tokens=expected)
        runs = [
            RunningSuite(
                engine,
                job,
                one,
                prepare(one.suite, cache_path=folder / "cache"),
                lambda _: None,
                lambda: False,
            )
            for one in requests
        ]
        if in_one_window:
            ask_suites_together(runs)
        for run in runs:
            run.run_tasks()
    assert sum(run.tally.n_items for run in runs) == sum(n for n, _ in parts)
    return engine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, nargs="*", default=[64, 256, 1024])
    parser.add_argument("--load", choices=LOADS, nargs="*")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = []
    for name in given.load or LOADS:
        for slots in given.slots:
            engines = _engines(LOADS[name], slots)
            for size, speed in SPEEDS.items():
                told = {order: engine.told(speed) for order, engine in engines.items()}
                found.append({"load": name, "model": size, "slots": slots, "orders": told})
                if not given.json:
                    print(f"{name}, {size}, {slots} slots", *map(_line, told.items()), sep="\n", flush=True)
    if given.json:
        print(json.dumps(found, indent=2))


def _engines(suites: Sequence[Parts], slots: int) -> dict[str, StreamEngine]:
    found = {"tasks in turn": asked(suites, slots=slots, in_order=False, in_one_window=False)}
    if len(suites) > 1:
        found["suites in turn"] = asked(suites, slots=slots, in_one_window=False)
    found["one stream"] = asked(suites, slots=slots)
    for correlation in CORRELATIONS:
        found[f"expected, {correlation:g}"] = asked(suites, slots=slots, correlation=correlation)
    return found


def _line(told: tuple[str, dict[str, float]]) -> str:
    order, found = told
    return (
        f"  {order}: {found['minutes']:.1f} min, {found['busy']:.0%} of the speed of full slots,"
        f" {found['of_bound']:.0%} of the bound of {found['bound_minutes']:.1f} min"
    )


if __name__ == "__main__":
    main()
