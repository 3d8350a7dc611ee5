"""The edits in a model's answer on the track `code`, whatever form it gave them.

Asked for are SEARCH/REPLACE blocks; read as well are unified diffs, `apply_patch`, calls of an editing tool
as JSON or XML, passages in tags, and whole functions, classes or files. Where an answer has the form that
was asked for, nothing else in it counts. Nothing is applied here; `ValueError` says what is cut off or
unclear.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from runners.research.agents.drafts import FENCE, check_single
from runners.research.agents.loose_json import documents

EXAMPLE = "<<<<<<< SEARCH\nthe current lines\n=======\nthe new lines\n>>>>>>> REPLACE"
OLD, NEW, BOTH = "-", "+", " "
Line = tuple[str, str]  # one of the three above, and the text

_SEARCH_WORD = r"(?:SEARCH|ORIGINAL|OLD|BEFORE|FIND|CURRENT|HEAD)"
_REPLACE_WORD = r"(?:REPLACE|REPLACEMENT|UPDATED|NEW|AFTER)"
OPENING = re.compile(rf"^\s*<{{3,12}}\s*{_SEARCH_WORD}\b[^\n]{{0,200}}$", re.IGNORECASE)
DIVIDER = re.compile(rf"^\s*={{3,12}}\s*{_REPLACE_WORD}?:?\s*$", re.IGNORECASE)
CLOSING = re.compile(rf"^\s*(?:>{{5,12}}|>{{3,4}}\s*{_REPLACE_WORD}\b)[^\n]{{0,400}}$", re.IGNORECASE)
_THESE = r"(?:\s+(?:this|these|the)(?:\s+(?:line|lines|code|block))?)"
_SEARCH_LABEL = re.compile(
    rf"^[\s*#_]*(?:{_SEARCH_WORD}[\s*_]*:|(?:REPLACE|CHANGE)(?:{_THESE}\s*:?)?)[\s*_]*$", re.IGNORECASE
)
_REPLACE_LABEL = re.compile(
    rf"^[\s*#_]*(?:{_REPLACE_WORD}(?:\s+WITH)?[\s*_]*:|(?:WITH|BY|TO){_THESE}?[\s*_]*:?)[\s*_]*$",
    re.IGNORECASE,
)
_HUNK = re.compile(r"^@@(?:\s|$|@)")
_DIFF_HEAD = re.compile(
    r"^(?:diff --git |index [0-9a-f]|(?:---|\+\+\+) |new file|old mode|new mode|similarity )"
)
_PATCH_BEGIN = re.compile(r"^\s*\*\*\* (?:Begin Patch|Update File)", re.IGNORECASE)
_PATCH_OTHER = re.compile(r"^\s*\*\*\* (?:Add|Delete|Move)", re.IGNORECASE)
_PATCH_END = re.compile(r"^\s*\*\*\* End Patch", re.IGNORECASE)
_SEARCH_TAG = r"(?:search|old|old_str|old_string|original|before|find)"
_REPLACE_TAG = r"(?:replace|new|new_str|new_string|updated|after|replacement)"
_TAG = re.compile(
    rf"<(?:(?P<old>{_SEARCH_TAG})|(?P<new>{_REPLACE_TAG})"
    r"|(?:parameter=|parameter name=[\"'])(?P<name>\w{1,20})[\"']?)>",
    re.IGNORECASE,
)
_OLD_KEYS = ("old_str", "old_string", "old_text", "oldText", "old", "search", "find", "original", "before")
_NEW_KEYS = (
    "new_str",
    "new_string",
    "new_text",
    "newText",
    "new",
    "replace",
    "replacement",
    "updated",
    "after",
)
_PATCH_KEYS = ("patch", "diff", "input")
_FILE_KEYS = ("file_text", "content", "contents", "code", "script", "new_content")
_COMMAND_KEYS = ("command", "cmd")  # a list of words, the last of which may be a patch
_INNER_KEYS = (
    *_COMMAND_KEYS, "arguments", "parameters", "input", "function", "args", "edits", "changes",
    "replacements", "blocks", "patches", "tool_calls", "edit",
)  # fmt: skip
_KEYS = "|".join((*_OLD_KEYS, *_PATCH_KEYS, *_FILE_KEYS, "arguments", *_COMMAND_KEYS))
_CALL = re.compile(rf"[{{,\n]\s{{0,40}}[\"'“”]?(?:{_KEYS})[\"'“”]?\s{{0,40}}:")
_CALL_TAG = re.compile(r"</?(?:tool_call|function|invoke)\b[^<>\n]{0,80}>")
_ARGUMENT = re.compile(r"<arg_key>\s{0,20}(\w{1,20})\s{0,20}</arg_key>\s{0,20}<arg_value>")
_QUOTED = re.compile(r"^>[ ]?(?=<{5,12}\s|={5,12}\s*$|>{5,12}\s)", re.MULTILINE)  # a block within a quotation
_CDATA = ("<![CDATA[", "]]>")
_START_LINE = re.compile(r"^\s*:(?:start|end)_line:\s{0,4}\d{1,6}\s*$")  # Roo Code, before a line of dashes
_WRAPS = ("", "markdown", "md", "text", "txt")  # fences that may stand around other fences
N_MARKS = 3  # of one block
MAX_WRAPPINGS = 6


@dataclass(frozen=True, slots=True)
class Passage:
    """Lines of the script and what they are to become, as the lines of a difference."""

    lines: tuple[Line, ...] = ()
    old: str | None = None  # given as texts that need not be whole lines, such as by `str_replace`
    new: str = ""

    @property
    def search(self) -> tuple[str, ...]:
        """The lines as they are now."""
        return tuple(text for kind, text in self.lines if kind != NEW)

    @property
    def replace(self) -> tuple[str, ...]:
        """The new lines."""
        return tuple(text for kind, text in self.lines if kind != OLD)


@dataclass(frozen=True, slots=True)
class Edits:
    """What an answer asks for: passages, or whole code."""

    passages: tuple[Passage, ...] = ()
    code: tuple[str, ...] = ()  # pieces of Python, each with whole definitions
    rationale: str = ""


def read_edits(text: str) -> Edits:
    """The edits in `text`, which is an answer without its thinking.

    Raises:
        ValueError: there are none, one is cut off, or the answer has several forms at once.
    """
    text = _plain(text)
    check_single(text)
    lines = text.splitlines()
    first = next((n for n, line in enumerate(lines) if OPENING.match(line)), None)
    if first is not None:
        return Edits(tuple(_marked_blocks(lines)), rationale=_prose("\n".join(lines[:first])))
    found = [(form, edits) for form, read in _FORMS.items() if (edits := read(text, lines)) is not None]
    if len(found) > 1:
        forms = " and ".join(form for form, _ in found)
        raise ValueError(f"the answer has {forms}: give the edit once, in this form:\n{EXAMPLE}")
    if found:
        return found[0][1]
    raise ValueError(f"the reply has no SEARCH/REPLACE block; use this form:\n{EXAMPLE}")


def _plain(text: str) -> str:
    """The answer without what a chat's display has made of it, none of which is ever meant as code."""
    if "&quot;" in text and not _CALL.search(text):
        text = html.unescape(text)
    text = _without_cdata(text)
    if len(_QUOTED.findall(text)) >= N_MARKS:
        text = re.sub(r"^>[ ]?", "", text, flags=re.MULTILINE)
    return _ARGUMENT.sub(r"<parameter=\1>", text).replace("</arg_value>", "</parameter>")


def _without_cdata(text: str) -> str:
    """The text less the marks of XML around characters that are meant as they stand."""
    kept, place = [], 0
    while (start := text.find(_CDATA[0], place)) >= 0 and (end := text.find(_CDATA[1], start)) >= 0:
        kept += [text[place:start], text[start + len(_CDATA[0]) : end]]
        place = end + len(_CDATA[1])
    return "".join([*kept, text[place:]])


def passage(search: Sequence[str], replace: Sequence[str]) -> Passage:
    """A passage given as its old and its new lines."""
    return Passage((*((OLD, line) for line in search), *((NEW, line) for line in replace)))


def _marked_blocks(lines: Sequence[str]) -> Iterator[Passage]:
    search: list[str] | None = None
    replace: list[str] | None = None
    for line in lines:
        if OPENING.match(line):
            if search is not None:
                raise ValueError("a SEARCH/REPLACE block begins before the one above it has ended")
            search = []
        elif search is None:
            continue
        elif replace is None and DIVIDER.match(line):
            replace = []
        elif CLOSING.match(line):
            if replace is None:
                raise ValueError("a SEARCH/REPLACE block has no line of ======= in the middle")
            yield passage(_unfenced(_unplaced(search)), _unfenced(replace))
            search = replace = None
        else:
            (search if replace is None else replace).append(line)
    if search is not None:
        raise ValueError("the last SEARCH/REPLACE block does not end with >>>>>>> REPLACE")


def _unplaced(lines: list[str]) -> list[str]:
    """The lines less the number of the first one, as some harnesses ask for it."""
    n = next((n for n, line in enumerate(lines) if not _START_LINE.match(line)), len(lines))
    return lines[n + 1 :] if n and lines[n : n + 1] == ["-------"] else lines[n:]


def _unfenced(lines: list[str]) -> list[str]:
    """The lines less a fence of backticks around them."""
    if len(lines) >= 2 and FENCE.match(lines[0]) and FENCE.match(lines[-1]):
        return lines[1:-1]
    return lines


# --- labels ----------------------------------------------------------------------------------------------


def _labelled(text: str, lines: Sequence[str]) -> Edits | None:
    """`SEARCH:` and `REPLACE:` on lines of their own, each before a fence or bare lines."""
    places = [n for n, line in enumerate(lines) if _SEARCH_LABEL.match(line) or _REPLACE_LABEL.match(line)]
    if not places:
        return None
    parts = [
        (bool(_SEARCH_LABEL.match(lines[start])), _labelled_lines(lines[start + 1 : stop]))
        for start, stop in zip(places, [*places[1:], len(lines)], strict=True)
    ]
    if not any(is_search for is_search, _ in parts):
        return None
    if [is_search for is_search, _ in parts] != [True, False] * (len(parts) // 2):
        raise ValueError("each SEARCH part must be followed by its REPLACE part")
    found = [passage(parts[n][1], parts[n + 1][1]) for n in range(0, len(parts), 2)]
    return Edits(tuple(found), rationale=_prose("\n".join(lines[: places[0]])))


def _labelled_lines(lines: Sequence[str]) -> list[str]:
    """The content of the first fence, or the lines as they are, without empty ones around them."""
    fences = [n for n, line in enumerate(lines) if FENCE.match(line)]
    if len(fences) >= 2 and not any(line.strip() for line in lines[: fences[0]]):
        return list(lines[fences[0] + 1 : fences[1]])
    kept = [n for n, line in enumerate(lines) if line.strip() and not FENCE.match(line)]
    return list(lines[kept[0] : kept[-1] + 1]) if kept else []


# --- differences -----------------------------------------------------------------------------------------


def _patch(text: str, lines: Sequence[str]) -> Edits | None:
    """The form of the tool `apply_patch`: `*** Begin Patch`, `@@`, lines that begin with a space, - or +."""
    start = next((n for n, line in enumerate(lines) if _PATCH_BEGIN.match(line)), None)
    if start is None:
        return None
    if any(_PATCH_OTHER.match(line) for line in lines):
        raise ValueError(
            "the patch adds, deletes or moves a file: change the editable part of train.py alone"
        )
    stop = next((n for n, line in enumerate(lines) if _PATCH_END.match(line)), None)
    if stop is None and _PATCH_BEGIN.match(lines[start]) and "Begin" in lines[start]:
        raise ValueError("the patch does not end with *** End Patch")
    body = [
        line for line in lines[start:stop] if not line.lstrip().startswith("***") and not FENCE.match(line)
    ]
    return Edits(tuple(_hunks(body)), rationale=_prose("\n".join(lines[:start])))


def _unified(text: str, lines: Sequence[str]) -> Edits | None:
    """A unified diff, in a fence or bare, with or without line numbers."""
    if any(_PATCH_BEGIN.match(line) for line in lines):
        return None
    fenced = [
        (n, body)
        for n, kind, body in _fences(lines)
        if kind in ("diff", "patch") or any(map(_HUNK.match, body))
    ]
    if fenced:
        found = [hunk for _, body in fenced for hunk in _hunks(body)]
        return Edits(tuple(found), rationale=_prose("\n".join(lines[: fenced[0][0]]))) if found else None
    start = next((n for n, line in enumerate(lines) if _HUNK.match(line)), None)
    if start is None:
        return None
    stop = next((n for n in range(start, len(lines)) if FENCE.match(lines[n])), len(lines))
    body = list(lines[start:stop])
    while body and not body[-1].startswith(("+", "-", " ", "@@")):  # what is said after the diff
        body.pop()
    while start and (_DIFF_HEAD.match(lines[start - 1]) or FENCE.match(lines[start - 1])):
        start -= 1
    return Edits(tuple(_hunks(body)), rationale=_prose("\n".join(lines[:start])))


def _hunks(lines: Sequence[str]) -> Iterator[Passage]:
    hunk: list[Line] = []
    for line in [*lines, "@@"]:
        if _HUNK.match(line) or _DIFF_HEAD.match(line):
            trimmed = _trimmed(hunk)
            if any(kind != BOTH for kind, _ in trimmed):
                yield Passage(trimmed)
            hunk = []
        elif line.startswith("\\"):  # "\ No newline at end of file"
            continue
        elif line[:1] in (OLD, NEW, BOTH):
            hunk.append((line[0], line[1:]))
        elif not line:
            hunk.append((BOTH, ""))
        else:  # a line without the space before it
            hunk.append((BOTH, line))


def _trimmed(hunk: Sequence[Line]) -> tuple[Line, ...]:
    """The lines without empty ones that are only repeated at the beginning and the end."""
    kept = [n for n, (kind, text) in enumerate(hunk) if kind != BOTH or text.strip()]
    return tuple(hunk[kept[0] : kept[-1] + 1]) if kept else ()


# --- tags and calls of tools -----------------------------------------------------------------------------


def _tagged(text: str, lines: Sequence[str]) -> Edits | None:
    """`<search>` and `<replace>`, or the parameters of a call in XML."""
    parts: list[tuple[str, str]] = []
    place, start = 0, None
    while (found := _TAG.search(text, place)) is not None:
        name = found["name"] or ("old_str" if found["old"] else "new_str")
        tag = "parameter" if found["name"] else found.group()[1:-1]
        end = text.find(f"</{tag}>", found.end())
        if end < 0:
            raise ValueError(f"the answer has no end of its {found.group()}")
        start = found.start() if start is None else start
        parts.append((name, text[found.end() : end]))
        place = end + len(tag) + 3
    olds = [_stripped_newline(value) for name, value in parts if name in _OLD_KEYS]
    news = [_stripped_newline(value) for name, value in parts if name in _NEW_KEYS]
    if olds or news:
        order = [name in _OLD_KEYS for name, _ in parts if name in (*_OLD_KEYS, *_NEW_KEYS)]
        if order != [True, False] * (len(order) // 2):
            raise ValueError("each passage to be replaced must be followed by what replaces it")
        passages = tuple(Passage(old=old, new=new) for old, new in zip(olds, news, strict=True))
        return Edits(passages, rationale=_prose(text[:start]))
    for name, value in parts:
        if name in (*_PATCH_KEYS, *_FILE_KEYS):
            return _embedded(name, value.strip("\n"))
    return None


def _stripped_newline(text: str) -> str:
    """Without the line breaks and the fence that a tag is set apart with."""
    return "\n".join(_unfenced(text.strip("\r\n").split("\n")))


def _called(text: str, lines: Sequence[str]) -> Edits | None:
    """The call of an editing tool, or edits, as JSON."""
    if not _CALL.search(text):
        return None
    found = [edits for document in documents(text) for edits in _in_document(document)]
    passages = tuple(p for edits in found for p in edits.passages)
    code = tuple(c for edits in found for c in edits.code)
    if not passages and not code:
        return None
    if passages and code:
        raise ValueError("the answer replaces both passages and the whole: give one of the two")
    rationale = next((edits.rationale for edits in found if edits.rationale), "")
    return Edits(passages, code, rationale or _prose(text.partition("{")[0]))


def _in_document(document: object, n_around: int = 0) -> Iterator[Edits]:
    if n_around > MAX_WRAPPINGS:
        return
    if isinstance(document, list):
        for item in document:
            yield from _in_document(item, n_around + 1)
    elif isinstance(document, str) and n_around:
        if _PATCH_BEGIN.match(document) and (patch := _patch(document, document.splitlines())) is not None:
            yield patch
        elif document.lstrip().startswith(("{", "[")):
            for inner in documents(document):
                yield from _in_document(inner, n_around + 1)
    elif isinstance(document, dict):
        yield from _in_object(document, n_around)


def _in_object(document: Mapping[str, object], n_around: int) -> Iterator[Edits]:
    rationale = next(
        (v for k in ("rationale", "reason", "thought") if isinstance(v := document.get(k), str)), ""
    )
    old = next((v for key in _OLD_KEYS if (v := _lines_of(document.get(key))) is not None), None)
    new = next((v for key in _NEW_KEYS if (v := _lines_of(document.get(key))) is not None), None)
    if old is not None and new is not None:
        yield Edits((Passage(old=old, new=new),), rationale=rationale)
        return
    for key in (*_PATCH_KEYS, *_FILE_KEYS):
        value = document.get(key)
        if isinstance(value, str) and "\n" in value and (embedded := _embedded(key, value)) is not None:
            yield Edits(embedded.passages, embedded.code, rationale)
            return
    for key in _INNER_KEYS:
        if key in document:
            for edits in _in_document(document[key], n_around + 1):
                yield Edits(edits.passages, edits.code, edits.rationale or rationale)


def _lines_of(value: object) -> str | None:
    """A text, or the lines of one in a list."""
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return value if isinstance(value, str) else None


def _embedded(key: str, text: str) -> Edits | None:
    """The edits in one member of a call."""
    lines = text.splitlines()
    if any(OPENING.match(line) for line in lines):
        return Edits(tuple(_marked_blocks(lines)))
    return (
        _patch(text, lines) or _unified(text, lines) or (Edits(code=(text,)) if key in _FILE_KEYS else None)
    )


# --- whole code ------------------------------------------------------------------------------------------


def _whole_code(text: str, lines: Sequence[str]) -> Edits | None:
    """Fences with definitions in them; or an answer that is nothing but code."""
    fences = [
        (n, "\n".join(body)) for n, kind, body in _fences(lines) if kind in ("", "python", "py", "python3")
    ]
    code = tuple(body for _, body in fences if _DEFINES.search(body))
    if code:
        return Edits(code=code, rationale=_prose("\n".join(lines[: fences[0][0]])))
    starts = [n for n, line in enumerate(lines) if _STARTS_CODE.match(line)]
    is_bare = not any(FENCE.match(line) or _is_other_form(line) for line in lines)
    if starts and is_bare and _DEFINES.search(text):
        return Edits(code=("\n".join(lines[starts[0] :]),), rationale=_prose("\n".join(lines[: starts[0]])))
    return None


_DEFINES = re.compile(r"^[ \t]{0,8}(?:async def|def|class) \w", re.MULTILINE)
_STARTS_CODE = re.compile(r"^(?:@\w|def \w|class \w|import \w|from [\w.]+ import |\"\"\"|# --- EDITABLE)")


def _is_other_form(line: str) -> bool:
    forms = (_HUNK, _PATCH_BEGIN, _PATCH_END, _TAG, _SEARCH_LABEL)
    return any(form.match(line) for form in forms)


def _fences(lines: Sequence[str]) -> Iterator[tuple[int, str, list[str]]]:
    """The fences that are closed: line, word after the backticks, content."""
    start = None
    for n, line in enumerate(lines):
        if not FENCE.match(line):
            continue
        word = _fence_word(line)
        if start is None or (word and _fence_word(lines[start]) in _WRAPS):
            start = n
        elif not word:
            yield start, _fence_word(lines[start]), list(lines[start + 1 : n])
            start = None
    if start is not None:
        rest = list(lines[start + 1 :])
        if _DEFINES.search("\n".join(rest)) or any(map(_HUNK.match, rest)):
            raise ValueError("the answer ends inside its code")


def _fence_word(line: str) -> str:
    return line.strip(" `~\t").split(" ")[0].lower()


def _prose(text: str) -> str:
    """What is said before an edit, without the fence that begins it and the name of the file."""
    plain = _CALL_TAG.sub("", text)
    lines = [line for line in plain.splitlines() if not FENCE.match(line) and line.strip() != "train.py"]
    return "\n".join(lines).strip()


_FORMS: dict[str, Callable[[str, Sequence[str]], Edits | None]] = {
    "a patch": _patch,
    "a unified diff": _unified,
    "labelled passages": _labelled,
    "passages in tags": _tagged,
    "a call of an editing tool": _called,
    "whole code": _whole_code,
}
