"""How much an edited script brings along that the shipped one does not have: numbers and text in its code.

A script could carry what it should learn: trained weights, tables of counts, the text it is asked about.
Whatever form that takes, such as strings, numbers, comments, names or the order of statements, it is
information, so its compressed size is bounded twice: that of all that is new in the script, and, more
tightly, that of what is not code.
"""

from __future__ import annotations

import io
import tokenize
import zlib
from dataclasses import dataclass

from runners.research.evaluation.cheat_checks import Finding

MAX_NEW_BYTES = 8_000  # compressed: the whole shipped script has 6,000
MAX_DATA_BYTES = 3_000  # compressed, of numbers, strings, comments and new names
# since Python 3.12, the parts of an f-string are tokens of their own
DATA_NAMES = ("STRING", "NUMBER", "COMMENT", "NAME", "FSTRING_MIDDLE")
WINDOW = 32_768  # of zlib: what it still knows of the shipped script
LEVEL = 9


@dataclass(frozen=True, slots=True)
class ScriptContent:
    """Compressed sizes of what an edited script has beyond the shipped one."""

    new_bytes: int
    data_bytes: int


def script_content(text: str, shipped: str) -> ScriptContent:
    """The content of `text` that is not in `shipped`; what is no Python counts as data as a whole."""
    new = _beyond(text, shipped)
    try:
        data = _beyond(_data(text), _data(shipped))
    except (tokenize.TokenError, SyntaxError, ValueError):
        data = new
    return ScriptContent(new, data)


def content_finding(text: str, shipped: str) -> Finding | None:
    """Whether a script carries more than techniques need."""
    found = script_content(text, shipped)
    for size, most, what in (
        (found.data_bytes, MAX_DATA_BYTES, "numbers, strings, comments and names"),
        (found.new_bytes, MAX_NEW_BYTES, "code"),
    ):
        if size > most:
            detail = (
                f"the script adds {size:,} bytes of {what} to the shipped one, compressed; at most {most:,}"
            )
            return Finding(
                "script_too_large", f"{detail} are allowed, so that nothing trained is carried in it"
            )
    return None


def _data(text: str) -> str:
    """Every number, string and comment of a script in its order, and each name once."""
    found: list[str] = []
    names: dict[str, None] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "NAME":
            names.setdefault(token.string)
        elif kind in DATA_NAMES:
            found.append(token.string)
    return "\n".join([*found, *names])


def _beyond(text: str, known: str) -> int:
    """Compressed size of `text` for somebody who has `known`."""
    compressor = zlib.compressobj(LEVEL, zdict=known.encode()[-WINDOW:])
    return len(compressor.compress(text.encode()) + compressor.flush())
