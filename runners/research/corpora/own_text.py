"""A corpus of the user's own text: files, folders, JSONL or parquet, dealt out like the shipped documents.

Made once under a name; a file beside the corpora keeps what it was made of, so the source may move or go.
Fresh text under the same name is another season, with a name of its own: `news-2026-12`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runners.research.corpora.documents import Documents
from tracker.errors import TrackerError
from tracker.serialization import dump_json, load_json, write_atomically

FOLDER = "own"  # below the corpora
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}", re.ASCII)
TEXT, LINES, TABLES = (".txt", ".md", ".rst"), (".jsonl",), (".parquet",)
KNOWN = (*TEXT, *LINES, *TABLES)
COLUMN = "text"  # of a table or a JSON line
PART_BYTES = 16 << 10  # of a text file: longer ones are cut at blank lines, so that one file is enough
MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class OwnCorpus:
    """`own/NAME.json`: what a corpus was made of."""

    name: str
    files: tuple[str, ...]
    made_of: dict[str, str]
    train_bytes: int
    held_out_bytes: int
    vocab_size: int


@dataclass(frozen=True, slots=True)
class TextFiles:
    """The documents of some files; a group is a text file's part, a line or a row."""

    files: tuple[str, ...]
    hashes: tuple[tuple[str, str], ...]

    def made_of(self) -> Mapping[str, str]:
        """Name → hash of each file."""
        return dict(self.hashes)

    def documents(self) -> Iterator[tuple[str, str]]:
        """(group, text); equal texts are one document.

        Raises:
            TrackerError: a file is gone, or is not what its name says.
        """
        seen: set[bytes] = set()
        for file in self.files:
            path = Path(file)
            for number, text in enumerate(_texts(path)):
                mark = hashlib.sha256(text.encode()).digest()
                if text.strip() and mark not in seen:
                    seen.add(mark)
                    yield f"{path.name} {mark.hex()[:8]} {number}", text


def make_own_corpus(
    name: str, sources: Sequence[Path], folder: Path, *, train_bytes: int, vocab_size: int
) -> Documents:
    """Note down a corpus of these files and folders; the caller prepares it.

    Raises:
        TrackerError: the name is taken or cannot be one, or there is nothing to read.
    """
    if not NAME.fullmatch(name):
        hint = "lower-case letters, digits, `.`, `_` and `-`, at most 40"
        raise TrackerError(f"`{name}` cannot be the name of a corpus", hint=hint)
    files = _files(sources)
    hashes: dict[str, str] = {}
    for path in files:
        with path.open("rb") as file:
            hashes[f"{len(hashes)} {path.name}"] = hashlib.file_digest(file, "sha256").hexdigest()
    names = tuple(str(path) for path in files)
    made = OwnCorpus(name, names, hashes, train_bytes, train_bytes // 5, vocab_size)
    path = folder / FOLDER / f"{name}.json"
    if path.exists() and load_json(OwnCorpus, path.read_bytes(), where=str(path)) != made:
        message = f"there is another corpus `{name}`, and studies may depend on it"
        raise TrackerError(message, hint="give the new text another `--season`")
    source = _documents(made)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, dump_json(made))
    return source


def forget_own_corpus(name: str, folder: Path) -> None:
    """Take back what `make_own_corpus` noted down, for a corpus that could not be prepared."""
    (folder / FOLDER / f"{name}.json").unlink(missing_ok=True)


def own_corpora(folder: Path) -> Mapping[str, Documents]:
    """The user's corpora, by name."""
    found = {}
    for path in sorted((folder / FOLDER).glob("*.json")):
        found[path.stem] = _documents(load_json(OwnCorpus, path.read_bytes(), where=str(path)))
    return found


def _documents(made: OwnCorpus) -> Documents:
    reader = TextFiles(made.files, tuple(made.made_of.items()))
    return Documents(made.name, reader, made.train_bytes, made.held_out_bytes, made.vocab_size)


def _files(sources: Sequence[Path]) -> list[Path]:
    found = []
    for source in sources:
        if source.is_dir():
            inside = [path for path in source.rglob("*") if path.suffix in KNOWN and path.is_file()]
            found += sorted(inside, key=lambda path: path.as_posix())
        elif source.suffix in KNOWN and source.is_file():
            found.append(source)
        else:
            raise TrackerError(f"`{source}` is no folder and no text file", hint="known: " + ", ".join(KNOWN))
    if not found:
        raise TrackerError("there is no text in " + ", ".join(f"`{source}`" for source in sources))
    if (size := sum(path.stat().st_size for path in found)) > MAX_BYTES:
        message = f"the files have {size >> 20:,} MiB, and at most {MAX_BYTES >> 20:,} MiB are read"
        raise TrackerError(message, hint="name fewer files")
    return [path.resolve() for path in found]


def _texts(path: Path) -> Iterator[str]:
    try:
        if path.suffix in TABLES:
            yield from _rows(path)
        elif path.suffix in LINES:
            yield from _lines(path)
        else:
            yield from _parts(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        hint = "the files of a corpus may go once it is prepared, but this one is not"
        raise TrackerError(f"cannot read `{path}`: {error.strerror}", hint=hint) from error


def _rows(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(path).iter_batches(columns=[COLUMN]):
            yield from (text for text in batch.column(0).to_pylist() if isinstance(text, str))
    except (pa.ArrowInvalid, IndexError) as error:
        raise TrackerError(f"`{path}` has no readable column `{COLUMN}`") from error


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line) if line.strip() else {COLUMN: ""}
                text = row[COLUMN]
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                message = f"`{path}`, line {number}: no JSON object with the key `{COLUMN}`"
                raise TrackerError(message) from error
            yield str(text)


def _parts(text: str) -> Iterator[str]:
    """The text, cut at blank lines into parts of at least `PART_BYTES` characters."""
    part: list[str] = []
    size = 0
    for paragraph in re.split(r"\n\s*\n", text):
        part.append(paragraph)
        size += len(paragraph)
        if size >= PART_BYTES:
            yield "\n\n".join(part)
            part, size = [], 0
    if part:
        yield "\n\n".join(part)
