"""The marks between a model's thinking and its answer.

They are those that the model's own vocabulary or chat template contains: the known pairs of `MARKS`, and any
pair of tokens that is named after thinking, such as `<ifm|think_fast>` or `<|begin_of_thought|>`.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

# (start, end) as in chat templates, in vocabularies, and in the reasoning parsers of vLLM 0.32
MARKS = (
    (
        "<think>",
        "</think>",
    ),  # DeepSeek, Qwen3, GLM, SmolLM3, Nemotron, OLMo 3, Step3, Ling3, Ernie, Granite 4
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<mm:think>", "</mm:think>"),  # MiniMax-M3
    ("<ifm|think>", "</ifm|think>"),  # K2-Horizon, and two more for less effort
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # gpt-oss
    ("<|channel>", "<channel|>"),  # Gemma 4
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),  # Kimi-K3
    ("<|content_thinking|>", "<|content_text|>"),  # Inkling
    ("to=self<|message|>", "to=user<|message|>"),  # Muse
    ("Here is my thought process:", "Here is my response:"),  # Granite 3
    ("Here's my thought process:", "Here's my response:"),
)
# Around the answer, after the thinking of some models: (start, end)
ANSWER_MARKS = (
    ("<answer>", "</answer>"),  # Hunyuan-A13B
    ("<response>", "</response>"),  # Ernie 4.5, Granite 3.3
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),  # Command A
    ("<|START_TEXT|>", "<|END_TEXT|>"),
    ("<|open|>response<|sep|>", "<|close|>response<|sep|>"),  # Kimi-K3
)
LABEL = re.compile(r"\s*(?:thoughts?|thinking|analysis)?\s*", re.IGNORECASE)  # Gemma 4 names its channel
_NAME = r"[\w:.|▁-]*(?:think|thought|reason|reflect)[\w:.|▁-]*"
# Text that looks like the mark of some thinking, such as `<my_think>`, `[REASONING]` or `<|thought|>`.
LIKE_START = re.compile(rf"<{_NAME}>|\[{_NAME}\]", re.IGNORECASE)
LIKE_END = re.compile(rf"</{_NAME}>|\[/{_NAME}\]", re.IGNORECASE)
# What no answer begins with in earnest: any of these, or another token in the form of a special one.
LIKE_MARK = re.compile(rf"\s*(<[|/]?{_NAME}>|\[/?{_NAME}\]|<\|[^<>\s]+\|?>|<[^<>\s]+\|>)", re.IGNORECASE)
OPPOSITE = (("START", "END"), ("start", "end"), ("begin", "end"), ("BEGIN", "END"), ("open", "close"))


@dataclass(frozen=True, slots=True)
class ThinkingMarks:
    """The strings around a model's thinking, and the tokens of the end mark."""

    start: str
    end: str
    end_ids: tuple[int, ...]
    others: tuple[ThinkingMarks, ...] = ()  # that this model has besides, such as for less effort
    around_answer: tuple[tuple[str, str], ...] = ()  # marks that are no part of the answer

    def is_open(self, text: str) -> bool:
        """Whether `text` ends with the beginning of the thinking, so that an answer starts inside it.

        A mark further up is one that somebody wrote about, such as in a question.
        """
        place = text.rfind(self.start)
        return place >= 0 and LABEL.fullmatch(text, place + len(self.start)) is not None

    def ends_with(self, ids: list[int]) -> bool:
        """Whether the last of `ids` are the end mark."""
        return tuple(ids[-len(self.end_ids) :]) == self.end_ids

    def in_use(self, prompt: str, written: str = "") -> ThinkingMarks:
        """Of these marks and the others, those that the prompt or the text opens; else these."""
        for marks in (self, *self.others):
            if marks.is_open(prompt) or written.lstrip().startswith(marks.start):
                return marks
        closing = [(prompt.rfind(marks.end), marks) for marks in (self, *self.others)]
        place, latest = max(closing, key=lambda found: found[0])
        return latest if place >= 0 else self

    def split(self, prompt: str, text: str) -> tuple[str | None, str]:
        """The thinking in a text that was written after `prompt`, None if there is none, and the answer.

        Thinking that does not end is followed by no answer.
        """
        marks = self.in_use(prompt, text)
        written = text.lstrip()
        if not marks.is_open(prompt) and not written.startswith(marks.start):
            return None, marks.unwrapped(text)
        before, found, after = written.removeprefix(marks.start).partition(marks.end)
        return without_label(before).strip(), marks.unwrapped(after.lstrip()) if found else ""

    def unwrapped(self, answer: str) -> str:
        """The answer without the marks around it, for models that have them."""
        for start, end in self.around_answer:
            if answer.lstrip().startswith(start):
                return answer.lstrip()[len(start) :].partition(end)[0].strip()
        return answer


def without_label(thinking: str) -> str:
    """The thinking without the name of its channel."""
    first, newline, rest = thinking.lstrip().partition("\n")
    return rest if newline and LABEL.fullmatch(first) else thinking


def find_marks(tokenizer: Any) -> ThinkingMarks | None:
    """The marks in the tokenizer's vocabulary or its chat template, if any: those of the template first."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    added = set(tokenizer.get_added_vocab())
    around = tuple(pair for pair in ANSWER_MARKS if pair[0] in template or pair[0] in added)
    in_template = [*_known_in(template), *_named_in(_tokens_in(template), template)]
    in_added = [*_known_in(added), *_named_in(added, added)]
    found = [
        ThinkingMarks(start, end, tuple(tokenizer.encode(end, add_special_tokens=False)), (), around)
        for start, end in dict.fromkeys([*in_template, *in_added])
    ]
    return replace(found[0], others=tuple(found[1:])) if found else None


def split_thinking(text: str, *, is_open: bool = False) -> tuple[str | None, str]:
    """The thinking in a text, None if there is none, and the answer after it, whatever the marks.

    `is_open`: the text starts inside the thinking. Thinking that does not end is followed by no answer.
    """
    for start, end in _pairs_of(text):
        before, found, after = text.partition(end)
        if found:
            return without_label(before.replace(start, "", 1)).strip(), after.lstrip()
        if text.lstrip().startswith(start):
            return without_label(text.replace(start, "", 1)).strip(), ""
    return (text, "") if is_open else (None, text)


def like_a_mark(text: str) -> str | None:
    """The beginning of an answer that looks like the mark of some thinking; None: it looks like none."""
    found = LIKE_MARK.match(text)
    return found.group(1) if found else None


def _known_in(place: Container[str]) -> Iterator[tuple[str, str]]:
    """The known pairs of which one mark is in a vocabulary or a template; some have only one of the two."""
    return (pair for pair in MARKS if pair[0] in place or pair[1] in place)


def _named_in(tokens: Iterable[str], place: Container[str]) -> Iterator[tuple[str, str]]:
    """The pairs of tokens that are named after thinking, if both are there."""
    for token in sorted(tokens):
        if LIKE_START.fullmatch(token) and (end := _end_of(token)) is not None and end in place:
            yield token, end


def _end_of(start: str) -> str | None:
    """The mark that ends what `start` begins; None: `start` is itself an end."""
    if any(closing in start for _, closing in OPPOSITE if re.search(rf"(?<![A-Za-z]){closing}", start)):
        return None
    for opening, closing in OPPOSITE:
        if re.search(rf"(?<![A-Za-z]){opening}", start):
            return re.sub(rf"(?<![A-Za-z]){opening}", closing, start, count=1)
    return f"{start[0]}/{start[1:]}"


def _tokens_in(template: str) -> set[str]:
    return {found.group() for found in LIKE_START.finditer(template)}


def _pairs_of(text: str) -> Iterator[tuple[str, str]]:
    """The pairs that may be in a text of an unknown model; words alone only where it begins with them."""
    opening = text.lstrip()
    for pair in MARKS:
        if pair[0].startswith(("<", "[")) or opening.startswith(pair[0]):
            yield pair
    if (found := LIKE_START.match(opening)) and (end := _end_of(found.group())) is not None:
        yield found.group(), end
    if closing := LIKE_END.search(text):
        mark = closing.group()
        yield mark.replace("/", "", 1), mark
