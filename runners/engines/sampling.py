"""The next token of one answer: the most probable one, or drawn with a generator of its own.

What a row draws depends on its seed and its own logits only, never on the rows beside it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from transformers import (
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from runners.engines import GenerationRequest
from runners.engines.constrained import Constraint

SEED_BYTES = 7  # torch takes 63 bits


def model_processors(config: Any) -> LogitsProcessorList:
    """What the checkpoint's generation config wants done to its logits, also when decoding greedily."""
    processors = LogitsProcessorList()
    if (config.repetition_penalty or 1.0) != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    if config.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if config.suppress_tokens:
        processors.append(SuppressTokensLogitsProcessor(config.suppress_tokens))
    return processors


def request_seed(request: GenerationRequest, *, seed: int, repeat: int) -> int:
    """The request's own seed, or one made of the engine's, the prompt and how often it was asked before."""
    if request.seed is not None:
        return request.seed
    text = f"{seed}\0{repeat}\0{request.prompt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:SEED_BYTES], "big")


class TokenChoice:
    """How one request chooses its tokens."""

    def __init__(
        self,
        request: GenerationRequest,
        processors: LogitsProcessorList,
        *,
        seed: int,
        constraint: Constraint | None = None,
    ) -> None:
        """Choose as `request` says, after `processors`, and only what `constraint` allows."""
        self._temperature = request.temperature
        self._top_p = request.top_p
        self._processors = processors
        self._seed = seed
        self._constraint = constraint
        self._generator = torch.Generator() if request.temperature > 0 else None
        self.restart()

    def restart(self) -> None:
        """Draw from the beginning again."""
        if self._generator is not None:
            self._generator.manual_seed(self._seed)
        if self._constraint is not None:
            self._constraint.restart()

    @property
    def is_argmax(self) -> bool:
        """Whether it is just the largest logit."""
        return self._generator is None and not self._processors and self._constraint is None

    def pick(self, logits: torch.Tensor, ids: list[int], *, n_prompt: int) -> int:
        """The token after `ids`, of which `n_prompt` are the prompt's, given `logits` (V,)."""
        scores = logits.float().cpu()[None]  # (1, V)
        if self._processors:
            scores = self._processors(torch.tensor([ids]), scores)
        if self._constraint is not None:
            scores = self._constraint.restrict(scores[0], ids[n_prompt:])[None]
        if self._generator is None:
            return int(scores.argmax())
        probs = _nucleus(torch.softmax(scores[0] / self._temperature, -1), self._top_p)
        return int(torch.multinomial(probs, 1, generator=self._generator))


def _nucleus(probs: torch.Tensor, top_p: float) -> torch.Tensor:
    """`probs` without the tail beyond the most probable tokens that make up `top_p`; at least one stays."""
    if top_p >= 1.0:
        return probs
    ordered, tokens = probs.sort(descending=True)
    is_tail = ordered.cumsum(-1) - ordered >= top_p
    return probs.index_fill(-1, tokens[is_tail], 0.0)
