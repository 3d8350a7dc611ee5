"""Notice a server that shortens prompts without a word, by the tokens that it counts in them.

Ollama, for one, keeps the last tokens of a prompt that is longer than its context, and answers as if nothing
were missing. Not covered: a server that counts what it was sent and not what it read, or nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runners.engines import ChatPrompt
from tracker.wording import counted

# A token hardly spans words: no vocabulary known has fewer tokens than half of the words of a long text.
WORDS_PER_TOKEN = 2
MIN_WORDS = 50  # a shorter prompt is too small a sample
MIN_LIMIT = 256  # tokens; shorter prompts of one task often have equally many
MIN_EQUAL = 3  # prompts with as many tokens as the longest
MIN_SPREAD = 1.1  # the longest of these prompts in characters, relative to the shortest


class PromptCounts:
    """The lengths of prompts and the tokens that the server counts in them."""

    def __init__(self) -> None:
        self.problem = ""  # the first sign that prompts are shortened, as a sentence
        self._most = 0
        self._lengths: list[int] = []  # characters of the different prompts with `_most` tokens

    def add(self, prompt: str, n_tokens: int) -> None:
        """Note a prompt and its tokens; 0 tokens: the server does not count."""
        text = _sent_text(prompt)
        if self.problem or n_tokens <= 0:
            return
        n_words = len(text.split())
        if n_words >= MIN_WORDS and n_tokens * WORDS_PER_TOKEN < n_words:
            tokens = counted(n_tokens, "token")
            self._note(f"counts {tokens} in a prompt of {n_words:,} words")
            return
        if n_tokens > self._most:
            self._most, self._lengths = n_tokens, []
        if n_tokens < max(self._most, MIN_LIMIT) or len(text) in self._lengths:
            return
        self._lengths = sorted([*self._lengths, len(text)])
        if len(self._lengths) >= MIN_EQUAL and self._lengths[-1] >= MIN_SPREAD * self._lengths[0]:
            low, high = self._lengths[0], self._lengths[-1]
            self._note(f"counts {n_tokens:,} tokens in prompts of {low:,} and of {high:,} characters")

    def _note(self, sign: str) -> None:
        self.problem = (
            f"the server {sign}, so it seems to cut prompts to its context, and answers are to a part of the"
            " question; set a longer context there (Ollama: `num_ctx`)"
        )


def _sent_text(prompt: str) -> str:
    """The text that a model must read: that of its messages, without tools, which a server may ignore."""
    if not isinstance(prompt, ChatPrompt):
        return prompt
    return "\n".join(_text_of(message) for message in prompt.messages)


def _text_of(message: Mapping[str, Any]) -> str:
    content: str | Sequence[Any] | None = message.get("content")
    return content if isinstance(content, str) else ""
