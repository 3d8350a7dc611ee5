"""Prompts of random words, each of about the same number of tokens, and what a first request shows.

Random words have no common beginning, so no cache of prefixes answers them; every engine gets the same ones.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.engines.server.api import ServerApi
from runners.engines.serving import RunningServer
from tracker.errors import EngineError
from tracker.records.speed import SpeedLoad
from tracker.serialization import write_atomically

SEED = 20_261_201
TRIED_WORDS = 64  # of the first request, which tells how many tokens a word has
WARM_REQUESTS, WARM_TOKENS = 16, 8  # at most so many at once before anything is measured, and so many tokens
COMPLETIONS, CHAT = "/completions", "/chat/completions"
# of one token each in most vocabularies
TEXT = """
time year people way day man thing woman life child world school state family student group country problem
hand part place case week company system program question work government number night point home water room
mother area money story fact month lot right study book eye job word business issue side kind head house
service friend father power hour game line end member law car city community name
"""
WORDS = TEXT.split()


@dataclass(frozen=True, slots=True)
class ServerProbe:
    """What the first requests showed."""

    endpoint: str  # after the base URL
    ignores_end: bool  # the server takes `ignore_eos`, so answers have the length that is asked for
    n_words: int  # of a prompt
    prompt_tokens: int  # of one such prompt, as the server counts


def probe_server(server: RunningServer, load: SpeedLoad) -> ServerProbe:
    """Find the endpoint and the length of a prompt, and warm the server up; nothing is measured yet.

    Raises:
        EngineError: the server refuses every form of the request, or counts no tokens.
        UnreachableError: it does not answer.
    """
    return asyncio.run(_probe(server, load))


async def _probe(server: RunningServer, load: SpeedLoad) -> ServerProbe:
    generator = random.Random(SEED)
    async with ServerApi(server.base_url, api_key=server.key) as api:
        refusal: EngineError | None = None
        for endpoint in (COMPLETIONS, CHAT):
            for ignores_end in (True, False):
                body = _body(
                    server.served_name, endpoint, prompt(generator, TRIED_WORDS), ignores_end=ignores_end
                )
                try:
                    answer = await api.post(endpoint, body)
                except EngineError as error:
                    refusal = refusal or error
                    continue
                return await _warmed(
                    api, server, load, ServerProbe(endpoint, ignores_end, TRIED_WORDS, _prompt_tokens(answer))
                )
        assert refusal is not None
        raise refusal


async def _warmed(api: ServerApi, server: RunningServer, load: SpeedLoad, first: ServerProbe) -> ServerProbe:
    """The probe for prompts as long as asked for, after a few of them at once."""
    generator = random.Random(SEED + 1)
    n_words = max(1, round(load.input_tokens * first.n_words / first.prompt_tokens))
    bodies = [
        _body(server.served_name, first.endpoint, prompt(generator, n_words), ignores_end=first.ignores_end)
        for _ in range(min(max(load.sweep), WARM_REQUESTS))
    ]
    answers = await asyncio.gather(*(api.post(first.endpoint, body) for body in bodies))
    n_tokens = sum(_prompt_tokens(answer) for answer in answers)
    return ServerProbe(first.endpoint, first.ignores_end, n_words, round(n_tokens / len(answers)))


def _body(name: str, endpoint: str, text: str, *, ignores_end: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"model": name, "temperature": 0}
    body |= {"ignore_eos": True} if ignores_end else {}
    if endpoint == CHAT:
        message = {"role": "user", "content": text}
        return body | {"messages": [message], "max_completion_tokens": WARM_TOKENS}
    return body | {"prompt": text, "max_tokens": WARM_TOKENS}


def _prompt_tokens(answer: Mapping[str, Any]) -> int:
    usage = answer.get("usage")
    found = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise EngineError(
            "the server does not say how many tokens a prompt has, so its speed cannot be given in tokens",
            reason="unsupported",
            hint="use a server that fills in `usage`, as vLLM, SGLang, llama.cpp and Ollama do",
        )
    return found


def prompt(generator: random.Random, n_words: int) -> str:
    """Random words; the first is a random number, so that no two prompts begin alike."""
    return " ".join([str(generator.getrandbits(32)), *generator.choices(WORDS, k=n_words - 1)])


def write_prompts(path: Path, *, n: int, n_words: int, seed: int) -> None:
    """Write the prompts of a level as the generator reads them: one JSON object a line."""
    generator = random.Random(seed)
    lines = [json.dumps({"prompt": prompt(generator, n_words)}) for _ in range(n)]
    write_atomically(path, "\n".join(lines).encode())
