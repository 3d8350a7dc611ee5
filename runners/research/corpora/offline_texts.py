"""Text that needs no download: docstrings of installed packages, and sentences of a seeded generator.

Both are folded to a small alphabet, one byte of the corpus per symbol: a model of 100,000 parameters that has
to learn an alphabet of 256 first never gets beyond pairs of letters.
"""

from __future__ import annotations

import ast
import bisect
import importlib.metadata
import importlib.util
import itertools
import math
import random
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracker.errors import TrackerError
from tracker.installation import package_command

ALPHABET = "\n abcdefghijklmnopqrstuvwxyz.,:()-0"
MIN_PARAGRAPH = 40  # symbols; shorter ones are headings and lists of names
MAX_LETTERLESS = 0.25  # of a paragraph's symbols: tables and examples of numbers are left out
# made when a package is built, so different from machine to machine
NOT_READ = {"__config__.py", "version.py", "_distributor_init.py", "_distributor_init_local.py"}
_FOLDED = str.maketrans({
    **dict.fromkeys("[{<", "("), **dict.fromkeys("]}>", ")"), **dict.fromkeys("!?", "."), ";": ",",
    **dict.fromkeys("_=+*/|~^", "-"), **dict.fromkeys("123456789", "0"),
})  # fmt: skip
_KEPT = set(ALPHABET)


def folded(text: str) -> str:
    """`text` in the small alphabet: lower case, one kind of digit, runs of blanks and signs cut short."""
    plain = "".join(c if c in _KEPT else " " for c in text.lower().translate(_FOLDED))
    lines = [re.sub(r"([ .,:()0-])\1+", r"\1", line).strip() for line in plain.split("\n")]
    return re.sub(r"\n\n+", "\n\n", "\n".join(lines)).strip()


def docstring_text(packages: Sequence[str]) -> str:
    """The prose of the packages' docstrings, folded, each paragraph once; the packages are not imported.

    Raises:
        TrackerError: a package is not installed.
    """
    seen: set[str] = set()
    kept: list[str] = []
    for package in packages:
        for docstring in _docstrings(_folder(package)):
            for paragraph in re.split(r"\n\s*\n", docstring):
                text = folded(paragraph)
                if text not in seen and ">>>" not in paragraph and _is_prose(text):
                    seen.add(text)
                    kept.append(text)
    return "\n\n".join(kept)


@dataclass(frozen=True, slots=True)
class PackageDocs:
    """The docstrings of installed packages as they are written; a group is a module.

    A paragraph that stands in several docstrings, as shared parameters do, is kept once.
    """

    packages: tuple[str, ...]

    def made_of(self) -> Mapping[str, str]:
        """The versions of the packages."""
        return {package: version_of(package) for package in self.packages}

    def documents(self) -> Iterator[tuple[str, str]]:
        """(module, docstring) without what stood in an earlier one.

        Raises:
            TrackerError: a package is not installed.
        """
        seen: set[str] = set()
        for package in self.packages:
            for path, docstring in _docstrings_by_module(_folder(package)):
                kept = []
                for paragraph in re.split(r"\n\s*\n", docstring):
                    text = "\n".join(line.rstrip() for line in paragraph.split("\n")).strip("\n")
                    key = " ".join(text.lower().split())
                    if len(key) >= MIN_PARAGRAPH and key not in seen:
                        seen.add(key)
                        kept.append(text)
                if kept:
                    yield f"{package}/{path}", "\n\n".join(kept)


def version_of(package: str) -> str:
    """The installed version, or `not installed`."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _is_prose(text: str) -> bool:
    letters = sum(c.isalpha() or c == " " for c in text)
    return len(text) >= MIN_PARAGRAPH and letters >= (1 - MAX_LETTERLESS) * len(text)


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise TrackerError(
            f"the corpus is made of docstrings of `{package}`, which is not installed",
            hint=package_command(package),
        )
    return Path(spec.origin).parent


def _docstrings(folder: Path) -> Iterator[str]:
    """Of modules, classes and functions, in an order that no file system decides."""
    for _, docstring in _docstrings_by_module(folder):
        yield docstring


def _docstrings_by_module(folder: Path) -> Iterator[tuple[str, str]]:
    """(path of the module, docstring)."""
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*.py"))
    for path in sorted(paths, key=lambda p: p.as_posix()):
        if path.name in NOT_READ or "tests" in path.parts:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes in foreign code
            tree = ast.parse((folder / path).read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield path.as_posix(), ast.get_docstring(node) or ""


@dataclass(frozen=True, slots=True)
class Generated:
    """A generated text, and what an all-knowing reader would need for each of its symbols."""

    text: str
    entropy_bpb: float  # bits per symbol of the choices behind the text: no model can do better on average


N_WORDS = 160
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SYLLABLE_STARTS = (
    "b", "br", "d", "f", "g", "k", "l", "m", "n", "p", "pl", "r", "s", "st", "t", "tr", "v", "w",
)  # fmt: skip
VOWELS = ("a", "e", "i", "o", "u", "ai", "ou")
SYLLABLE_ENDS = ("", "", "n", "r", "s", "l")
# of a sentence: determiner, noun, verb, adjective, preposition, adverb
PATTERNS = ("dnv", "dnvdn", "dnvpdn", "danvdn", "dnvdan", "pdn,dnv", "dnvx")
N_SHORT_WORDS = {"d": 4, "p": 5, "x": 3}  # of one syllable
# bits per symbol: of all languages 0.71 on average, with a standard deviation of 0.04, by which scores of two
# seeds would differ
ENTROPY_BPB, MAX_ENTROPY_ERROR = 0.7, 0.005


class _Choices:
    """Some texts, the k-th of which is drawn with a chance in proportion to 1 / k."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.sums = list(itertools.accumulate(1 / k for k in range(1, len(texts) + 1)))

    def drawn(self, draw: random.Random) -> str:
        """One of them."""
        return self.texts[min(bisect.bisect(self.sums, draw.random() * self.sums[-1]), len(self.texts) - 1)]

    @property
    def chances(self) -> list[float]:
        """Of each text."""
        return [1 / (k * self.sums[-1]) for k in range(1, len(self.texts) + 1)]

    @property
    def entropy(self) -> float:
        """In bits."""
        return -sum(chance * math.log2(chance) for chance in self.chances)

    def mean_of(self, values: Iterable[float]) -> float:
        """The mean of a value of each text."""
        return sum(chance * value for chance, value in zip(self.chances, values, strict=True))


ENDS = _Choices((". ", ".\n"))


def generated_text(n_symbols: int, *, seed: int) -> Generated:
    """Sentences in a language of its own: a few words often, many seldom, as in languages that are spoken.

    The seed decides which letters are vowels, all words, those that are frequent, and the usual sentences.
    Only `Random.random` is used, whose values do not change between versions of Python.
    """
    draw = random.Random(seed)
    while True:
        patterns, kinds = _Choices(_shuffled(draw, PATTERNS)), _lexicon(draw)
        entropy_bpb = _entropy_bpb(patterns, kinds)
        if abs(entropy_bpb - ENTROPY_BPB) <= MAX_ENTROPY_ERROR:
            break
    parts: list[str] = []
    size = 0
    while size < n_symbols:
        sentence = ""
        for kind in patterns.drawn(draw):
            if kind == ",":
                sentence += ","
                continue
            word = kinds[kind].drawn(draw)
            sentence += f" {word}" if sentence else word
        parts.append(sentence + ENDS.drawn(draw))
        size += len(parts[-1])
    return Generated("".join(parts)[:n_symbols], entropy_bpb)


def _entropy_bpb(patterns: _Choices, kinds: Mapping[str, _Choices]) -> float:
    """Bits of the choices in a sentence, by its symbols; both as the mean over all sentences."""
    bits, length = patterns.entropy + ENDS.entropy, ENDS.mean_of(map(len, ENDS.texts))
    for kind, words in kinds.items():
        n_words = patterns.mean_of(pattern.count(kind) for pattern in patterns.texts)
        bits += n_words * words.entropy
        length += n_words * words.mean_of(map(len, words.texts))
    # between two words there is a blank, and beside a comma as well
    return bits / (length + patterns.mean_of(len(pattern) - 1 for pattern in patterns.texts))


def _lexicon(draw: random.Random) -> dict[str, _Choices]:
    """The words of a language, by the letter of their kind in a pattern."""
    spelling = str.maketrans(LETTERS, "".join(_shuffled(draw, LETTERS)))
    n_short = sum(N_SHORT_WORDS.values())
    words: dict[str, None] = {}
    while len(words) < n_short + N_WORDS:
        n_syllables = 1 + int(draw.random() * 2.6) if len(words) >= n_short else 1
        word = "".join(
            part[int(draw.random() * len(part))]
            for _ in range(n_syllables)
            for part in (SYLLABLE_STARTS, VOWELS, SYLLABLE_ENDS)
        )
        words[word.translate(spelling)] = None
    sizes = N_SHORT_WORDS | {"n": N_WORDS // 2, "v": N_WORDS // 4, "a": N_WORDS // 4}
    left = iter(words)
    return {kind: _Choices(list(itertools.islice(left, n))) for kind, n in sizes.items()}


def _shuffled(draw: random.Random, items: Sequence[str]) -> list[str]:
    """Fisher and Yates; `shuffle` may change between versions."""
    order = list(items)
    for i in range(len(order) - 1, 0, -1):
        j = int(draw.random() * (i + 1))
        order[i], order[j] = order[j], order[i]
    return order


def symbols(text: str) -> bytes:
    """The text as one byte per symbol: its place in the alphabet.

    Raises:
        ValueError: a character is not in the alphabet.
    """
    table = {ord(c): i for i, c in enumerate(ALPHABET)}
    return bytes(table[ord(c)] for c in text)
