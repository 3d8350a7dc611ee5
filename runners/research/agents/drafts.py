"""The answer of a model without its thinking: what was only drafted there is never executed.

What a chat's display has made of the text is undone first, since it hides the marks as well.

For servers that leave the thinking in the text. Marks are read in one pass, so that a long answer costs no
more than its length. Whatever is in doubt is left out: an opening that never ends takes the rest with it.
"""

from __future__ import annotations

import html
import re

from runners.engines.thinking import ANSWER_MARKS, MARKS

HARMONY = "<|channel|>"  # gpt-oss
_NAME = r"(?:think|thought|reason|reflect|scratchpad|analysis|draft|monologue|deliberat)"
_WORD = r"[\w:.|▁-]{0,24}"
# in capitals alone: `weights[draft]` is code
_BRACKETS = r"[A-Z_]{0,24}(?:THINK|THOUGHT|REASON|REFLECT)[A-Z_]{0,24}"
_LIKE = rf"<\|?{_WORD}?{_NAME}{_WORD}(?:\s[^<>\n]{{0,80}})?>|◁{_NAME}▷|(?-i:\[{_BRACKETS}\])"
_CLOSING = (
    rf"◁/{_NAME}▷|<\|?/\|?{_WORD}?{_NAME}{_WORD}>|(?-i:\[/{_BRACKETS}\])|<\|?end{_WORD}?{_NAME}{_WORD}>"
)
_OPENS = "|".join(re.escape(start) for start, _ in MARKS if start[0] in "<[" and HARMONY not in start)
_CLOSES = "|".join(re.escape(end) for start, end in MARKS if start[0] in "<[" and HARMONY not in start)
_MARK = re.compile(rf"(?P<close>{_CLOSES}|{_CLOSING})|(?P<open>{_OPENS}|{_LIKE})", re.IGNORECASE)
_MESSAGE = re.compile(r"<\|channel\|>(?P<name>[^<]{0,200})(?:<\|[^|<>]{1,40}\|>[^<]{0,40}){0,2}<\|message\|>")
_MESSAGE_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_SPELT_OUT = re.compile(r"analysis(?=[A-Z])")  # gpt-oss where the server drops its special tokens
_SPELT_FINAL = "assistantfinal"
_ENTITY = re.compile(r"&(?:lt|gt|amp|apos|#39|#x27);")
_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u2060")) | {ord("\u00a0"): " "}
_FOLDED = re.compile(  # thinking as chats show it
    r"<details(?: [^<>\n]{0,80})?>\s{0,8}<summary>[^<\n]{0,40}(?:think|thought|reason)[^<\n]{0,40}</summary>"
    r"|<details type=.reasoning.[^<>\n]{0,80}>",
    re.IGNORECASE,
)
_FOLD_END = "</details>"
FENCE = re.compile(r"^\s*(?:`{3,}|~{3,})")
_ALTERNATIVE = re.compile(
    r"^[\s#*_>().-]{0,12}(?:\d{1,2}[.)]\s{0,4})?[*_]{0,3}(?:option|alternative|variant|choice)"
    r"\s{1,4}#?(?P<which>[A-D]|[1-9])\b",
    re.IGNORECASE,
)
_OR = re.compile(r"^\W{0,8}(?:or|alternatively)\W{0,8}$", re.IGNORECASE)
_BEGINS = re.compile(
    r"^\s*(?:<{5,12}\s?\w|\{|@@|\*\*\* Begin Patch)|:\s{0,4}\{"
)  # code or JSON, as a fence does
_BLOCK_ENDS = re.compile(r"^\s*>{5,12}")


def without_drafts(text: str) -> str:
    """What a model says in earnest: `text` less all that stands in its thinking."""
    text = _unfolded(_typed(text))
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


def check_single(text: str) -> None:
    """Refuse an answer, without its drafts, that offers several edits to choose from.

    Raises:
        ValueError: its edits stand under labels such as `Option A` and `Option B`, or with "or" between them.
    """
    sections: list[tuple[str, bool]] = [("", False)]  # label, and whether an edit begins below it
    is_inside = False  # a fence or a block
    for line in text.splitlines():
        is_fence = FENCE.match(line) is not None
        if is_inside:
            is_inside = not (is_fence or _BLOCK_ENDS.match(line))
            continue
        if (found := _ALTERNATIVE.match(line)) is not None:
            sections.append((found["which"].lower(), False))
        elif _OR.match(line):
            sections.append((f"or {len(sections)}", False))
        if is_fence or _BEGINS.search(line):
            sections[-1] = (sections[-1][0], True)
            is_inside = is_fence or "<<<" in line
    if len({label for label, has_edit in sections if has_edit}) > 1:
        raise ValueError("the answer offers several alternatives: choose one and give it alone")


def _typed(text: str) -> str:
    """The text as the model typed it: without HTML's entities and without characters that nobody sees."""
    text = text.translate(_INVISIBLE)
    if '"' not in text:
        text = text.replace("&quot;", '"')
    if not _ENTITY.search(text):
        return text
    return html.unescape(text.replace("&quot;", "&amp;quot;") if '"' in text else text)


def _unfolded(text: str) -> str:
    """The text without thinking that a chat shows folded."""
    kept, place = [], 0
    while (found := _FOLDED.search(text, place)) is not None:
        kept.append(text[place : found.start()])
        end = text.find(_FOLD_END, found.end())
        place = len(text) if end < 0 else end + len(_FOLD_END)
    return "".join([*kept, text[place:]])


def _marked_answer(thought: str) -> str | None:
    """The answer at the end of thinking that is not closed, where marks of its own stand around it."""
    for start, end in ANSWER_MARKS:
        if thought.count(start) == 1 and thought.rstrip().endswith(end) and thought.count(end) == 1:
            return thought.partition(start)[2].partition(end)[0]
    return None


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
    elif not any(part.strip() for part in kept) and (answer := _marked_answer(text[place:])) is not None:
        kept.append(answer)
    said = "\n".join(part for part in kept if part)
    for mark in (mark for pair in ANSWER_MARKS for mark in pair):
        said = said.replace(mark, "\n")
    return said
