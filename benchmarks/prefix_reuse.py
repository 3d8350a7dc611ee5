"""Savings of reading shared prefixes once on few-shot multiple choice, compared with stock lm-eval.

`python -m benchmarks.prefix_reuse [--questions N] [--json]`: the embedded model, the same requests in one
process, our engine before and after lm-eval's own `HFLM`. Tokens are counted where they enter the model; for
`HFLM` with and without its padding. Times are wall and CPU seconds; a busy machine affects the first more.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from runners.engines import ContinuationRequest
from runners.engines.transformers.engine import TransformersEngine
from runners.models.demo import demo_model
from tracker.records import EngineSettings
from tracker.settings import load_settings

N_QUESTIONS = 12
N_SHOTS = 5
STOCK_BATCH = 8
SEED = 1234
LETTERS = "ABCD"
PEOPLE = ("Amina", "Bjorn", "Chiara", "Daniel", "Efua", "Farid", "Greta", "Hiro")
GOODS = ("crates of oranges", "boxes of nails", "sacks of flour", "bundles of newspapers", "jars of honey")


@dataclass(frozen=True, slots=True)
class Question:
    """A word problem with four choices, about as long as an item of MMLU or ARC."""

    text: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The cost of answering one set of requests in one way."""

    n_tokens: int  # that entered the model
    n_padding: int  # of these
    wall_s: float
    cpu_s: float


def make_question(rng: random.Random) -> Question:
    seller, buyer = rng.sample(PEOPLE, 2)
    goods = rng.choice(GOODS)
    stock, sold, back = rng.randint(40, 90), rng.randint(10, 30), rng.randint(2, 9)
    text = (
        f"On Monday morning {seller} has {stock} {goods} in the shop on the corner. Before noon {buyer} "
        f"buys {sold} of them for a restaurant, finds that {back} are damaged, and brings those back "
        f"the same evening. "
        f"How many {goods} are in the shop when it closes?"
    )
    right = stock - sold + back
    values = [right, right - back, stock - back, right + 10]
    order = rng.sample(range(4), 4)
    choices = tuple(f"{values[place]} {goods}, among them the damaged ones" for place in order)
    return Question(text, choices, order.index(0))


def phrase_prompt(question: Question, *, answered: bool) -> str:
    """The format of ARC and HellaSwag: the choices are continuations of several tokens."""
    answer = f" {question.choices[question.answer]}\n\n" if answered else ""
    return f"Question: {question.text}\nAnswer:{answer}"


def letter_prompt(question: Question, *, answered: bool) -> str:
    """The format of MMLU: the choices are in the prompt, the continuation is one letter."""
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, question.choices, strict=True))
    answer = f" {LETTERS[question.answer]}\n\n" if answered else ""
    return f"{question.text}\n{listed}\nAnswer:{answer}"


def make_requests(n_questions: int, *, letters: bool) -> list[ContinuationRequest]:
    rng = random.Random(SEED)
    prompt = letter_prompt if letters else phrase_prompt
    few_shot = "".join(prompt(make_question(rng), answered=True) for _ in range(N_SHOTS))
    return [
        ContinuationRequest(few_shot + prompt(question, answered=False), f" {choice}")
        for question in (make_question(rng) for _ in range(n_questions))
        for choice in (LETTERS if letters else question.choices)
    ]


def measured(answer: Callable[[], Any], count: Callable[[], tuple[int, int]]) -> tuple[Any, Measured]:
    """The answers and their cost; `count` gives tokens and padding so far."""
    tokens, padding = count()
    wall, cpu = time.perf_counter(), time.process_time()
    answers = answer()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return answers, Measured(count()[0] - tokens, count()[1] - padding, wall, cpu)


class StockCounter:
    """Counts the tokens that enter the model of stock lm-eval, and how many are right padding (zeros)."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.n_tokens = self.n_padding = 0
        model.register_forward_pre_hook(self._count)

    def _count(self, _: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        (batch,) = inputs
        self.n_tokens += batch.numel()
        self.n_padding += int((batch.flip(1).cumsum(1) == 0).sum())  # id 0 is no token of these requests


def compare(engine: TransformersEngine, stock: HFLM, requests: list[ContinuationRequest]) -> dict[str, Any]:
    instances = [
        Instance("loglikelihood", {}, (r.context, r.continuation), n) for n, r in enumerate(requests)
    ]
    counter = StockCounter(stock.model)

    def ours() -> dict[int, Any]:
        engine._reader.forget()
        return dict(engine.log_probs(requests))

    answers, first = measured(ours, lambda: (engine.prefilled_tokens, 0))
    expected, theirs = measured(
        lambda: stock.loglikelihood(instances, disable_tqdm=True),
        lambda: (counter.n_tokens, counter.n_padding),
    )
    _, second = measured(ours, lambda: (engine.prefilled_tokens, 0))
    wall_s, cpu_s = (first.wall_s + second.wall_s) / 2, (first.cpu_s + second.cpu_s) / 2
    return {
        "n_requests": len(requests),
        "context_tokens": max(answer.prompt_tokens for answer in answers.values()),
        "ours": asdict(first) | {"wall_s": wall_s, "cpu_s": cpu_s},
        "stock": asdict(theirs),
        "fewer_tokens": (theirs.n_tokens - theirs.n_padding) / first.n_tokens,
        "fewer_tokens_with_padding": theirs.n_tokens / first.n_tokens,
        "wall_ratio": theirs.wall_s / wall_s,
        "cpu_ratio": theirs.cpu_s / cpu_s,
        "largest_difference": max(abs(answers[n].log_prob - pair[0]) for n, pair in enumerate(expected)),
        "same_greedy": all(answers[n].is_greedy == pair[1] for n, pair in enumerate(expected)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=N_QUESTIONS)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    model = demo_model(load_settings())
    engine = TransformersEngine(model, EngineSettings())
    stock = HFLM(pretrained=model.path, dtype="float32", device="cpu", batch_size=STOCK_BATCH)
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, {engine.info.device}"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    results = {
        name: compare(engine, stock, make_requests(arguments.questions, letters=letters))
        for name, letters in (("choices of several tokens", False), ("single letters", True))
    }
    for name, result in results.items():
        stock_tokens, padding = result["stock"]["n_tokens"], result["stock"]["n_padding"]
        print(
            f"{N_SHOTS}-shot, {arguments.questions} questions, 4 {name}, "
            f"contexts to {result['context_tokens']} tokens: {result['ours']['n_tokens']} tokens read, "
            f"stock {stock_tokens - padding} and {padding} of padding: {result['fewer_tokens']:.1f} × fewer, "
            f"wall {result['wall_ratio']:.1f} × and CPU {result['cpu_ratio']:.1f} × less; "
            f"largest difference {result['largest_difference']:.1e} nats",
            file=sys.stderr,
        )
    print(f"{model.model_id} in {engine.info.dtype}; {machine}; {versions}", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"machine": machine, "versions": versions, "results": results}))


if __name__ == "__main__":
    main()
