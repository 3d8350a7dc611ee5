"""Overhead of `tracker bench` over the engine that it runs, on the same requests.

`python -m benchmarks.overhead [--engine vllm|transformers] [--limit N] [--rounds N] [--json]`: the embedded
model and the offline suite in one process and with one engine. A round sends the requests of every task
directly to the engine, then through the worker, which builds prompts, scores answers and writes items. With
vLLM it also sends the texts to `LLM.generate`, to measure what our engine adds to that. The rounds alternate
and the first is not counted; ratios are of medians, printed with the spread of each side. On a busy machine
the CPU seconds of this process are more informative: those that we add, divided by the engine's wall time,
are an upper bound of the cost of our layer.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from runners.engines import ContinuationRequest, Engine, GenerationRequest, open_engine
from runners.harness.walk import PreparedTask, RunningSuite, prepare
from runners.models.demo import demo_model
from tracker.records import EngineSettings, Job, Model, RunRequest, Suite
from tracker.settings import load_settings
from tracker.suites import get_suite

N_ITEMS = 12  # of each task and round
N_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests of one task."""

    choices: list[ContinuationRequest]
    texts: list[GenerationRequest]


def task_requests(task: PreparedTask, suite: Suite, engine: Engine, *, limit: int) -> Requests:
    assert task.loaded is not None, task.error
    asked = Requests([], [])
    for leaf in task.loaded.leaves:
        chat_prompt = engine.chat_prompt if suite.chat and not leaf.is_choice else None
        for question in leaf.questions(docs=range(limit), chat_prompt=chat_prompt):
            asked.choices.extend(r for r in question.requests if isinstance(r, ContinuationRequest))
            asked.texts.extend(r for r in question.requests if isinstance(r, GenerationRequest))
    return asked


@dataclass(frozen=True, slots=True)
class Took:
    """Wall time, and CPU time of this process without its children."""

    wall_s: float
    cpu_s: float


def timed(call: Callable[[], object]) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def ask_engine(engine: Engine, tasks: Sequence[Requests]) -> None:
    for asked in tasks:
        for _ in engine.log_probs(asked.choices) if asked.choices else ():
            pass
        for _ in engine.generate(asked.texts) if asked.texts else ():
            pass


def walk(engine: Engine, job: Job, tasks: Sequence[PreparedTask]) -> None:
    """Everything that a worker does between a loaded engine and the final record of its run."""
    with tempfile.TemporaryDirectory() as items_path:
        fresh = replace(job, items_path=items_path)  # nothing is stored there that could be reused
        RunningSuite(engine, fresh, job.runs[0], tasks, lambda _event: None, lambda: False).run_tasks()


def raw_generate(engine: Any, tasks: Sequence[Requests]) -> None:
    """`LLM.generate` for the same texts: the same token ids, the same sampling."""
    for asked in tasks:
        work = list(engine._generation_work(asked.texts))
        prompts = [{"prompt_token_ids": list(ids)} for _, ids, _ in work]
        engine._llm.generate(prompts, [sampling for _, _, sampling in work], use_tqdm=False)


def measure(
    engine: Engine, job: Job, tasks: Sequence[PreparedTask], *, n_rounds: int
) -> dict[str, list[Took]]:
    assert job.limit is not None
    asked = [task_requests(task, job.runs[0].suite, engine, limit=job.limit) for task in tasks]
    texts = [Requests([], a.texts) for a in asked if a.texts]
    sides: dict[str, Callable[[], object]] = {
        "engine": lambda: ask_engine(engine, asked),
        "bench": lambda: walk(engine, job, tasks),
    }
    if hasattr(engine, "_llm"):
        sides["LLM.generate"] = lambda: raw_generate(engine, texts)
        sides["engine, texts"] = lambda: ask_engine(engine, texts)
    rounds = [{name: timed(call) for name, call in sides.items()} for _ in range(n_rounds + 1)]
    return {name: [this[name] for this in rounds[1:]] for name in sides}


def compared(took: dict[str, list[Took]], ours: str, bare: str) -> dict[str, float]:
    wall_s = statistics.median(t.wall_s for t in took[bare])
    cpu_s = statistics.median(a.cpu_s - b.cpu_s for a, b in zip(took[ours], took[bare], strict=True))
    ratio = statistics.median(t.wall_s for t in took[ours]) / wall_s
    return {"wall_ratio": ratio, "added_cpu_s": cpu_s, "added_cpu_fraction": cpu_s / wall_s}


def load(engine_name: str, *, limit: int) -> tuple[Job, tuple[PreparedTask, ...], Model]:
    settings = load_settings()
    model, suite = demo_model(settings), get_suite("quick")
    engine_settings = EngineSettings(engine=engine_name, dtype="float32")
    job = Job(model, engine_settings, (RunRequest("overhead", suite),), "", limit=limit)
    return job, prepare(suite, cache_path=settings.home / "cache"), model


def main() -> None:
    default = "vllm" if importlib.util.find_spec("vllm") else "transformers"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default=default)
    parser.add_argument("--limit", type=int, default=N_ITEMS)
    parser.add_argument("--rounds", type=int, default=N_ROUNDS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    job, tasks, model = load(options.engine, limit=options.limit)
    engine = open_engine(model, job.settings)
    try:
        took = measure(engine, job, tasks, n_rounds=options.rounds)
    finally:
        engine.close()
    rows = {"bench over engine": compared(took, "bench", "engine")}
    if "LLM.generate" in took:
        rows["engine over LLM.generate"] = compared(took, "engine, texts", "LLM.generate")
    if options.json:
        seconds = {name: [asdict(t) for t in times] for name, times in took.items()}
        json.dump(
            {"engine": options.engine, "limit": options.limit, "compared": rows, "seconds": seconds},
            sys.stdout,
        )
        return
    print(f"{options.engine}, {options.limit} items of each of {len(tasks)} tasks, {options.rounds} rounds")
    for name, row in rows.items():
        added = f"CPU {100 * row['added_cpu_fraction']:+.1f} % of its wall"
        print(f"{name:26} wall × {row['wall_ratio']:.3f}   {added}")
    for name, times in took.items():
        walls = sorted(t.wall_s for t in times)
        spread = f"{statistics.median(walls):6.2f} s ({walls[0]:.2f} to {walls[-1]:.2f})"
        print(f"{name:26} {spread}, CPU {statistics.median(t.cpu_s for t in times):.2f} s")


if __name__ == "__main__":
    main()
