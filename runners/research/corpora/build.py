"""The corpus of a tier: tokens in four disjoint splits, prepared once, identified by their hash.

A corpus without a pinned hash, whose files come from the Hub at a fixed commit, is trusted on first use: the
hash of the first download is kept in `first_downloads.json`, and any later text is compared with it.

Held-out text that anybody can compute is no held-out text: where the source allows it, the home's own secret
decides it (`corpora/split.key`, readable by its owner alone). With TRACKER_CORPUS_SPLIT=public it is the
same on every machine.

In `$TRACKER_HOME/corpora/<name>-<hash>/`, `train/train.bin` lies in a folder of its own, so that it alone can
be shown to a training, beside `held_out/{val,select,test}.bin`. Scores of two hashes are never compared.

A script could carry what an agent learned of the text of an earlier training. So each training gets a corpus
of its own (`training_corpus`), which follows from its seed: a generated text is another one, and tokens that
stand for several bytes have other numbers. Parent and child share a seed, and so a corpus.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import random
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from runners.research.corpora import offline_texts
from runners.research.corpora.documents import HELD_OUT, PUBLIC, Documents, secret_mark
from runners.research.corpora.hub_datasets import FINEWEB_EDU, TINYSTORIES, TINYSTORIES_DOCUMENTS
from runners.research.corpora.own_text import own_corpora
from runners.research.corpora.tables import DIGITS, Digits
from tracker.errors import DiskFullError, TrackerError, UnknownNameError
from tracker.installation import is_pinned, package_command
from tracker.serialization import dump_json, load_json, write_atomically
from tracker.settings import load_settings

TRAIN = "train"
BLOCK = 4096  # symbols that stay together when a text is dealt out to the splits
HELD_OUT_SHARE = 0.05  # of the blocks, for each held-out split
SHUFFLE_SEED = 20_261_124
KEY_FILE = "split.key"  # beside the corpora: the secret of this home
OWNER_ONLY, OWNER_FOLDER = 0o600, 0o700
FOLDER_DIGITS = 16  # of the hash in a folder's name
META = "meta.json"
VOCABULARY = "vocabulary.json"  # the bytes behind each token, in hexadecimal digits
FIRST_DOWNLOADS = "first_downloads.json"  # what was first downloaded of each corpus without a pinned hash
GRAMMAR_HASH = "360fd7047a9fb226f7c5c15250b3e742f3b44da858bc15dd2d0297e5ce387ce3"
# numpy 2.3.5 and scipy 1.17.1, the same under Python 3.11, 3.12 and 3.13
DOCSTRINGS_HASH = "9f0aa9bd12ac92861f738ca6cbab34d84a3f9e77edf7f94504c233793de2f144"
Chunk = tuple[str, NDArray[np.integer]]  # split, tokens
_log = logging.getLogger(__name__)


class CorpusSource(Protocol):
    """The source of a corpus."""

    @property
    def name(self) -> str:
        """As tiers name it."""
        ...

    @property
    def vocab_size(self) -> int:
        """How many different tokens there are."""
        ...

    @property
    def token_bytes(self) -> int:
        """1 or 2: size of a token in a file."""
        ...

    @property
    def pinned_hash(self) -> str | None:
        """Hash of the content on every machine; None: it is not known beforehand."""
        ...

    def made_of(self) -> Mapping[str, str]:
        """Everything that decides the content, without reading it: versions, revisions, sizes, seeds."""
        ...

    def chunks(self) -> Iterator[Chunk]:
        """The tokens, split by split or mixed."""
        ...

    def byte_lengths(self) -> tuple[int, ...]:
        """Bytes of text behind each token; 0: a separator, which is not scored. Empty: one byte each."""
        ...


@dataclass(frozen=True, slots=True)
class Meta:
    """`meta.json` of a prepared corpus."""

    name: str
    hash: str
    vocab_size: int
    token_bytes: int
    made_of: dict[str, str]
    n_tokens: dict[str, int]  # per split
    byte_lengths: tuple[int, ...] = ()  # empty: one byte each
    # `val 12` → share of val's runs of 12 bytes that stand in the training text; empty: not measured
    overlap: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Corpus:
    """A prepared corpus; `note` says so if it is not the one that is pinned."""

    folder: Path
    meta: Meta
    note: str = ""
    # of one training alone, in memory: split → tokens of its text; empty: the text in the folder
    own_tokens: Mapping[str, NDArray[np.integer]] = field(default_factory=dict, repr=False, compare=False)
    # and (V,) the number that each token of the folder has there; None: the same
    own_numbers: NDArray[np.integer] | None = field(default=None, repr=False, compare=False)

    @property
    def hash(self) -> str:
        """SHA-256 of the content: part of every key."""
        return self.meta.hash

    def path(self, split: str) -> Path:
        """The tokens of one split: little-endian unsigned integers of `meta.token_bytes`."""
        return self.folder / (TRAIN if split == TRAIN else "held_out") / f"{split}.bin"

    def tokens(self, split: str) -> NDArray[np.integer]:
        """The tokens of one split with their numbers in the folder, read as they are used."""
        if split in self.own_tokens:
            return self.own_tokens[split]
        return np.memmap(self.path(split), dtype=_dtype(self.meta.token_bytes), mode="r")

    def windows(self, split: str, starts: NDArray[np.int64], n_tokens: int) -> NDArray[np.integer]:
        """(N, n_tokens) tokens from each start on, as the training sees them."""
        tokens = np.asarray(self.tokens(split)[starts[:, None] + np.arange(n_tokens)])
        return tokens if self.own_numbers is None else self.own_numbers[tokens]

    def training_mark(self, what: str, seed: int) -> bytes:
        """32 bytes for the training under `seed`, not to be guessed without the tokens of `test`."""
        unseen = hashlib.sha256(self.path("test").read_bytes()).hexdigest()
        return hashlib.sha256(f"{what} {unseen} {seed}".encode()).digest()

    def files(self) -> tuple[Path, ...]:
        """All that another machine needs of it."""
        return (self.folder / META, *(self.path(split) for split in (TRAIN, *HELD_OUT)))

    def byte_lengths(self) -> NDArray[np.int64]:
        """(V,) bytes of text behind each token, as the training sees it; 0 for a separator, not scored."""
        lengths = np.array(self.meta.byte_lengths or (1,) * self.meta.vocab_size, dtype=np.int64)
        if self.own_numbers is not None:
            lengths[self.own_numbers] = lengths.copy()
        return lengths


@dataclass(frozen=True, slots=True)
class Docstrings:
    """Prose of the docstrings of installed packages, folded to a small alphabet."""

    name: str
    packages: tuple[str, ...]
    pinned_hash: str | None = None
    vocab_size: int = len(offline_texts.ALPHABET)
    token_bytes: int = 1

    def made_of(self) -> Mapping[str, str]:
        """The versions of the packages."""
        return {package: offline_texts.version_of(package) for package in self.packages}

    def chunks(self) -> Iterator[Chunk]:
        """The blocks, dealt out."""
        return _dealt(offline_texts.docstring_text(self.packages))

    def byte_lengths(self) -> tuple[int, ...]:
        """One byte per symbol."""
        return ()


@dataclass(frozen=True, slots=True)
class Grammar:
    """Sentences of a seeded generator, made in a tenth of a second; a secret decides the language.

    Each training has a language of its own, of the same kind and size. That of the corpus itself is never
    trained on: it stands for all of them in the hash, in reports and in the line of an n-gram table.
    """

    name: str
    n_symbols: int
    seed: int
    secret: str = field(default=PUBLIC, repr=False)
    pinned_hash: str | None = None
    vocab_size: int = len(offline_texts.ALPHABET)
    token_bytes: int = 1

    def keyed(self, secret: str) -> Grammar:
        """Another language of the same kind, which its secret alone decides."""
        if secret == PUBLIC:
            return self
        seed = int.from_bytes(hashlib.sha256(f"{secret} {self.name}".encode()).digest()[:8])
        return replace(self, seed=seed, secret=secret, pinned_hash=None)

    def made_of(self) -> Mapping[str, str]:
        """Its size, its seed, and that trainings do not share a language, as they did without that entry."""
        is_public = self.secret == PUBLIC
        key = {"seed": str(self.seed)} if is_public else {"secret": secret_mark(self.secret)}
        return {"n_symbols": str(self.n_symbols), "languages": "one for each training", **key}

    def chunks(self) -> Iterator[Chunk]:
        """The blocks, dealt out."""
        return _dealt(offline_texts.generated_text(self.n_symbols, seed=self.seed).text)

    def byte_lengths(self) -> tuple[int, ...]:
        """One byte per symbol."""
        return ()


SOURCES: tuple[CorpusSource, ...] = (
    Grammar("grammar", n_symbols=600_000, seed=5, pinned_hash=GRAMMAR_HASH),
    Docstrings("docstrings", ("numpy", "scipy"), pinned_hash=DOCSTRINGS_HASH),
    Documents(
        "package-docs",
        offline_texts.PackageDocs(("numpy", "scipy", "pandas")),
        train_bytes=1_600_000,
        held_out_bytes=330_000,
    ),
    Documents("tinystories-pairs", TINYSTORIES_DOCUMENTS, train_bytes=2_000_000, held_out_bytes=330_000),
    DIGITS,
    TINYSTORIES,
    FINEWEB_EDU,
)
CORPORA: Mapping[str, CorpusSource] = {source.name: source for source in SOURCES}


def corpus(name: str, home: Path) -> Corpus:
    """The corpus of that name, prepared now if this home has none yet.

    A corpus with the pinned hash is taken whatever is installed; without one, text of other versions is used
    under its own hash, and `note` says so.

    Raises:
        UnknownNameError: there is none of that name.
        TrackerError: what it is made of is not installed, or its files were changed.
        UnreachableError: the Hub cannot be reached and has to be.
        DiskFullError: no space is left.
    """
    folder = home / "corpora"
    known = CORPORA if name in CORPORA else {**CORPORA, **own_corpora(folder)}
    if name not in known:
        raise UnknownNameError("corpus", name, known=known)
    return prepared(keyed(known[name], folder), folder)


def training_corpus(of: Corpus, seed: int) -> Corpus:
    """The corpus as the training under `seed` reads it and is measured on it.

    It follows from held-out tokens and the seed: so it is the same on each machine that has the corpus, and
    cannot be foretold from what a script sees. A generated text is in another language. In a vocabulary of
    pieces of text each piece gets another number, but for separators and what stands for nothing. Texts of
    single bytes and tables are the same for all seeds.
    """
    source = CORPORA.get(of.meta.name)
    if isinstance(source, Grammar):
        language = int.from_bytes(of.training_mark("language", seed)[:8])
        return replace(of, own_tokens=_language(sum(of.meta.n_tokens.values()), language))
    if not of.meta.byte_lengths:
        return of
    numbers = np.arange(of.meta.vocab_size, dtype=_dtype(of.meta.token_bytes))
    pieces = np.flatnonzero(of.meta.byte_lengths)
    draw = np.random.default_rng(int.from_bytes(of.training_mark("numbers", seed)))
    numbers[pieces] = draw.permutation(pieces)
    return replace(of, own_numbers=numbers)


@lru_cache(maxsize=4)  # parent and child; 0.6 MB each
def _language(n_symbols: int, seed: int) -> Mapping[str, NDArray[np.integer]]:
    return dict(_dealt(offline_texts.generated_text(n_symbols, seed=seed).text))


def keyed(source: CorpusSource, folder: Path) -> CorpusSource:
    """The source under the secret of this home, where it takes one."""
    if not isinstance(source, Grammar | Documents | Digits):
        return source
    public = load_settings().corpus_split == PUBLIC
    return source.keyed(PUBLIC if public else home_secret(folder))


def home_secret(folder: Path) -> str:
    """The secret that decides what is held out in this home, drawn when first needed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / KEY_FILE
    with FileLock(folder / ".split.lock"):
        if not path.exists():
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32))
        secret = path.read_text().strip()
    if len(secret) < 32:
        raise TrackerError(
            f"`{path}` does not hold the secret of this home's corpora",
            hint="delete it: a new one is drawn, and later scores are kept apart from earlier ones",
        )
    return secret


def prepared(source: CorpusSource, folder: Path) -> Corpus:
    """The corpus of `source` below `folder`; see `corpus`."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{source.name}.lock"):
        found = _found(source, folder)
        if found is None:
            found = _made(source, folder)
        if source.pinned_hash is None:
            _compare_with_first_download(found, folder)
    note = _note(source, found.meta)
    if note:
        _log.warning("%s", note)
    return Corpus(found.folder, found.meta, note)


@dataclass(frozen=True, slots=True)
class FirstDownload:
    """The text that was first made of these files in this home; `digest` covers also the bytes per token."""

    name: str
    made_of: dict[str, str]
    digest: str


@dataclass(frozen=True, slots=True)
class FirstDownloads:
    """The content of `first_downloads.json`."""

    downloads: tuple[FirstDownload, ...] = ()


def _compare_with_first_download(found: Corpus, folder: Path) -> None:
    """Refuse another text than the first one of the same files at the same commit; keep the first.

    Raises:
        TrackerError: it is another one, so whoever serves the files, or somebody here, has changed it.
    """
    path = folder / FIRST_DOWNLOADS
    kept = (
        load_json(FirstDownloads, path.read_bytes(), where=str(path)) if path.exists() else FirstDownloads()
    )
    meta = found.meta
    digest = hashlib.sha256(f"{meta.hash} {meta.byte_lengths}".encode()).hexdigest()
    for first in kept.downloads:
        if (first.name, first.made_of) == (meta.name, meta.made_of):
            if first.digest == digest:
                return
            message = f"the corpus `{meta.name}` in {found.folder} is not the text that was first downloaded"
            raise TrackerError(
                f"{message} from the same commit (sha256 {digest[:12]}, first {first.digest[:12]})",
                hint=f"do not trust it; if you know why it changed, delete {found.folder} and {path}",
            )
    first = FirstDownload(meta.name, dict(meta.made_of), digest)
    write_atomically(path, dump_json(FirstDownloads((*kept.downloads, first))))


def _note(source: CorpusSource, meta: Meta) -> str:
    if source.pinned_hash in (None, meta.hash):
        return ""
    versions = " and ".join(f"{name} {version}" for name, version in meta.made_of.items())
    packages = [name for name in meta.made_of if is_pinned(name)]
    remedy = f" (`{package_command(*packages)}` installs the pinned versions)" if packages else ""
    return (
        f"the corpus `{source.name}` is made of {versions}, which is not the pinned text: scores are kept "
        f"apart from those of other machines{remedy}"
    )


def _found(source: CorpusSource, folder: Path) -> Corpus | None:
    """The corpus as it lies there: the pinned one, else one that is made of the same."""
    metas = [
        (path.parent, load_json(Meta, path.read_bytes(), where=str(path)))
        for path in sorted(folder.glob(f"{source.name}-*/{META}"))
    ]
    pinned = [(place, meta) for place, meta in metas if meta.hash == source.pinned_hash]
    same = [(place, meta) for place, meta in metas if not pinned and meta.made_of == dict(source.made_of())]
    for place, _ in pinned or same:
        return corpus_in(place)
    return None


def corpus_in(place: Path) -> Corpus:
    """The prepared corpus in this folder.

    Raises:
        TrackerError: its files are not what they were.
    """
    found = Corpus(place, load_json(Meta, (place / META).read_bytes(), where=str(place / META)))
    if _content_hash(found) != found.hash:
        raise TrackerError(
            f"the files of the corpus in {place} have changed since they were written",
            hint="delete that folder; the next run prepares it again",
        )
    return found


def _made(source: CorpusSource, folder: Path) -> Corpus:
    """The corpus, written to a folder that appears whole or not at all."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{source.name}-", dir=folder))
    try:
        meta = _written(source, temporary)
        place = folder / f"{source.name}-{meta.hash[:FOLDER_DIGITS]}"
        if place.exists():  # other versions of a package, and the same text
            shutil.rmtree(place)
        temporary.rename(place)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(str(folder)) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Corpus(place, meta)


def _written(source: CorpusSource, folder: Path) -> Meta:
    dtype = _dtype(source.token_bytes)
    n_tokens = dict.fromkeys((TRAIN, *HELD_OUT), 0)
    draft = Corpus(folder, Meta(source.name, "", source.vocab_size, source.token_bytes, {}, n_tokens))
    for split in n_tokens:
        draft.path(split).parent.mkdir(exist_ok=True)
        draft.path(split).touch()
    for split, tokens in source.chunks():
        with draft.path(split).open("ab") as file:
            file.write(tokens.astype(dtype).tobytes())
        n_tokens[split] += len(tokens)
    for split in HELD_OUT:  # not for whoever else uses this machine
        draft.path(split).chmod(OWNER_ONLY)
        draft.path(split).parent.chmod(OWNER_FOLDER)
    meta = Meta(
        source.name,
        _content_hash(draft),
        source.vocab_size,
        source.token_bytes,
        dict(source.made_of()),
        n_tokens,
        source.byte_lengths(),
        dict(source.overlap()) if isinstance(source, Documents) else {},
    )
    if isinstance(source, Documents):
        write_atomically(folder / VOCABULARY, json.dumps([p.hex() for p in source.pieces()]).encode())
    (folder / META).write_bytes(dump_json(meta))
    return meta


def _content_hash(corpus: Corpus) -> str:
    """Over name, token size and the content of every split."""
    whole = hashlib.sha256(f"{corpus.meta.name} {corpus.meta.token_bytes}".encode())
    for split in (TRAIN, *HELD_OUT):
        with corpus.path(split).open("rb") as file:
            whole.update(f"\n{split} {hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
    return whole.hexdigest()


def _dealt(text: str) -> Iterator[Chunk]:
    """The whole blocks of a folded text in a seeded order, the held-out splits first."""
    tokens = np.frombuffer(offline_texts.symbols(text), dtype=np.uint8)
    blocks = tokens[: len(tokens) // BLOCK * BLOCK].reshape(-1, BLOCK)
    order = list(range(len(blocks)))
    draw = random.Random(SHUFFLE_SEED)
    for i in range(len(order) - 1, 0, -1):  # Fisher and Yates; `shuffle` may change between versions
        j = int(draw.random() * (i + 1))
        order[i], order[j] = order[j], order[i]
    n_each = max(1, int(len(order) * HELD_OUT_SHARE))
    for k, split in enumerate(HELD_OUT):
        yield split, blocks[order[k * n_each : (k + 1) * n_each]].ravel()
    yield TRAIN, blocks[order[len(HELD_OUT) * n_each :]].ravel()


def _dtype(token_bytes: int) -> np.dtype[np.integer]:
    return np.dtype({1: "<u1", 2: "<u2"}[token_bytes])
