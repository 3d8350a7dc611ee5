"""A server that shortens prompts without a word is told by the tokens that it counts."""

from __future__ import annotations

import pytest

from runners.engines import ChatPrompt, GenerationRequest
from runners.engines.server.engine import ServerEngine
from runners.engines.server.prompt_counts import PromptCounts
from tests.doubles.openai_double import running_server
from tracker.records import EngineSettings, Model

WORDS = "one two three four five six seven eight nine ten "


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([(WORDS * 10, 40)], "counts 40 tokens in a prompt of 100 words"),
        ([(WORDS * 10, 60)], ""),  # a vocabulary whose tokens span words
        ([(WORDS * 10, 0)], ""),  # the server does not count
        ([(WORDS * 2, 4)], ""),  # too short to tell
        (
            [(WORDS * n, 4096) for n in (600, 700, 650)],
            "counts 4,096 tokens in prompts of 29,400 and of 34,300 characters",
        ),
        ([(WORDS * n, 4096 + n) for n in (600, 700, 650)], ""),
        ([(WORDS * 600, 4096)] * 3, ""),  # one prompt asked three times
        ([(WORDS * 600 + "x" * n, 4096) for n in (1, 2, 3)], ""),  # as long as each other
        ([(WORDS * n, 4096) for n in (600, 650, 700)] + [(WORDS * 900, 6000)], "counts 4,096 tokens"),
        ([("9" * n, 100) for n in (90, 120, 150)], ""),  # short prompts often have equally many
        (
            [(ChatPrompt(WORDS * 10, [{"role": "user", "content": "Hi"}]), 9)],
            "",
        ),  # tools, which it may ignore
    ],
)
def test_server_engine_a_shortened_prompt_is_told(seen: list[tuple[str, int]], expected: str) -> None:
    counts = PromptCounts()
    for prompt, n_tokens in seen:
        counts.add(prompt, n_tokens)
    assert expected in counts.problem
    assert bool(expected) == bool(counts.problem)


def test_server_engine_a_server_that_shortens_prompts_is_a_difference_told_once() -> None:
    with running_server(usage={"prompt_tokens": 16}) as server:
        engine = ServerEngine(
            Model("acme/bigram", "server:1"), EngineSettings(engine="server", base_url=server.url)
        )
        for n in (6, 8):
            dict(engine.generate([GenerationRequest(WORDS * n, 4)]))
        (said,) = engine.differences
    assert said.startswith("the server counts 16 tokens in a prompt of 60 words, so it seems to cut prompts")
