"""How busy a card is kept: by the bench, and by vLLM alone with the same requests.

`python -m benchmarks.card_wait [--load NAME] [--model NAME] [--side NAME] [--slots N] [--share S] [--json]`,
where vLLM is installed. vLLM, its scheduler and its processes are real; the card is simulated
(`benchmarks.simulated_card`), so that it takes no processor. Speeds and lengths are assumptions.

Loads: `choices`, 57 subjects in the form of MMLU, five examples each, some 650 tokens a question of which 115
are new; `answers`, tasks with the sizes of those of `anchor-reasoning`, whose answers have an eighth of the
tokens that are assumed elsewhere (medians of 500 to 1,500, at most 4,000), so that the run takes minutes.
Sides: `bench`, all that a worker does between a loaded engine and the scores; `minutes`, the same under a
budget that is not spent; `turns`, with one task after the other; `vllm`, the same requests, encoded
beforehand, handed to vLLM as fast as it takes them.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from runners.engines import ContinuationRequest, GenerationRequest
from runners.engines.encoding import encode_pairs
from runners.engines.vllm.engine import VllmEngine
from runners.engines.vllm.scoring import plan_scoring
from runners.harness.lm_tasks import LeafTask
from runners.harness.prompts_ahead import prompts_ahead
from runners.harness.walk import PreparedTask, RunningSuite, prepare
from runners.harness.worker import forget_loaded
from runners.models.demo import demo_model
from tracker.records import EngineSettings, Job, Model, RunRequest, Suite, Task
from tracker.settings import load_settings

CARD = "benchmarks.simulated_card.SimulatedCard"
SPEED = "SIMULATED_CARD"  # environment: its speed, the lengths of answers, and a file for its steps
N_SUBJECTS, N_QUESTIONS = 57, 14_042  # of MMLU
ANSWERS = ((198, 1_000), (30, 1_500), (30, 1_500), (1_324, 500))  # questions of a task, median of tokens
MOST_TOKENS = 4_000
N_SEQUENCES, N_BATCH_TOKENS = 1_024, 16_384  # what vLLM chooses on a large card
MAX_LEN, BLOCK_TOKENS = 8_192, 32
GROUP = """\
group: subjects
task: [{tasks}]
aggregate_metric_list: [{{metric: acc, weight_by_size: true}}]
metadata: {{version: 1}}
"""
CHOICES = """\
task: subject_{number}
custom_dataset: !function make.questions
test_split: test
fewshot_split: dev
num_fewshot: 5
fewshot_config: {{sampler: first_n}}
output_type: multiple_choice
doc_to_text: |-
  {{{{question}}}}
  A. {{{{choices[0]}}}}
  B. {{{{choices[1]}}}}
  C. {{{{choices[2]}}}}
  D. {{{{choices[3]}}}}
  Answer:
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1, n_items: {n_items}, number: {number}}}
"""
WRITTEN = """\
task: part_{number}
custom_dataset: !function make.questions
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: [], max_gen_toks: {budget}, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1, n_items: {n_items}, number: {number}}}
"""
MAKE = """\
import random

from datasets import Dataset

WORDS = "the a of river market copper which answer seven orbit theory plant cell energy price left".split()


def questions(*, n_items, number, **_):
    draw = random.Random(number)

    def text(n):
        return " ".join(draw.choice(WORDS) for _ in range(n)).capitalize()

    def rows(n):
        return Dataset.from_list(
            [
                {
                    "question": text(40) + "?",
                    "choices": [text(14) for _ in "ABCD"],
                    "answer": draw.randrange(4),
                }
                for _ in range(n)
            ]
        )

    return {"test": rows(n_items), "dev": rows(5)}
"""
Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Speed:
    """Of a card: the least time of a step, and how fast it reads prompts."""

    step_ms: float
    tokens_per_ms: float
    each_ms: float = 0.0  # of a step, for each answer in progress


SPEEDS = {"8B": Speed(6.0, 33.0, 0.02), "1B": Speed(2.0, 255.0, 0.005)}


@dataclass(frozen=True, slots=True)
class Load:
    """Task files, the tasks that are asked, and the median length of answers by their budget."""

    files: Mapping[str, str]
    tasks: tuple[str, ...]
    n_questions: int
    medians: Mapping[int, int]


def choices(share: float) -> Load:
    n_items = max(1, int(N_QUESTIONS * share) // N_SUBJECTS)
    files = {f"subject_{n}": CHOICES.format(number=n, n_items=n_items) for n in range(N_SUBJECTS)}
    group = GROUP.format(tasks=", ".join(files))
    return Load(files | {"subjects": group}, ("subjects",), n_items * N_SUBJECTS, {})


def answers(share: float) -> Load:
    sizes = [max(1, int(n * share)) for n, _ in ANSWERS]
    budgets = [MOST_TOKENS + number for number in range(len(ANSWERS))]  # which tell the tasks apart
    files = {
        f"part_{n}": WRITTEN.format(number=n, n_items=size, budget=budget)
        for n, (size, budget) in enumerate(zip(sizes, budgets, strict=True))
    }
    medians = {budget: median for budget, (_, median) in zip(budgets, ANSWERS, strict=True)}
    return Load(files, tuple(files), sum(sizes), medians)


LOADS: Mapping[str, Callable[[float], Load]] = {"choices": choices, "answers": answers}


class EngineOnSimulatedCard(VllmEngine):
    """Our engine, whose vLLM has a simulated card."""

    n_slots = N_SEQUENCES

    def _load(self) -> Any:
        return self._vllm.LLM(
            model=self._model.path,
            dtype="float32",
            max_model_len=MAX_LEN,
            seed=self._settings.seed,
            disable_log_stats=False,
            enforce_eager=True,
            kv_cache_memory_bytes=3 * 2**30,
            distributed_executor_backend=CARD,
            max_num_seqs=self.n_slots,
            max_num_batched_tokens=N_BATCH_TOKENS,
            block_size=BLOCK_TOKENS,
        )


def tiny_model(folder: Path) -> tuple[Model, int]:
    """Weights of a few kilobytes with the embedded model's tokenizer, and the token that ends its answers."""
    tokenizer = AutoTokenizer.from_pretrained(demo_model(load_settings()).path)
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=MAX_LEN,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return Model("acme/simulated", "0" * 40, path=str(folder)), int(tokenizer.eos_token_id)


def bench_side(engine: VllmEngine, suite: Suite, tasks: Sequence[PreparedTask], folder: Path) -> Work:
    request = RunRequest("run", suite)
    job = Job(engine._model, EngineSettings(engine="vllm"), (request,), str(folder / "items"))
    return RunningSuite(engine, job, request, tasks, lambda _: None, lambda: False).run_tasks


def minutes_side(engine: VllmEngine, suite: Suite, tasks: Sequence[PreparedTask], folder: Path) -> Work:
    request = RunRequest("run", suite)
    job = Job(engine._model, EngineSettings(engine="vllm"), (request,), str(folder / "items"), minutes=60)
    deadline = time.monotonic() + 3_600
    return RunningSuite(engine, job, request, tasks, lambda _: None, lambda: False, deadline).run_tasks


def turns_side(engine: VllmEngine, suite: Suite, tasks: Sequence[PreparedTask], folder: Path) -> Work:
    engine.begins_in_order = False
    return bench_side(engine, suite, tasks, folder)


def vllm_side(engine: VllmEngine, _: Suite, tasks: Sequence[PreparedTask], __: Path) -> Work:
    requests = [
        request
        for leaf in sorted(leaves_of(tasks), key=lambda leaf: -(leaf.max_output_tokens or 0))
        for question in leaf.questions(docs=None, chat_prompt=None)
        for request in question.requests
    ]
    written = [one for one in requests if isinstance(one, GenerationRequest)]
    scored = [one for one in requests if isinstance(one, ContinuationRequest)]
    work: list[tuple[Any, Any, Any]] = list(engine._generation_work(written))
    if scored:
        pairs = encode_pairs(engine._tokenizer, scored)
        plan = plan_scoring(pairs, max_len=MAX_LEN - 1, block_tokens=BLOCK_TOKENS)
        probes = [(n, plan.probes[n]) for n in plan.order]
        work += [(n, probe.ids, engine._scoring_params(probe)) for n, probe in probes]
    return lambda: sum(1 for _ in engine._answers(iter(work)))


def leaves_of(tasks: Sequence[PreparedTask]) -> list[LeafTask]:
    return [leaf for task in tasks if task.loaded for leaf in task.loaded.leaves]


SIDES: Mapping[str, Callable[[VllmEngine, Suite, Sequence[PreparedTask], Path], Work]] = {
    "bench": bench_side,
    "minutes": minutes_side,
    "turns": turns_side,
    "vllm": vllm_side,
}


def measured(side: str, speed: Speed, load: Load, *, slots: int = N_SEQUENCES) -> dict[str, float]:
    """How long the card works, and for which part of the time between the loaded engine and the scores."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "steps.json"
        (folder / "tasks").mkdir()
        (folder / "tasks" / "make.py").write_text(MAKE)
        for task, text in load.files.items():
            (folder / "tasks" / f"{task}.yaml").write_text(text)
        suite = Suite("own", 1, "", tuple(map(Task, load.tasks)), include_path=str(folder / "tasks"))
        tasks = prepare(suite, cache_path=folder / "cache")
        model, end_token = tiny_model(folder / "model")
        told = asdict(speed) | {"medians": dict(load.medians), "end": end_token, "path": str(log)}
        os.environ[SPEED] = json.dumps(told)
        with prompts_ahead([(leaf, None) for leaf in leaves_of(tasks)]), loaded(model, slots) as engine:
            work = SIDES[side](engine, suite, tasks, folder)
            forget_loaded()
            engine_cpu, cpu, start = children_cpu_s(), time.process_time(), time.monotonic()
            work()
            end, cpu = time.monotonic(), time.process_time() - cpu
            engine_cpu = children_cpu_s() - engine_cpu
        steps = [one for one in json.loads(log.read_text()) if one[0] >= start]
    busy = sum(done - begun for begun, done, _, _ in steps)
    return {
        "wall_s": end - start,
        "card_s": busy,
        "busy": busy / (end - start),
        "busy_until_last_step": busy / (steps[-1][1] - start),
        "first_step_s": steps[0][0] - start,
        "after_last_step_s": end - steps[-1][1],
        "tokens_per_question": sum(n for _, _, n, _ in steps) / load.n_questions,
        "full_slots": sum((done - begun) * n for begun, done, _, n in steps) / busy / slots,
        "cpu_ms_per_question": 1000 * cpu / load.n_questions,
        "engine_cpu_ms_per_question": 1000 * engine_cpu / load.n_questions,
    }


def children_cpu_s() -> float:
    """Processor time of vLLM's processes so far, in seconds."""
    times = (child.cpu_times() for child in psutil.Process().children(recursive=True))
    return sum(one.user + one.system for one in times)


@contextmanager
def loaded(model: Model, slots: int) -> Iterator[VllmEngine]:
    EngineOnSimulatedCard.n_slots = slots
    engine = EngineOnSimulatedCard(model, EngineSettings(engine="vllm"))
    try:
        yield engine
    finally:
        engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", choices=LOADS, nargs="*", default=list(LOADS))
    parser.add_argument("--model", choices=SPEEDS, nargs="*", default=list(SPEEDS))
    parser.add_argument("--side", choices=SIDES, nargs="*", default=["bench", "vllm"])
    parser.add_argument("--slots", type=int, default=N_SEQUENCES)
    parser.add_argument("--share", type=float, default=1.0, help="of the questions of the load")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = []
    for name in given.load:
        for model in given.model:
            for side in given.side:
                told = measured(side, SPEEDS[model], LOADS[name](given.share), slots=given.slots)
                found.append({"load": name, "model": model, "side": side, "slots": given.slots, **told})
                if not given.json:
                    figures = (f"{key} {value:.3g}" for key, value in told.items())
                    print(name, model, side, *figures, sep="  ", flush=True)
    if given.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
