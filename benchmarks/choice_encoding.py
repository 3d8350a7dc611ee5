"""CPU time to encode and plan multiple-choice questions: each line once, against each text as a whole.

`python -m benchmarks.choice_encoding [--questions N] [--json]`: the tokenizer of the embedded model, both
ways in turn in one process; CPU seconds of all threads. The ids are compared before anything is told.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from transformers import AutoTokenizer

from runners.engines import ContinuationRequest
from runners.engines.encoding import EncodedPair, encode_pairs
from runners.engines.vllm.scoring import plan_scoring
from runners.models.demo import demo_model
from tracker.settings import load_settings

N_QUESTIONS = 200
N_ROUNDS = 5
SEED = 1234
MAX_LEN = 8191
BLOCK_TOKENS = 16
WORDS = (
    "the a of river market copper which answer seven orbit theory plant cell energy price left window grammar"
)


def sentence(draw: random.Random, n: int) -> str:
    return " ".join(draw.choice(WORDS.split()) for _ in range(n)).capitalize()


def asked(draw: random.Random, *, endings: bool) -> str:
    lines = [f"Question: {sentence(draw, 40)}?"]
    if not endings:
        lines += [f"{letter}. {sentence(draw, 12)}" for letter in "ABCD"]
    return "\n".join([*lines, "Answer:"])


def letters(n: int) -> list[ContinuationRequest]:
    """Five examples for all, four letters to choose from: MMLU's form."""
    draw = random.Random(SEED)
    shots = "".join(f"{asked(draw, endings=False)} {draw.choice('ABCD')}\n\n" for _ in range(5))
    contexts = [shots + asked(draw, endings=False) for _ in range(n)]
    return [ContinuationRequest(context, f" {letter}") for context in contexts for letter in "ABCD"]


def endings(n: int) -> list[ContinuationRequest]:
    """Ten examples of its own for each question, four endings: HellaSwag's form."""
    draw = random.Random(SEED)
    pool = [f"{asked(draw, endings=True)} {sentence(draw, 25)}\n\n" for _ in range(200)]
    contexts = ["".join(draw.sample(pool, 10)) + asked(draw, endings=True) for _ in range(n)]
    return [ContinuationRequest(context, f" {sentence(draw, 25)}") for context in contexts for _ in range(4)]


class Whole:
    """The tokenizer as one of which only whole texts can be encoded."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.bos_token_id, self.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        self.encode, self.decode = tokenizer.encode, tokenizer.decode

    def __call__(self, texts: Sequence[str], **named: Any) -> Any:
        return self._tokenizer(texts, **named)


def cpu_ms(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def measured(requests: Sequence[ContinuationRequest]) -> dict[str, float]:
    path = demo_model(load_settings()).path
    n = len(requests) / 4
    times: dict[str, list[float]] = {"whole": [], "lines": [], "plan": []}
    pairs: list[EncodedPair] = []
    for _ in range(N_ROUNDS):
        new = AutoTokenizer.from_pretrained(path)  # knows no line yet
        whole = Whole(new)
        pairs = encode_pairs(new, requests[:4])  # reads its vocabulary, once for each load
        times["lines"].append(cpu_ms(lambda: encode_pairs(new, requests)) / n)  # noqa: B023
        times["whole"].append(cpu_ms(lambda: encode_pairs(whole, requests)) / n)  # noqa: B023
        pairs = encode_pairs(new, requests)
        if pairs != encode_pairs(whole, requests):
            raise SystemExit("the ids differ")
        times["plan"].append(
            cpu_ms(lambda: plan_scoring(pairs, max_len=MAX_LEN, block_tokens=BLOCK_TOKENS)) / n  # noqa: B023
        )
    found = {name: statistics.median(values) for name, values in times.items()}
    found["tokens"] = statistics.mean(len(p.context) + len(p.continuation) for p in pairs)
    return found | {"ratio": found["whole"] / found["lines"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=N_QUESTIONS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {make.__name__: measured(make(given.questions)) for make in (letters, endings)}
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, row in found.items():
        print(
            f"{name}: {row['tokens']:.0f} tokens a text; CPU ms a question: {row['whole']:.2f} whole,"
            f" {row['lines']:.2f} by lines ({row['ratio']:.1f} times less), {row['plan']:.2f} to plan"
        )


if __name__ == "__main__":
    main()
