"""What the engine asks of llama.cpp's server, beside OpenAI's API: tokens, and the probability of one.

The server gives log-probabilities only of what it writes, not of a prompt. So a token is made the one that it
writes, by a bias on its logit: the log-probabilities that it then tells are those before the bias, of the
model itself, over the whole vocabulary. `tests/runners/engines/test_llamacpp_scores.py` compares them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runners.engines.encoding import Ids
from runners.engines.llamacpp.server_process import LAST_WORDS_S, LlamaServer
from runners.engines.server.api import ServerApi
from tracker.errors import EngineError, TransientError, UnreachableError

BIAS = 1e6  # larger than any logit
AT_ONCE = 16  # texts that are tokenized at a time
FLOAT_LEAST = -103.28  # ln 2^-149: smaller probabilities are 0 for the server, which counts in 32 bits
ONLY_GREEDY = {"samplers": ["top_k"], "top_k": 1, "temperature": 0.0}  # the most probable token, nothing else


@dataclass(frozen=True, slots=True)
class TokenProbs:
    """The log-probabilities after one prompt, in nats: of the token asked about, and of the most probable."""

    log_prob: float
    top: dict[int, float]  # of some of the most probable tokens
    n_computed: int  # tokens of the prompt that were not in the slot's cache


class LlamaApi:
    """An open connection to the server; an async context manager."""

    def __init__(self, server: LlamaServer) -> None:
        self._server = server
        self._http = ServerApi(server.base_url, api_key=server.key)

    async def __aenter__(self) -> LlamaApi:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.__aexit__(None, None, None)

    @property
    def http(self) -> ServerApi:
        """The client of OpenAI's API."""
        return self._http

    async def props(self) -> dict[str, Any]:
        """What the server says about the model."""
        return await self._http.described("/props")

    async def tokenize(self, texts: Sequence[str], *, add_special: bool) -> list[list[int]]:
        """The tokens of each text; marks of special tokens in it become those tokens."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(text: str) -> list[int]:
            body = {"content": text, "add_special": add_special, "parse_special": True}
            async with gate:
                return [int(token) for token in (await self.post("/tokenize", body))["tokens"]]

        return list(await asyncio.gather(*map(one, texts)))

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of these tokens, special ones included."""
        return str((await self.post("/detokenize", {"tokens": list(ids)}))["content"])

    async def token_probs(
        self, prompt: Ids, token: int, *, slot: int, n_top: int = 1, instead: int | None = None
    ) -> TokenProbs | None:
        """The log-probabilities after `prompt`; None: `token` is only part of a character.

        `instead`: the token that the server writes, if it cannot be `token` itself.
        """
        written = token if instead is None else instead
        body = ONLY_GREEDY | {
            "prompt": list(prompt),
            "n_predict": 1,
            "n_probs": n_top,
            "logit_bias": [[written, BIAS]],
            "id_slot": slot,
            "cache_prompt": True,
            "return_tokens": True,
            "response_fields": ["completion_probabilities", "tokens", "tokens_evaluated", "timings"],
        }
        answer = await self.post("/completion", body)
        if [int(one) for one in answer["tokens"]] != [written]:
            message = f"llama.cpp wrote the tokens {answer['tokens']} instead of {written}"
            raise EngineError(message, reason="unsupported", hint="update llama.cpp")
        if not answer.get("completion_probabilities"):
            return None
        (found,) = answer["completion_probabilities"]
        top = {int(one["id"]): _number(one["logprob"]) for one in found["top_logprobs"]}
        own = _number(found["logprob"]) if token == written else top.get(token, FLOAT_LEAST)
        n_cached = int(answer["timings"].get("cache_n") or 0)
        return TokenProbs(own, top, int(answer["tokens_evaluated"]) - n_cached)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask, and tell the reason if the server has died.

        Raises:
            EngineError: it died, or refuses.
        """
        try:
            return await self._http.post(path, body)
        except (TransientError, UnreachableError) as error:
            self._server.check(wait_s=LAST_WORDS_S)
            raise EngineError(f"llama.cpp: {error}", reason="engine_died", hint=error.hint) from error


def _number(value: Any) -> float:
    """A log-probability; one below what the server can tell is the least that it can.

    Raises:
        EngineError: it is no number, as with broken weights.
    """
    if not isinstance(value, int | float) or not value <= 0.0:  # which is also false for NaN
        message = f"llama.cpp gives the log-probability {value!r}, so the model computes no numbers"
        raise EngineError(message, reason="broken_weights", hint="download the file again, or another copy")
    return max(float(value), FLOAT_LEAST)
