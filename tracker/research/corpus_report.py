"""A corpus of auto-research for people: its splits, what they share, and the line of an n-gram table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runners.research.corpora.build import TRAIN, Corpus, corpus, keyed, prepared, training_corpus
from runners.research.corpora.documents import HELD_OUT, PUBLIC
from runners.research.corpora.ngram_line import has_line, ngram_line
from runners.research.corpora.own_text import forget_own_corpus, make_own_corpus, own_corpora
from tracker.errors import TrackerError


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """One corpus; losses are bits per byte, shares are fractions of 1."""

    name: str
    hash: str
    is_public: bool  # whether the split is the same on every machine
    vocab_size: int
    n_tokens: Mapping[str, int]  # per split
    overlap: Mapping[str, float]  # `val 32`: share of val's runs of 32 bytes that stand in `train`
    ngram_order: int | None  # of the best n-gram table on `val`
    ngram_bpb: Mapping[str, float]  # its line on the held-out splits
    # whether each training has a text of its own, of the same kind; this one then stands for all of them
    is_own_per_training: bool = False


def make_corpus(
    name: str, sources: Sequence[Path], *, home: Path, train_bytes: int, vocab_size: int
) -> CorpusReport:
    """Make a corpus of the user's own text and report on it.

    Raises:
        TrackerError: the name is taken, or the text cannot be read or is too little.
    """
    folder = home / "corpora"
    is_new = name not in own_corpora(folder)
    source = make_own_corpus(name, sources, folder, train_bytes=train_bytes, vocab_size=vocab_size)
    try:
        return _report(prepared(keyed(source, folder), folder))
    except TrackerError:
        if is_new:
            forget_own_corpus(name, folder)
        raise


def corpus_report(name: str, home: Path) -> CorpusReport:
    """Report on a corpus, which is prepared first if it is not yet.

    Raises:
        UnknownNameError: there is none of that name.
        TrackerError: it cannot be prepared.
    """
    return _report(corpus(name, home))


def _report(found: Corpus) -> CorpusReport:
    meta = found.meta
    line = None
    if has_line(found):
        most = max(meta.n_tokens[split] for split in HELD_OUT)
        line = ngram_line(found, train_tokens=meta.n_tokens[TRAIN], eval_tokens=most)
    return CorpusReport(
        name=meta.name,
        hash=meta.hash,
        is_public=meta.made_of.get("secret", PUBLIC) == PUBLIC,
        vocab_size=meta.vocab_size,
        n_tokens=meta.n_tokens,
        overlap=meta.overlap,
        ngram_order=line.order if line else None,
        ngram_bpb=dict(line.bpb) if line else {},
        is_own_per_training=bool(training_corpus(found, 0).own_tokens),
    )
