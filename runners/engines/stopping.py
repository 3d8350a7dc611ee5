"""Detect the end of an answer, and separate it from thinking and stop strings.

As in lm-eval 0.4.13 (`MultiTokenEOSCriteria`, `postprocess_generated_text`), with two intended differences:
stop strings do not count inside the thinking, and thinking cut off by the token budget is not an answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from runners.engines.thinking import ThinkingMarks, like_a_mark, without_label

EXTRA_TOKENS = 2  # lm-eval looks back this many tokens beyond the length of the stop string
START_TOKENS = 32  # thinking starts within these tokens or not at all; marks of plain text have up to ten


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """Generated text, split into answer and thinking."""

    text: str
    thinking: str | None


class AnswerEnd:
    """Follows one answer token by token to detect when it is complete."""

    def __init__(
        self,
        tokenizer: Any,
        stop: Sequence[str],
        *,
        end_ids: frozenset[int],
        marks: ThinkingMarks | None = None,
        prompt: str = "",
    ) -> None:
        """Stop at `stop` or at one of `end_ids`; `prompt` shows whether thinking has already started."""
        self._tokenizer = tokenizer
        eos = tokenizer.decode([tokenizer.eos_token_id]) if tokenizer.eos_token_id is not None else ""
        self._stop = [*(text for text in stop if text), *([eos] if eos and eos not in stop else [])]
        self._end_ids = end_ids
        self._marks = marks = marks.in_use(prompt) if marks else None
        self._was_open = marks is not None and marks.is_open(prompt)
        # A token is at least one byte, so no tokenization of a stop string is longer than this.
        self._n_back = EXTRA_TOKENS + max((len(text.encode()) for text in stop), default=0)
        self.restart()

    def restart(self) -> None:
        """Restart from the answer's first token."""
        self._is_thinking = self._was_open
        self._start = 0  # of the answer among the tokens

    @property
    def is_thinking(self) -> bool:
        """Whether the latest token belongs to the thinking."""
        return self._is_thinking

    @property
    def start(self) -> int:
        """Index of the answer's first token; 0 until thinking has ended."""
        return self._start

    def is_complete(self, ids: list[int]) -> bool:
        """Whether the last of `ids` ends the answer; call after each token."""
        if self._marks is not None:
            self._follow_thinking(self._marks, ids)
        if ids[-1] in self._end_ids:
            return True
        if self._is_thinking or not self._stop:
            return False
        tail = self._tokenizer.decode(ids[max(self._start, len(ids) - self._n_back) :])
        return any(text in tail for text in self._stop)

    def answer(self, ids: list[int]) -> ParsedAnswer:
        """The text without the stop string, and the thinking."""
        if self._is_thinking:
            return ParsedAnswer(text="", thinking=self._thinking(ids))
        text = self._answer(ids[self._start :])
        if self._start:
            text = text.lstrip()
        for stop in self._stop:
            text = text.split(stop)[0]
        return ParsedAnswer(text=text, thinking=self._thinking(ids[: self._start]) if self._start else None)

    def unknown_mark(self, ids: list[int]) -> str | None:
        """What the answer begins with that looks like a mark of thinking but is none of this model's."""
        if self._is_thinking or self._start:
            return None
        return unknown_mark(self._tokenizer, ids, end_ids=self._end_ids)

    def _answer(self, ids: list[int]) -> str:
        if self._marks is not None and self._marks.around_answer:
            raw = self._tokenizer.decode(ids)
            if (inner := self._marks.unwrapped(raw)) != raw:
                return without_tokens(inner, self._tokenizer.all_special_tokens)
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _follow_thinking(self, marks: ThinkingMarks, ids: list[int]) -> None:
        n_back = len(marks.end_ids) + EXTRA_TOKENS
        if marks.ends_with(ids) or marks.end in self._tokenizer.decode(
            ids[max(self._start, len(ids) - n_back) :]
        ):
            self._is_thinking = False
            self._start = len(ids)
        elif 0 < self._start == len(ids) - 1 and self._tokenizer.decode(ids[-1:]).isspace():
            self._start = len(ids)  # newlines after the thinking are not stop strings
        elif not self._start and not self._is_thinking and len(ids) <= START_TOKENS:
            text = self._tokenizer.decode(ids)
            self._marks = marks = marks.in_use("", text)
            before, found, _ = text.partition(marks.start)
            self._is_thinking = (
                bool(found) and not without_tokens(before, self._tokenizer.all_special_tokens).strip()
            )

    def _thinking(self, ids: list[int]) -> str:
        assert self._marks is not None
        text = str(self._tokenizer.decode(ids))
        tokens = (self._marks.start, self._marks.end, *self._tokenizer.all_special_tokens)
        return without_label(without_tokens(text, tokens)).strip()


def unknown_mark(tokenizer: Any, ids: Sequence[int], *, end_ids: Collection[int] = ()) -> str | None:
    """What these tokens begin with that looks like a mark of thinking, unless it ends the answer.

    `end_ids`: the tokens that end an answer.
    """
    answer = takewhile(lambda token: token not in end_ids, ids[:START_TOKENS])
    mark = like_a_mark(str(tokenizer.decode(list(answer))))
    usual = (getattr(tokenizer, f"{name}_token", None) for name in ("bos", "eos", "pad", "unk"))
    return None if mark in usual else mark


def without_tokens(text: str, tokens: Iterable[str]) -> str:
    """`text` without these tokens."""
    for token in tokens:
        text = text.replace(token, "")
    return text


def end_token_ids(configured: int | Sequence[int] | None, eos: int | None) -> frozenset[int]:
    """The tokens that end an answer: those of the generation config and the tokenizer's own."""
    listed = [configured] if isinstance(configured, int) else list(configured or ())
    return frozenset([*listed, *([] if eos is None else [eos])])
