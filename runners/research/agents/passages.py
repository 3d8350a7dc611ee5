"""Where a quoted passage stands in the editable part, also where it was not copied to the letter.

Looked for one after the other: the lines as they are; without regard to blanks; then by their code alone,
without comments, docstrings, empty lines, copied line numbers and typographic quotes, and with `...` for
lines left out. Code itself is never guessed: each of its characters must agree, and exactly one place must
fit.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from runners.research.agents.edit_forms import BOTH, NEW, OLD, Line, Passage
from runners.research.agents.loose_json import TYPOGRAPHIC

SHOWN_CHARS = 80  # of a passage, in a sentence about it
MAX_ALIGNED = 250_000  # old × new lines that are compared one by one
NEAR_LINES = 12  # of a near miss
NEAR_CHARS = 1200
MAX_NEAR_PLACES = 2000  # at which a near miss is looked for; the shipped part has about 220 lines
MIN_SIMILAR = 0.6  # of a near miss: share of its characters in common
NUMBERED = re.compile(r"^\s*\d{1,5}(?:\s*[|:→│]\s?|\t)")
ELIDED = re.compile(r"^\s*(?:#\s*)?(?:\.\.\.|…)[^\n\"']{0,120}$")
QUOTES = ('"""', "'''")
PLAIN = TYPOGRAPHIC | str.maketrans({"'": '"', "–": "-", "—": "-", "−": "-", "\u00a0": " "})


class NoPlaceError(ValueError):
    """A passage stands nowhere, or in several places; `near` is what is most like it."""

    def __init__(self, message: str, near: str = "") -> None:
        super().__init__(message)
        self.near = near


@dataclass(frozen=True, slots=True)
class Splice:
    """Lines from `start` to `stop` that become `lines`."""

    start: int
    stop: int
    lines: tuple[str, ...]


def find_splice(passage: Passage, lines: Sequence[str], *, number: int) -> Splice | None:
    """What the passage does to `lines`; None: it is not in them.

    Raises:
        NoPlaceError: more than one place fits, or lines are left out of its new text alone.
    """
    search = passage.search
    exact = [n for n in range(len(lines) - len(search) + 1) if tuple(lines[n : n + len(search)]) == search]
    if exact:
        start = exact[_only(len(exact), number)]
        return Splice(start, start + len(search), _no_gap(passage.replace, search, number))
    for changed, key, is_elided in _readings(passage):
        if places := _places(changed, lines, key, is_elided=is_elided):
            return _merged(changed, lines, places[_only(len(places), number)], number)
    return None


def is_in(passage: Passage, lines: Sequence[str]) -> bool:
    """Whether the passage stands in these lines."""
    return any(_places(changed, lines, key, is_elided=False) for changed, key, _ in _readings(passage))


def near_miss(passage: Passage, lines: Sequence[str]) -> str:
    """The lines that are most like the passage; empty if none are."""
    search = [_blank_key(text) for text in passage.search if text.strip()][:NEAR_LINES]
    if not search:
        return ""
    keys = [_blank_key(line) for line in lines]
    wanted = "\n".join(search)
    best, best_start = 0.0, 0
    matcher = difflib.SequenceMatcher(a="", b=wanted, autojunk=False)
    for start in range(min(MAX_NEAR_PLACES, max(1, len(lines) - len(search) + 1))):
        if not keys[start]:
            continue
        matcher.set_seq1("\n".join(keys[start : start + len(search)])[:NEAR_CHARS])
        if (
            matcher.real_quick_ratio() > best
            and matcher.quick_ratio() > best
            and (r := matcher.ratio()) > best
        ):
            best, best_start = r, start
    if best < MIN_SIMILAR:
        return ""
    return "\n".join(lines[best_start : best_start + len(search)])[:NEAR_CHARS]


def shown(passage: Passage) -> str:
    """The first line of a passage, for a sentence."""
    first = next((text for text in passage.search if text.strip()), "")
    return first.strip()[:SHOWN_CHARS]


# --- keys ------------------------------------------------------------------------------------------------


def _blank_key(line: str) -> str:
    return " ".join(line.split())


def _code_key(line: str) -> str:
    """The code of a line without any blanks; empty for a comment alone."""
    plain = unicodedata.normalize("NFKC", line.translate(PLAIN))
    return "".join(without_comment(plain).split())


def without_comment(line: str) -> str:
    """A line of Python without the comment at its end."""
    if "#" not in line:
        return line
    quote = ""
    skip = False
    for place, char in enumerate(line):
        if skip:
            skip = False
        elif char == "\\":
            skip = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "#":
            return line[:place]
    return line


def _in_docstrings(lines: Sequence[str]) -> set[int]:
    """The lines that belong to a text in triple quotes that stands for itself."""
    found: set[int] = set()
    quote = ""
    for n, line in enumerate(lines):
        plain = line.strip().translate(TYPOGRAPHIC)
        if quote:
            found.add(n)
            quote = "" if quote in plain else quote
        elif plain.startswith(QUOTES):
            found.add(n)
            quote = "" if plain[:3] in plain[3:] else plain[:3]
    return found if not quote else set()


# --- places ----------------------------------------------------------------------------------------------

Place = dict[int, int]  # number of an old line of the passage → number of its line in the script
Key = Callable[[str], str]
MAX_PLACES = 50


def _only(n_places: int, number: int) -> int:
    if n_places > 1:
        raise NoPlaceError(
            f"the SEARCH part of block {number} occurs {n_places} times: add the lines around it"
        )
    return 0


def _readings(passage: Passage) -> Iterator[tuple[Sequence[Line], Key, bool]]:
    """The ways to read a passage that was not copied to the letter, the strictest first."""
    forms = [aligned(passage)]
    if (plain := _unnumbered(passage)) is not None:
        forms.append(aligned(plain))
    for key, is_elided in ((_blank_key, False), (_code_key, False), (_code_key, True)):
        for form in forms:
            if not is_elided or any(ELIDED.match(text) for kind, text in form if kind != NEW):
                yield form, key, is_elided


def _unnumbered(passage: Passage) -> Passage | None:
    """The passage without the line numbers that were copied before each line; None: there are none."""
    if not all(NUMBERED.match(text) for text in passage.search if text.strip()):
        return None
    return Passage(tuple((kind, NUMBERED.sub("", text)) for kind, text in passage.lines))


def aligned(passage: Passage) -> Sequence[Line]:
    """The lines as a difference: those that stay are told from those that go and come."""
    search, replace = passage.search, passage.replace
    is_diff = any(kind == BOTH for kind, _ in passage.lines)
    if is_diff or len(search) * len(replace) > MAX_ALIGNED:
        return passage.lines
    before, after = ([(_indent(text), _blank_key(text)) for text in part] for part in (search, replace))
    found: list[Line] = []
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    for what, a_start, a_stop, b_start, b_stop in matcher.get_opcodes():
        if what == "equal":
            found += [(BOTH, text) for text in search[a_start:a_stop]]
        else:
            found += [(OLD, text) for text in search[a_start:a_stop]]
            found += [(NEW, text) for text in replace[b_start:b_stop]]
    return found


def _places(changed: Sequence[Line], lines: Sequence[str], key: Key, *, is_elided: bool) -> list[Place]:
    """Where all old lines of the passage stand in `lines`, in their order."""
    old = [(n, text) for n, (kind, text) in enumerate(changed) if kind != NEW]
    segments: list[list[tuple[int, str]]] = [[]]
    for place in _significant([text for _, text in old], key):
        n, text = old[place]
        segments[-1].append((n, key(text)))
    if is_elided:
        segments = _between_gaps(old, key)
    segments = [segment for segment in segments if segment]
    if not segments:
        return []
    there = [(n, key(lines[n])) for n in _significant(lines, key)]
    found: list[Place] = [{}]
    for segment in segments:
        starts = _starts([k for _, k in segment], [k for _, k in there])
        found = [
            before | {n: there[start + i][0] for i, (n, _) in enumerate(segment)}
            for before in found
            for start in starts
            if not before or there[start][0] > max(before.values())
        ][:MAX_PLACES]
    if len(found) > 1 and len(segments) > 1:
        found = [place for place in found if not _crosses(lines, place)] or found
    return found


def _between_gaps(old: Sequence[tuple[int, str]], key: Key) -> list[list[tuple[int, str]]]:
    docstrings = _in_docstrings([text for _, text in old])
    segments: list[list[tuple[int, str]]] = [[]]
    for place, (n, text) in enumerate(old):
        if ELIDED.match(text):
            segments.append([])
        elif place not in docstrings and key(text):
            segments[-1].append((n, key(text)))
    return segments


def _significant(lines: Sequence[str], key: Key) -> list[int]:
    """The lines that a key compares: for code, those that are no comment, docstring or empty."""
    if key is _code_key:
        docstrings = _in_docstrings(lines)
        return [n for n, line in enumerate(lines) if n not in docstrings and key(line)]
    kept = [n for n, line in enumerate(lines) if line.strip()]
    return list(range(kept[0], kept[-1] + 1)) if kept else []


def _starts(wanted: Sequence[str], there: Sequence[str]) -> list[int]:
    last = len(there) - len(wanted)
    return [n for n in range(last + 1) if there[n] == wanted[0] and there[n : n + len(wanted)] == wanted]


def _crosses(lines: Sequence[str], place: Place) -> bool:
    """Whether a passage with a gap goes over the beginning of another definition."""
    start, stop = min(place.values()), max(place.values())
    return any(line[:1].strip() and line[0] not in ")]}#" for line in lines[start + 1 : stop + 1])


# --- merging ---------------------------------------------------------------------------------------------


def _merged(changed: Sequence[Line], lines: Sequence[str], place: Place, number: int) -> Splice:
    """The lines of the script after the edit: what the passage repeats stays as it was."""
    _no_gap([t for k, t in changed if k != OLD], [t for k, t in changed if k != NEW], number)
    start, stop = min(place.values()), max(place.values()) + 1
    indents = _indents(changed, lines, place)
    shift = _indent(lines[start]) - _indent(changed[min(place)][1])
    result: list[str] = []
    cursor = start
    was_taken = drops_gap = keeps_gap = False
    for n, (kind, text) in enumerate(changed):
        if kind == NEW:
            result.append(_shifted(text, indents, shift))
        elif n in place:
            gap = lines[cursor : place[n]]
            if keeps_gap or not (drops_gap or (was_taken and kind == OLD)):
                result += gap
            if kind == BOTH:
                result.append(lines[place[n]])
            was_taken, drops_gap, keeps_gap = kind == OLD, False, False
            cursor = place[n] + 1
        elif ELIDED.match(text) and kind == BOTH:
            keeps_gap = True
        elif kind == OLD:
            drops_gap = True
    return Splice(start, stop, tuple(result))


def _no_gap(replace: Sequence[str], search: Sequence[str], number: int) -> tuple[str, ...]:
    """`replace`, unless it leaves out lines that the passage does not."""
    gaps, wanted = (sum(1 for text in part if ELIDED.match(text)) for part in (search, replace))
    if gaps != wanted:
        raise NoPlaceError(f"block {number} leaves lines out (`...`) on one side only: write all its lines")
    return tuple(replace)


def _indents(changed: Sequence[Line], lines: Sequence[str], place: Place) -> dict[int, int]:
    """Indentation in the passage → in the script, where that is one and the same."""
    pairs = {(_indent(changed[n][1]), _indent(lines[where])) for n, where in place.items()}
    found = dict(pairs)
    return found if len(found) == len(pairs) else {}


def _indent(line: str) -> int:
    line = line.expandtabs(4)
    return len(line) - len(line.lstrip())


def _shifted(line: str, indents: dict[int, int], shift: int) -> str:
    if not line.strip():
        return ""
    indent = _indent(line)
    return " " * indents.get(indent, max(0, indent + shift)) + line.lstrip()
