"""The answer of a model without its thinking: what was only drafted there is never executed.

For servers that leave the thinking in the text. Marks are read in one pass, so that a long answer costs no
more than its length. Whatever is in doubt is left out: an opening that never ends takes the rest with it.
"""

from __future__ import annotations

import re

from runners.engines.thinking import ANSWER_MARKS, MARKS

HARMONY = "<|channel|>"  # gpt-oss
_NAME = r"(?:think|thought|reason|reflect|scratchpad|analysis|draft|monologue|deliberat)"
_WORD = r"[\w:.|▁-]{0,24}"
# in capitals alone: `weights[draft]` is code
_BRACKETS = r"[A-Z_]{0,24}(?:THINK|THOUGHT|REASON|REFLECT)[A-Z_]{0,24}"
_LIKE = rf"<\|?{_WORD}?{_NAME}{_WORD}(?:\s[^<>\n]{{0,80}})?>|(?-i:\[{_BRACKETS}\])"
_CLOSING = rf"<\|?/\|?{_WORD}?{_NAME}{_WORD}>|(?-i:\[/{_BRACKETS}\])|<\|?end{_WORD}?{_NAME}{_WORD}>"
_OPENS = "|".join(re.escape(start) for start, _ in MARKS if start[0] in "<[" and HARMONY not in start)
_CLOSES = "|".join(re.escape(end) for start, end in MARKS if start[0] in "<[" and HARMONY not in start)
_MARK = re.compile(rf"(?P<close>{_CLOSES}|{_CLOSING})|(?P<open>{_OPENS}|{_LIKE})", re.IGNORECASE)
_MESSAGE = re.compile(r"<\|channel\|>(?P<name>[^<]{0,200})(?:<\|[^|<>]{1,40}\|>[^<]{0,40}){0,2}<\|message\|>")
_MESSAGE_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_SPELT_OUT = re.compile(r"analysis(?=[A-Z])")  # gpt-oss where the server drops its special tokens
_SPELT_FINAL = "assistantfinal"


def without_drafts(text: str) -> str:
    """What a model says in earnest: `text` less all that stands in its thinking."""
    if HARMONY in text:
        return _final_message(text)
    if _SPELT_FINAL in text:
        return text.rpartition(_SPELT_FINAL)[2]
    if _SPELT_OUT.match(text.lstrip()):
        return ""
    opening = text.lstrip()
    for start, end in MARKS:
        if start[0] not in "<[" and opening.startswith(start):
            return text.rpartition(end)[2] if end in text else ""
    return _outside_marks(text)


def _final_message(text: str) -> str:
    """The last message to the user, or else the last call of a tool, from gpt-oss's channels."""
    final = call = ""
    for found in _MESSAGE.finditer(text):
        end = _MESSAGE_END.search(text, found.end())
        content = text[found.end() : end.start() if end else len(text)]
        name = found["name"].strip()
        if name.startswith("final"):
            final = content
        elif name.startswith("commentary") and "to=" in text[max(0, found.start() - 80) : found.end()]:
            call = content
    return final or call


def _outside_marks(text: str) -> str:
    kept: list[str] = []
    place = 0  # after the last mark
    is_open = False
    for found in _MARK.finditer(text):
        if found["close"]:
            if not is_open:  # the opening stood in the prompt: all before it was thinking
                kept = []
            is_open, place = False, found.end()
        elif not is_open:
            kept.append(text[place : found.start()])
            is_open = True
    if not is_open:
        kept.append(text[place:])
    said = "\n".join(part for part in kept if part)
    for mark in (mark for pair in ANSWER_MARKS for mark in pair):
        said = said.replace(mark, "\n")
    return said
