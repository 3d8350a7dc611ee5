"""Constrain answers to a JSON schema: the tokens allowed next, by llguidance's grammar.

Covered: types, ranges of numbers, choices and lengths. The number of digits is not bounded, so an answer can
still hit its token budget. Thinking is unconstrained: the schema applies after it.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Any

import torch

from runners.engines.stopping import AnswerEnd
from runners.engines.thinking import ThinkingMarks
from tracker.errors import EngineError, TrackerError
from tracker.installation import install_command

# The format of `json.dumps` only: a weak model would fill its budget with whitespace.
SPELLING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Constraint:
    """Follows one answer and restricts its next token to those allowed by the schema."""

    def __init__(self, matcher: Any, end: AnswerEnd, *, opening: int | None) -> None:
        """Follow `end`; the token `opening` may start thinking before the answer."""
        self._matcher = matcher
        self._end = end
        self._opening = opening
        self._n_read = 0

    def restart(self) -> None:
        """Follow the same answer from its first token again."""
        self._matcher.reset()
        self._n_read = 0

    def restrict(self, scores: torch.Tensor, written: list[int]) -> torch.Tensor:
        """Set the `scores` (V,) of tokens that may not follow `written` to minus infinity."""
        if self._is_free(written):
            return scores
        answer = written[self._end.start :]
        self._matcher.consume_tokens(answer[self._n_read :])
        self._n_read = len(answer)
        allowed = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8) > 0
        if self._opening is not None and not written:
            allowed[self._opening] = True
        size = scores.shape[-1]  # some models have more logits than tokenizer tokens
        allowed = torch.nn.functional.pad(allowed[:size], (0, max(0, size - len(allowed))), value=False)
        return scores.masked_fill(~allowed, float("-inf"))

    def _is_free(self, written: list[int]) -> bool:
        has_opened = bool(written) and written[0] == self._opening and not self._end.start
        return self._end.is_thinking or has_opened


class Grammars:
    """Creates constraints for one tokenizer; the expensive part is done once, on first use."""

    def __init__(self, tokenizer: Any, *, end_ids: frozenset[int], marks: ThinkingMarks | None) -> None:
        """For answers that end with one of `end_ids`; `marks` None: the model does not think."""
        self._tokenizer = tokenizer
        self._end_ids = end_ids
        self._opening = None
        if marks is not None:
            opening = tokenizer.encode(marks.start, add_special_tokens=False)
            # the first token of a longer mark may also begin an answer: only the prompt opens such thinking
            self._opening = opening[0] if len(opening) == 1 else None
        self._vocabulary: Any = None

    def constraint(self, schema: Mapping[str, Any], end: AnswerEnd) -> Constraint:
        """A constraint to `schema` for the answer followed by `end`.

        Raises:
            TrackerError: llguidance is not installed.
            EngineError: it does not support this tokenizer or the schema (reason `unsupported`).
        """
        library = _import_llguidance()
        if self._vocabulary is None:
            try:
                self._vocabulary = library.hf.from_tokenizer(self._tokenizer, eos_token=sorted(self._end_ids))
            except ValueError as error:
                message = f"the answers of this model cannot be constrained to a schema: {error}"
                raise EngineError(message, reason="unsupported") from error
        grammar = library.LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=SPELLING)
        matcher = library.LLMatcher(self._vocabulary, grammar)
        if matcher.is_error():
            raise EngineError(
                f"answers cannot be constrained to this schema: {matcher.get_error()}", reason="unsupported"
            )
        return Constraint(matcher, end, opening=None if end.is_thinking else self._opening)


def _import_llguidance() -> Any:
    try:
        importlib.import_module("llguidance.hf")
        return importlib.import_module("llguidance")
    except ImportError as error:
        hint = install_command("research")
        raise TrackerError(f"answers with a schema need `llguidance`: {error}", hint=hint) from error
