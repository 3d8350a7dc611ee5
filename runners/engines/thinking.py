"""The marks between a model's thinking and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# (start, end) as in chat templates and vocabularies
MARKS = (
    ("<think>", "</think>"),  # DeepSeek-R1, Qwen3, GLM, SmolLM3, Nemotron
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # gpt-oss
)


@dataclass(frozen=True, slots=True)
class ThinkingMarks:
    """The strings around a model's thinking, and the tokens of the end mark."""

    start: str
    end: str
    end_ids: tuple[int, ...]

    def is_open(self, text: str) -> bool:
        """Whether `text` ends inside the thinking."""
        return text.rfind(self.start) > text.rfind(self.end)

    def ends_with(self, ids: list[int]) -> bool:
        """Whether the last of `ids` are the end mark."""
        return tuple(ids[-len(self.end_ids) :]) == self.end_ids


def find_marks(tokenizer: Any) -> ThinkingMarks | None:
    """The marks in the tokenizer's vocabulary or its chat template, if any."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    added = tokenizer.get_added_vocab()
    for start, end in MARKS:
        if end in added or end in template:
            ids = tokenizer.encode(end, add_special_tokens=False)
            return ThinkingMarks(start, end, tuple(ids))
    return None
