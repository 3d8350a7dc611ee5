"""The embedded GGUF in llama.cpp against its dequantized weights in transformers: how far apart they are.

`python -m benchmarks.gguf_parity`: choices by log-probability and greedy texts, asked of both engines. Both
compute on the CPU: transformers in float32 on weights rounded to bfloat16, llama.cpp on the Q4_1 blocks with
activations rounded to 8 bits.
"""

from __future__ import annotations

import statistics
from itertools import takewhile

from runners.engines import (
    Continuation,
    ContinuationRequest,
    Engine,
    Generation,
    GenerationRequest,
    open_engine,
)
from runners.models.demo import demo_gguf, demo_model
from tracker.records import EngineSettings
from tracker.settings import load_settings

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo",
    "Russia": "Moscow", "Greece": "Athens", "Kenya": "Nairobi", "Peru": "Lima", "Cuba": "Havana",
}  # fmt: skip
N_CHOICES = 5  # of each question about a capital
N_NUMBERS = 20  # questions whether a number is even
N_TOKENS = 24  # of a greedy text
BEGINNINGS = (
    "Once upon a time", "The capital of France is", "Water boils at", "def add(a, b):", "The sky is",
    "In 1969, humans", "My favorite food is", "The largest planet is", "To make tea,", "Photosynthesis is",
)  # fmt: skip

Answers = tuple[dict[int, Continuation], dict[int, Generation]]


def questions() -> list[list[ContinuationRequest]]:
    """Choices of each question."""
    cities = list(CAPITALS.values())
    found = [
        [
            ContinuationRequest(f"Question: What is the capital of {country}?\nAnswer:", f" {city}")
            for city in (cities[n:] + cities[:n])[:N_CHOICES]
        ]
        for n, country in enumerate(CAPITALS)
    ]
    words = (" even", " odd", " neither of the two")
    return found + [[ContinuationRequest(f"{n} is", word) for word in words] for n in range(N_NUMBERS)]


def answers(engine: Engine) -> Answers:
    """Of one engine to everything."""
    flat = [one for choices in questions() for one in choices]
    scored = dict(engine.log_probs(flat))
    texts = dict(engine.generate([GenerationRequest(text, N_TOKENS) for text in BEGINNINGS]))
    engine.close()
    return scored, texts


def best(scored: dict[int, Continuation]) -> list[int]:
    """The choice of each question."""
    picked, start = [], 0
    for choices in questions():
        places = range(start, start + len(choices))
        picked.append(max(places, key=lambda place: scored[place].log_prob) - start)
        start += len(choices)
    return picked


def beginning(a: str, b: str) -> int:
    """Characters at the beginning that two texts share."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def main() -> None:
    """Print the table."""
    settings = load_settings()
    ours = answers(open_engine(demo_gguf(), EngineSettings(engine="llamacpp", max_model_len=512)))
    theirs = answers(open_engine(demo_model(settings), EngineSettings(engine="transformers")))
    apart = [abs(ours[0][n].log_prob - theirs[0][n].log_prob) for n in theirs[0]]
    tokens = [theirs[0][n].output_tokens for n in theirs[0]]
    same_tokens = all(
        (ours[0][n].prompt_tokens, ours[0][n].output_tokens)
        == (theirs[0][n].prompt_tokens, theirs[0][n].output_tokens)
        for n in theirs[0]
    )
    per_token = [d / n for d, n in zip(apart, tokens, strict=True)]
    picked = list(zip(best(ours[0]), best(theirs[0]), strict=True))
    same = sum(a == b for a, b in picked)
    texts = [(ours[1][n].text, theirs[1][n].text) for n in range(len(BEGINNINGS))]
    whole = sum(a == b for a, b in texts)
    shared = [beginning(a, b) / max(len(a), len(b), 1) for a, b in texts]
    token, choice = (f"mean {statistics.mean(some):.3f}, max {max(some):.3f}" for some in (per_token, apart))
    print(f"tokens of all {len(apart)} choices equal: {same_tokens}")
    print(f"log-probability, nats apart: of a token {token}; of a choice {choice}")
    print(f"best choice equal: {same} of {len(picked)}")
    print(f"greedy texts of {N_TOKENS} tokens equal: {whole} of {len(texts)}")
    print(f"shared beginning of the texts: {statistics.mean(shared):.0%}")


if __name__ == "__main__":
    main()
