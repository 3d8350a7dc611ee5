"""Where a model's thinking ends and its answer begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# (start, end) as chat templates and vocabularies spell them
MARKS = (
    ("<think>", "</think>"),  # DeepSeek-R1, Qwen3, GLM, SmolLM3, Nemotron
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # gpt-oss
)


@dataclass(frozen=True, slots=True)
class ThinkingMarks:
    """The strings around a model's thinking, and the tokens of the one that ends it."""

    start: str
    end: str
    end_ids: tuple[int, ...]

    def is_open(self, text: str) -> bool:
        """Whether `text` leaves off inside the thinking."""
        return text.rfind(self.start) > text.rfind(self.end)

    def ends_with(self, ids: list[int]) -> bool:
        """Whether the newest of `ids` are the end mark."""
        return tuple(ids[-len(self.end_ids) :]) == self.end_ids


def find_marks(tokenizer: Any) -> ThinkingMarks | None:
    """The marks that the tokenizer's vocabulary has as a token or its chat template mentions, if any."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    added = tokenizer.get_added_vocab()
    for start, end in MARKS:
        if end in added or end in template:
            ids = tokenizer.encode(end, add_special_tokens=False)
            return ThinkingMarks(start, end, tuple(ids))
    return None
