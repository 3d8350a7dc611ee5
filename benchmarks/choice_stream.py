"""How busy a card stays with multiple-choice questions: through the bench, and with vLLM alone.

`python -m benchmarks.choice_stream [--model 8B|1B] [--questions N] [--side bench|vllm] [--json]`, where
vLLM is installed: 57 subjects in the form of MMLU, five examples each, some 650 tokens a question of which
115 are new. vLLM, its scheduler and its processes are real; the card is simulated
(`benchmarks.simulated_card`), so that it takes no processor. `vllm`: the same requests, encoded beforehand,
handed to vLLM as fast as it takes them. Speeds are assumptions.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from runners.engines import ContinuationRequest
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
SPEED = "SIMULATED_CARD"  # environment: milliseconds of a step, tokens in a millisecond, and a file
N_SUBJECTS = 57
N_QUESTIONS = 14_042  # of MMLU
N_SEQUENCES, N_BATCH_TOKENS = 1_024, 16_384  # what vLLM chooses on a large card
MAX_LEN, BLOCK_TOKENS = 2_048, 32
SEED = 1234
WORDS = (
    "the a of river market copper which answer seven orbit theory plant cell energy price left window grammar"
)
GROUP = """\
group: subjects
task: [{tasks}]
aggregate_metric_list: [{{metric: acc, weight_by_size: true}}]
metadata: {{version: 1}}
"""
TASK = """\
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
MAKE = f"""\
import random

from datasets import Dataset

WORDS = "{WORDS}".split()


def questions(*, n_items, number, **_):
    draw = random.Random(number)

    def text(n):
        return " ".join(draw.choice(WORDS) for _ in range(n)).capitalize()

    def rows(n):
        return Dataset.from_list(
            [
                {{
                    "question": text(40) + "?",
                    "choices": [text(14) for _ in "ABCD"],
                    "answer": draw.randrange(4),
                }}
                for _ in range(n)
            ]
        )

    return {{"test": rows(n_items), "dev": rows(5)}}
"""


Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Speed:
    """Of a card: the least time of a step, and how fast it reads prompts."""

    step_ms: float
    tokens_per_ms: float


SPEEDS = {"8B": Speed(6.0, 33.0), "1B": Speed(2.0, 255.0)}


class EngineOnSimulatedCard(VllmEngine):
    """Our engine, whose vLLM has a simulated card."""

    def _load(self) -> Any:
        return self._vllm.LLM(
            model=self._model.path,
            dtype="float32",
            max_model_len=MAX_LEN,
            seed=self._settings.seed,
            disable_log_stats=False,
            enforce_eager=True,
            kv_cache_memory_bytes=2**30,
            distributed_executor_backend=CARD,
            max_num_seqs=N_SEQUENCES,
            max_num_batched_tokens=N_BATCH_TOKENS,
            block_size=BLOCK_TOKENS,
        )


def tiny_model(folder: Path) -> Model:
    """Weights of a few kilobytes with the embedded model's tokenizer."""
    embedded = demo_model(load_settings())
    tokenizer = AutoTokenizer.from_pretrained(embedded.path)
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=MAX_LEN,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return Model("acme/simulated", "0" * 40, path=str(folder))


def write_tasks(folder: Path, n_questions: int) -> None:
    names = [f"subject_{n}" for n in range(N_SUBJECTS)]
    (folder / "make.py").write_text(MAKE)
    (folder / "subjects.yaml").write_text(GROUP.format(tasks=", ".join(names)))
    for n, name in enumerate(names):
        text = TASK.format(number=n, n_items=n_questions // N_SUBJECTS)
        (folder / f"{name}.yaml").write_text(text)


def bench_side(engine: VllmEngine, suite: Suite, tasks: Sequence[PreparedTask], folder: Path) -> Work:
    """All that a worker does between a loaded engine and the scores."""
    request = RunRequest("run", suite)
    job = Job(engine._model, EngineSettings(engine="vllm"), (request,), str(folder / "items"))
    return RunningSuite(engine, job, request, tasks, lambda _: None, lambda: False).run_tasks


def vllm_side(engine: VllmEngine, _: Suite, tasks: Sequence[PreparedTask], __: Path) -> Work:
    """The same requests, encoded beforehand."""
    requests = [
        request
        for leaf in leaves_of(tasks)
        for question in leaf.questions(docs=None, chat_prompt=None)
        for request in question.requests
        if isinstance(request, ContinuationRequest)
    ]
    pairs = encode_pairs(engine._tokenizer, requests)
    plan = plan_scoring(pairs, max_len=MAX_LEN - 1, block_tokens=BLOCK_TOKENS)
    work = [(n, plan.probes[n].ids, engine._scoring_params(plan.probes[n])) for n in plan.order]
    return lambda: sum(1 for _ in engine._answers(iter(work)))


def leaves_of(tasks: Sequence[PreparedTask]) -> list[LeafTask]:
    return [leaf for task in tasks if task.loaded for leaf in task.loaded.leaves]


SIDES: Mapping[str, Callable[[VllmEngine, Suite, Sequence[PreparedTask], Path], Work]] = {
    "bench": bench_side,
    "vllm": vllm_side,
}


def measured(side: str, speed: Speed, n_questions: int) -> dict[str, float]:
    """Share of the time from the first step asked for to the last in which the card worked."""
    random.seed(SEED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "steps.json"
        os.environ[SPEED] = json.dumps(
            {"step_ms": speed.step_ms, "tokens_per_ms": speed.tokens_per_ms, "path": str(log)}
        )
        (folder / "tasks").mkdir()
        write_tasks(folder / "tasks", n_questions)
        suite = Suite("subjects", 1, "", (Task("subjects"),), include_path=str(folder / "tasks"))
        tasks, model = prepare(suite, cache_path=folder / "cache"), tiny_model(folder / "model")
        with prompts_ahead([(leaf, None) for leaf in leaves_of(tasks)]):
            engine = EngineOnSimulatedCard(model, EngineSettings(engine="vllm"))
            try:
                work = SIDES[side](engine, suite, tasks, folder)
                forget_loaded()
                cpu, start = time.process_time(), time.monotonic()
                work()
                end, cpu = time.monotonic(), time.process_time() - cpu
            finally:
                engine.close()
        steps = [one for one in json.loads(log.read_text()) if one[0] >= start]
    busy = sum(done - begun for begun, done, _ in steps)
    return {
        "wall_s": end - start,
        "card_s": busy,
        "busy": busy / (end - start),
        "first_step_s": steps[0][0] - start,
        "after_last_step_s": end - steps[-1][1],
        "tokens_per_question": sum(n for _, _, n in steps) / (n_questions // N_SUBJECTS * N_SUBJECTS),
        "cpu_ms_per_question": 1000 * cpu / n_questions,
        "children_cpu_s": resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=SPEEDS, nargs="*", default=list(SPEEDS))
    parser.add_argument("--side", choices=SIDES, nargs="*", default=list(SIDES))
    parser.add_argument("--questions", type=int, default=N_QUESTIONS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = []
    for model in given.model:
        for side in given.side:
            told = measured(side, SPEEDS[model], given.questions)
            found.append({"model": model, "side": side, **told})
            if not given.json:
                print(
                    model,
                    side,
                    *(f"{name} {value:.3g}" for name, value in told.items()),
                    sep="  ",
                    flush=True,
                )
    if given.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
