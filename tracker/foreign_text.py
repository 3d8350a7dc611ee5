"""Text of others made safe for each exit: its characters are shown, never obeyed, rendered or computed.

Foreign is every text that a model, repository, server, source or file chose: names, answers, error messages.
One function per exit, so that a new page or command needs no rule of its own:

    printable, one_line, indented     terminals and log files
    markdown_text, markdown_code      Markdown on GitHub, Slack, Discord and in mail
    streamlit_text                    Streamlit's labels, captions and messages
    html_text                         HTML, and XML such as a feed
    csv_cell                          spreadsheets
    json_text                         a JSON document, which stays the same document
"""

from __future__ import annotations

import json
import re
import unicodedata
from html import escape
from typing import Any

# Characters that are not seen but act: controls, marks of direction and of no width, separators of lines,
# halves of surrogates, what XML forbids, letters without a shape. Line breaks and tabs are kept.
_INVISIBLE = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160"
    r"\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0"
    r"\ufff0-\ufffb\ufffe\uffff\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff"
)
_HIDDEN = re.compile(f"[{_INVISIBLE}]")
JOINERS = "\u200c\u200d"  # of Persian, Hindi and emoji
BREAK = "\u200b"  # of no width: what it splits reads the same, but is no link and no mention
_PUNCTUATION = re.compile(r"[\\`*_{}\[\]()#+\-!|<>~$:&=^@]")
# In prose, only where Markdown gives it a meaning: `_` within a word and a hyphen have none.
_MARKS = re.compile(r"[\\`*\[\]<>|#!~&$@]|(?<![^\W_])_|_(?![^\W_])|^[-+=]|(?<=^\d)[.)]")
# What some program makes a link, a mention or a picture of, wherever it stands: an address, a host, a mail
# address, `@everyone`, `#12`, `:smile:`.
_LINKED = re.compile(r"://|\bwww\.|@|\w\.[A-Za-z]{2}|#\d|(?<!\d):\w+:")
_TOKEN = re.compile(r"\S+")
_AFTER = ".,;"  # ends a token without being part of an address
_STREAMLIT_LINKED = re.compile(r"://|www(?=\.)|@", re.IGNORECASE)
_BLANKS = re.compile(r"\s+")
_SPACES = re.compile(" {2,}")
_NAME = re.compile(r"`([^`]+)`")  # a name within a sentence of ours
_FORMULA = re.compile(r"[\s\x00-\x20]*[=+\-@＝＋－＠]|[\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def printable(text: str) -> str:
    """The text with what is not seen written out: an escape as `\\x1b`; line breaks and tabs are kept."""
    return _HIDDEN.sub(_written_out, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The printable text on one line: line breaks and tabs become spaces."""
    return printable(_BLANKS.sub(lambda found: " " if found[0].strip(" ") else found[0], text))


def indented(text: str) -> str:
    """The printable text, each further line indented, so that none passes for a line of ours."""
    return printable(text).replace("\n", "\n  ")


def markdown_text(text: str) -> str:
    """The text on one line of Markdown; `names` are code, and so is what a reader's program would link."""
    shown, end, line = [], 0, _SPACES.sub(" ", one_line(text))
    for name in _NAME.finditer(line):
        shown += [_markdown_prose(line[end : name.start()]), markdown_code(name[1])]
        end = name.end()
    return "".join([*shown, _markdown_prose(line[end:])])


def markdown_code(text: str) -> str:
    """The text as code on one line, between more backticks than it has in a row.

    Slack's `<!channel>` is split by a character of no width: it is not certain that code protects it.
    """
    line = re.sub(r"<(?=[!@#])", rf"<{BREAK}", one_line(text).strip())
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    if not longest:
        return f"`{line or ' '}`"
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}"


def streamlit_text(text: str) -> str:
    """The text on one line, as Streamlit's Markdown shows it: no formula, icon, color, link or picture."""
    return re.sub(
        r"[.]|" + _PUNCTUATION.pattern,
        r"\\\g<0>",
        _STREAMLIT_LINKED.sub(rf"\g<0>{BREAK}", one_line(text).strip()),
    )


def html_text(text: str) -> str:
    """The text on one line of HTML, also within an attribute; `names` are code."""
    return _NAME.sub(r"<code>\1</code>", html_plain(text))


def html_plain(text: str) -> str:
    """The text on one line of HTML, also within an attribute."""
    return escape(one_line(text), quote=True)


def csv_cell(value: Any) -> Any:
    """The value of a CSV cell: a text that a spreadsheet would take for a formula begins with `'`."""
    if not isinstance(value, str):
        return value
    is_formula = _FORMULA.match(value) is not None and _NUMBER.fullmatch(value) is None
    return ("'" if is_formula else "") + printable(value)


def json_text(document: Any) -> str:
    """The document as JSON on one line; what is not seen is escaped, so that a terminal obeys nothing."""
    return _HIDDEN.sub(_json_escape, json.dumps(document, ensure_ascii=False, allow_nan=False))


def _markdown_prose(text: str) -> str:
    shown, end = [], 0
    for token in _TOKEN.finditer(text):
        if _LINKED.search(token.group()) is None:
            continue
        linked = token.group().rstrip(_AFTER)
        shown += [_MARKS.sub(r"\\\g<0>", text[end : token.start()]), markdown_code(linked)]
        end = token.start() + len(linked)
    return "".join([*shown, _MARKS.sub(r"\\\g<0>", text[end:])])


def _written_out(found: re.Match[str]) -> str:
    if found.group() in JOINERS and _joins(found):
        return found.group()
    code = ord(found.group())
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _joins(found: re.Match[str]) -> bool:
    """Whether it stands between two letters, marks or symbols beyond ASCII, where spelling needs it."""
    around = found.string[: found.start()][-1:], found.string[found.end() :][:1]
    return all(one > "\x7f" and unicodedata.category(one)[0] in "LMS" for one in around)


def _json_escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
