"""Choose the next token of one answer: the most probable one, or one sampled with the answer's own generator.

The tokens of a row depend on its seed and its own logits only, never on other rows of the batch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TopKLogitsWarper,
)

from runners.engines import GenerationRequest
from runners.engines.json_schema import Constraint


def model_processors(config: Any, sampling: Mapping[str, Any]) -> LogitsProcessorList:
    """Processors that greedy decoding uses too: as the request says, else as the checkpoint's config does."""
    processors = LogitsProcessorList()
    penalty = sampling.get("repetition_penalty", config.repetition_penalty) or 1.0
    if penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(float(penalty)))
    n_gram = sampling.get("no_repeat_ngram_size", config.no_repeat_ngram_size)
    if n_gram:
        processors.append(NoRepeatNGramLogitsProcessor(int(n_gram)))
    if config.suppress_tokens:
        processors.append(SuppressTokensLogitsProcessor(config.suppress_tokens))
    return processors


class TokenChoice:
    """Chooses the tokens of one request."""

    def __init__(
        self,
        request: GenerationRequest,
        processors: LogitsProcessorList,
        *,
        seed: int,
        constraint: Constraint | None = None,
        end_ids: Collection[int] = (),
    ) -> None:
        """Choose according to `request`, after `processors`, only tokens that `constraint` allows.

        `end_ids`: tokens that end an answer, not chosen before the request's `min_new_tokens`.
        """
        self._temperature = request.temperature
        self._top_p = request.top_p
        self._processors = processors
        self._min_new_tokens = int(request.sampling.get("min_new_tokens") or 0)
        self._end_ids = list(end_ids)
        top_k, min_p = request.sampling.get("top_k"), request.sampling.get("min_p")
        self._top_k = TopKLogitsWarper(int(top_k)) if top_k else None
        self._min_p = MinPLogitsWarper(float(min_p)) if min_p else None
        self._presence = float(request.sampling.get("presence_penalty") or 0.0)
        self._frequency = float(request.sampling.get("frequency_penalty") or 0.0)
        self._seed = seed
        self._constraint = constraint
        self._generator = torch.Generator() if request.temperature > 0 else None
        self.restart()

    def restart(self) -> None:
        """Restart from the first token."""
        if self._generator is not None:
            self._generator.manual_seed(self._seed)
        if self._constraint is not None:
            self._constraint.restart()

    @property
    def is_argmax(self) -> bool:
        """Whether the choice is simply the largest logit."""
        is_free = not self._processors and self._constraint is None and not self._min_new_tokens
        is_free = is_free and not self._presence and not self._frequency
        return self._generator is None and is_free

    def _penalized(self, scores: torch.Tensor, written: list[int]) -> torch.Tensor:
        """`scores` (1, V) after the penalties of OpenAI's API, which count the tokens written so far."""
        counts = _counts(written, scores.shape[-1]).to(scores.dtype)
        return scores - self._frequency * counts - self._presence * (counts > 0)

    def pick(self, logits: torch.Tensor, ids: list[int], *, n_prompt: int) -> int:
        """The token after `ids`, the first `n_prompt` of which are the prompt, given `logits` (V,)."""
        scores = logits.float().cpu()[None]  # (1, V)
        if self._processors:
            scores = self._processors(torch.tensor([ids]), scores)
        if (self._presence or self._frequency) and len(ids) > n_prompt:
            scores = self._penalized(scores, ids[n_prompt:])
        if len(ids) - n_prompt < self._min_new_tokens:
            scores = scores.index_fill(-1, torch.tensor(self._end_ids, dtype=torch.long), -torch.inf)
        if self._constraint is not None:
            scores = self._constraint.restrict(scores[0], ids[n_prompt:])[None]
        if self._generator is None:
            return int(scores.argmax())
        scores = scores / self._temperature
        if self._top_k is not None:
            scores = self._top_k(None, scores)
        probs = _nucleus(torch.softmax(scores[0], -1), self._top_p)
        if self._min_p is not None:
            probs = torch.softmax(self._min_p(None, probs.log()[None])[0], -1)
        return int(torch.multinomial(probs, 1, generator=self._generator))


def _counts(ids: list[int], n_tokens: int) -> torch.Tensor:
    """How often each token of the vocabulary is in `ids`."""
    return torch.bincount(torch.tensor(ids, dtype=torch.long), minlength=n_tokens)[:n_tokens]  # (V,)


def _nucleus(probs: torch.Tensor, top_p: float) -> torch.Tensor:
    """`probs` restricted to the most probable tokens that sum to `top_p`, at least one."""
    if top_p >= 1.0:
        return probs
    ordered, tokens = probs.sort(descending=True)
    is_tail = ordered.cumsum(-1) - ordered >= top_p
    return probs.index_fill(-1, tokens[is_tail], 0.0)
