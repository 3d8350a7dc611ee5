"""Log-probabilities of continuations from llama.cpp's server, one token at a time.

The choices of a question share its context, so they are scored one after the other in the same slot of the
server, which keeps the context in its cache; the questions of a task are shared among the slots in the order
of their tokens, so that a few-shot prefix stays there too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from runners.engines import Continuation
from runners.engines.encoding import EncodedPair, Ids, sort_key
from runners.engines.llamacpp.api import LlamaApi, TokenProbs
from runners.engines.steps import note_step
from tracker.errors import EngineError

SOME_TOP = 1024  # the same, where a token must be among them; the whole vocabulary has megabytes
N_TOP = (
    64  # of the most probable tokens: holds the letters of a question, so that one request scores them all
)


@dataclass(slots=True)
class SharedContext:
    """One context, and its continuations: the place of each among the requests, and its tokens."""

    context: Ids
    continuations: list[tuple[int, Ids]] = field(default_factory=list)


@dataclass(slots=True)
class Score:
    """The sum over the tokens of one continuation so far."""

    log_prob: float = 0.0
    is_greedy: bool = True
    n_computed: int = 0

    def add(self, token: int, found: TokenProbs) -> None:
        """Add one token."""
        own = found.top.get(token, found.log_prob)
        self.log_prob += own
        self.is_greedy = self.is_greedy and own >= max(found.top.values())
        self.n_computed += found.n_computed


def by_context(pairs: Sequence[EncodedPair], *, max_len: int) -> list[SharedContext]:
    """The pairs by their context, truncated on the left to `max_len` tokens before the last; sorted."""
    questions: dict[Ids, SharedContext] = {}
    for place, pair in enumerate(pairs):
        ids = (*pair.input_ids(max_len), pair.continuation[-1])
        first = len(ids) - len(pair.continuation)
        question = questions.setdefault(ids[:first], SharedContext(ids[:first]))
        question.continuations.append((place, ids[first:]))
    return sorted(questions.values(), key=lambda question: sort_key(question.context))


class Scorer:
    """Scores questions in the slots of a server; `filler` is a token of whole characters."""

    def __init__(self, api: LlamaApi, *, n_vocab: int, filler: int) -> None:
        self._api, self._n_vocab, self._filler = api, n_vocab, filler

    async def score_all(
        self,
        questions: Sequence[SharedContext],
        answered: Callable[[tuple[int, Continuation]], None],
        *,
        n_slots: int,
    ) -> None:
        """Score every question; `answered` gets the place of each continuation with its answer."""
        waiting = iter(questions)

        async def fill(slot: int) -> None:
            for question in waiting:
                await self._score(question, slot, answered)

        await until_first_error(fill(slot) for slot in range(min(n_slots, len(questions))))

    async def _score(
        self, question: SharedContext, slot: int, answered: Callable[[tuple[int, Continuation]], None]
    ) -> None:
        first: TokenProbs | None = None  # after the context alone
        for place, continuation in question.continuations:
            score = Score()
            for n, token in enumerate(continuation):
                if n == 0 and first is not None and token in first.top:
                    score.add(token, TokenProbs(first.top[token], first.top, 0))
                    continue
                n_top = 1 if n else N_TOP
                found = await self._token(question.context + continuation[:n], token, slot, n_top=n_top)
                note_step()
                score.add(token, found)
                if n == 0:
                    first = first if first is not None else found
            n_tokens = len(question.context) + len(continuation) - 1
            answer = Continuation(
                log_prob=score.log_prob,
                is_greedy=score.is_greedy,
                prompt_tokens=len(question.context),
                output_tokens=len(continuation),
                cached_tokens=max(0, n_tokens - score.n_computed),
            )
            answered((place, answer))

    async def _token(self, prompt: Ids, token: int, slot: int, *, n_top: int) -> TokenProbs:
        found = await self._api.token_probs(prompt, token, slot=slot, n_top=n_top)
        if found is not None:
            return found
        # part of a character, of which the server tells nothing: it is looked up beside another token
        for n in (SOME_TOP, self._n_vocab):
            found = await self._api.token_probs(prompt, token, slot=slot, n_top=n, instead=self._filler)
            if found is not None and token in found.top:
                return found
        raise EngineError(f"llama.cpp tells no probability of the token {token}", reason="unsupported")


async def until_first_error(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it at once; once a part fails, cancel the others and raise its error."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
