"""Text held out by a secret: whole documents, little of them in the training text, and the n-gram line."""

from __future__ import annotations

import math
import random
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from runners.research.corpora.build import (
    HELD_OUT,
    KEY_FILE,
    TRAIN,
    Corpus,
    Grammar,
    corpus,
    keyed,
    prepared,
    training_corpus,
)
from runners.research.corpora.byte_pairs import learned
from runners.research.corpora.documents import FAR, MAX_SHARED, PUBLIC, Documents, grams, shared
from runners.research.corpora.ngram_line import WittenBell, as_bytes, ngram_line, task_line
from runners.research.corpora.offline_texts import generated_text
from runners.research.problem.tiers import shipped_tasks, tier
from tracker.errors import TrackerError

GRAMMAR = Grammar("grammar", n_symbols=60_000, seed=1)


@dataclass(frozen=True)
class Sentences:
    """Documents of a generator; each group also repeats a sentence of its own, and some that all share."""

    n_groups: int = 40
    copies: int = 0  # documents of the first group that every other group has as well

    def made_of(self) -> Mapping[str, str]:
        return {"n_groups": str(self.n_groups), "copies": str(self.copies)}

    def documents(self) -> Iterator[tuple[str, str]]:
        text = generated_text(self.n_groups * 3000, seed=3).text
        for i in range(self.n_groups):
            yield f"group {i}", f"the name of part {i} is {i * 7919}\n" + text[i * 3000 : (i + 1) * 3000]
            for k in range(self.copies):
                yield f"group {i}", "".join(random.Random(k).choices("abcdefgh ", k=200))


def source(secret: str = PUBLIC, **changes: int) -> Documents:
    return Documents("sentences", Sentences(**changes), 60_000, 12_000, 300, secret)


def text_of(of: Corpus, split: str) -> bytes:
    return as_bytes(of, split, of.meta.n_tokens[split]).tobytes()


def test_documents_of_one_group_stand_in_one_split(tmp_path: Path) -> None:
    made = prepared(source(), tmp_path)
    names = {split: set(_groups(text_of(made, split))) for split in (TRAIN, *HELD_OUT)}
    assert all(names.values())
    assert len(set.union(*names.values())) == sum(map(len, names.values()))


def _groups(text: bytes) -> Iterator[bytes]:
    for part in text.split(b"the name of part ")[1:]:
        yield part.split(b" ")[0]


def test_documents_what_is_held_out_depends_on_the_secret_and_on_nothing_else(tmp_path: Path) -> None:
    one, same, other = (
        prepared(source("a" * 64), tmp_path / "1"),
        prepared(source("a" * 64), tmp_path / "2"),
        prepared(source("b" * 64), tmp_path / "1"),
    )
    assert one.hash == same.hash
    assert one.hash != other.hash
    assert set(_groups(text_of(one, "test"))) != set(_groups(text_of(other, "test")))
    assert one.meta.made_of["secret"] not in ("a" * 64, PUBLIC)


def test_the_pieces_of_a_text_have_other_numbers_in_each_training(tmp_path: Path) -> None:
    made = prepared(source(), tmp_path)
    V, lengths = made.meta.vocab_size, np.array(made.meta.byte_lengths)
    numbers = []
    for seed in (1, 1, 2):
        own = training_corpus(made, seed)
        assert own.own_numbers is not None
        numbers.append(own.own_numbers)
        assert sorted(own.own_numbers) == list(range(V))
        np.testing.assert_array_equal(own.own_numbers[lengths == 0], np.flatnonzero(lengths == 0))
        starts = np.array([0, 100])
        np.testing.assert_array_equal(
            own.windows("val", starts, 20), own.own_numbers[made.windows("val", starts, 20)]
        )
        np.testing.assert_array_equal(
            own.byte_lengths()[own.windows("val", starts, 20)], lengths[made.windows("val", starts, 20)]
        )
    np.testing.assert_array_equal(numbers[0], numbers[1])
    n_equal = (numbers[0] == numbers[2])[lengths > 0].sum()
    assert n_equal < 10, "about one by chance"


def test_documents_that_stand_in_the_training_text_are_not_held_out(tmp_path: Path) -> None:
    made = prepared(source(copies=3), tmp_path)
    copies = ["".join(random.Random(k).choices("abcdefgh ", k=200)).encode() for k in range(3)]
    assert all(copy in text_of(made, TRAIN) for copy in copies)
    assert not any(copy in text_of(made, split) for copy in copies for split in HELD_OUT)


def test_documents_say_how_much_of_the_held_out_text_stands_in_the_training_text(tmp_path: Path) -> None:
    made = prepared(source(), tmp_path)
    known = np.unique(grams(text_of(made, TRAIN), FAR))
    assert set(made.meta.overlap) == {f"{split} {n}" for split in HELD_OUT for n in (12, 32)}
    for split in HELD_OUT:
        assert made.meta.overlap[f"{split} 32"] <= MAX_SHARED
        assert made.meta.overlap[f"{split} 32"] == pytest.approx(
            shared(text_of(made, split), known, FAR), abs=0.02
        )


def test_documents_too_few_of_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match="needs at least four groups of documents, got 2"):
        prepared(source(n_groups=2), tmp_path)


def test_the_secret_of_a_home_is_its_owners_alone_and_decides_the_grammar(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = corpus("grammar", home)
    monkeypatch.setenv("TRACKER_CORPUS_SPLIT", "home")
    one, again = corpus("grammar", home), corpus("grammar", home)
    other = corpus("grammar", home.parent / "other")
    assert one.hash == again.hash
    assert len({public.hash, one.hash, other.hash}) == 3
    key = home / "corpora" / KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(one.path("test").stat().st_mode) == 0o600
    assert stat.S_IMODE(one.path("test").parent.stat().st_mode) == 0o700
    assert key.read_text() not in str(one.meta)
    key.write_text("short")
    with pytest.raises(TrackerError, match="does not hold the"):
        corpus("grammar", home)


def test_a_grammar_of_another_secret_has_other_words(tmp_path: Path) -> None:
    words = [set(_words(GRAMMAR.keyed(secret * 64))) for secret in "ab"]
    assert len(words[0] & words[1]) < 0.05 * len(words[0])
    assert keyed(GRAMMAR, tmp_path) == GRAMMAR  # public here


def _words(grammar: Grammar) -> list[str]:
    return generated_text(20_000, seed=grammar.seed).text.split()


def test_byte_pairs_give_the_text_back_and_never_cross_a_word() -> None:
    text = "def f(x):\n    return x + 12  # naïve – é\n" * 5 + "another another"
    pairs = learned([text.encode()], 290)
    tokens = pairs.encoded([text.encode(), b"", "ß\tß".encode()])
    pieces = pairs.pieces()
    assert b"".join(pieces[token] for token in tokens) == text.encode() + "ß\tß".encode()
    assert (tokens == 0).sum() == 3
    assert [len(piece) for piece in pieces] == list(pairs.byte_lengths())
    assert len(tokens) < len(text.encode()) / 1.5
    assert not any(b" " in piece[1:].lstrip(b" ") for piece in pieces)


def test_byte_pairs_are_the_most_frequent_ones_first() -> None:
    pairs = learned([b"abab abab abab cd cd"], 259)
    a, b = ord("a") + 1, ord("b") + 1
    assert pairs.merges == ((a, b), (257, 257))


@pytest.mark.parametrize("size", [2, 5])
def test_ngram_probabilities_of_all_symbols_sum_to_one(size: int) -> None:
    draw = np.random.default_rng(0)
    model = WittenBell.counted(draw.integers(0, size, 300), size=size, max_order=4)
    for context in draw.integers(0, size, (5, 6)):
        total = sum(np.exp(-model.nats(np.append(context, symbol))[:, -1]) for symbol in range(size))
        assert total == pytest.approx(np.ones(4))


def test_the_ngram_line_is_what_a_reader_of_counts_would_reach() -> None:
    text = np.tile(np.arange(4), 500)
    losses = WittenBell.counted(text, size=4, max_order=3).nats(text[:100])
    assert losses[0].mean() == pytest.approx(math.log(4), abs=0.01)
    assert losses[1, 10:].max() < 0.01  # the symbol before says it all


def test_the_ngram_line_is_counted_once_per_corpus(tmp_path: Path) -> None:
    made = prepared(GRAMMAR, tmp_path)
    line = ngram_line(made, train_tokens=40_000, eval_tokens=2_000)
    assert 0.8 < line.bpb["test"] < 2.2
    assert line.n_bytes == 40_000
    assert ngram_line(made, train_tokens=40_000, eval_tokens=2_000) == line
    assert ngram_line(made, train_tokens=5_000, eval_tokens=2_000).bpb["val"] > line.bpb["val"]


def test_the_ngram_line_belongs_to_tasks_of_text_on_a_cpu(home: Path) -> None:
    assert 0.9 < (task_line(tier("smoke"), home) or 0.0) < 1.1
    assert [task_line(shipped_tasks()[name], home) for name in ("gpu", "digits")] == [None, None]
