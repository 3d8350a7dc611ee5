"""A corpus of the user's own text: every kind of file, dealt out once, and used after its source is gone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runners.research.corpora.build import HELD_OUT, TRAIN, corpus, prepared
from runners.research.corpora.ngram_line import as_bytes
from runners.research.corpora.offline_texts import generated_text
from runners.research.corpora.own_text import make_own_corpus
from runners.research.problem.tiers import SMOKE
from runners.research.training.cache import train
from runners.sandbox import run as sandboxes
from tracker.errors import TrackerError
from tracker.records.studies import Change

TEXT = generated_text(120_000, seed=9).text
ROWS = [f"{i}: {TEXT[i * 600 : (i + 1) * 600]}" for i in range(200)]


def _text(folder: Path) -> None:
    (folder / "book.txt").write_text("\n\n".join(ROWS))


def _lines(folder: Path) -> None:
    (folder / "rows.jsonl").write_text("\n".join(json.dumps({"text": row, "id": 1}) for row in ROWS))


def _table(folder: Path) -> None:
    pq.write_table(pa.table({"text": [*ROWS, None]}), folder / "rows.parquet")


def _folder(folder: Path) -> None:
    for i, row in enumerate(ROWS):
        (folder / f"{i % 7}").mkdir(exist_ok=True)
        (folder / f"{i % 7}" / f"{i}.md").write_text(row)
    (folder / "picture.png").write_bytes(b"\x89PNG")


@pytest.mark.parametrize("write", [_text, _lines, _table, _folder])
def test_own_text_is_dealt_out_and_stays_when_its_source_goes(
    write: Callable[[Path], None], home: Path
) -> None:
    source, folder = home.parent / "source", home / "corpora"
    source.mkdir()
    write(source)
    made = prepared(make_own_corpus("mine", [source], folder, train_bytes=50_000, vocab_size=400), folder)
    texts = {
        split: as_bytes(made, split, made.meta.n_tokens[split]).tobytes() for split in (TRAIN, *HELD_OUT)
    }
    assert all(len(text) > 3_000 for text in texts.values())
    whole = "\n\n".join(ROWS).encode()
    assert all(text[:500] in whole for text in texts.values())
    shutil.rmtree(source)
    assert corpus("mine", home) == made


def test_own_text_is_not_changed_under_a_name_that_studies_use(home: Path) -> None:
    source, folder = home.parent / "book.txt", home / "corpora"
    source.write_text("\n\n".join(ROWS))
    make_own_corpus("mine", [source], folder, train_bytes=50_000, vocab_size=400)
    make_own_corpus("mine", [source], folder, train_bytes=50_000, vocab_size=400)
    source.write_text("\n\n".join(ROWS[1:]))
    with pytest.raises(TrackerError, match="another corpus `mine`, and studies may depend on it"):
        make_own_corpus("mine", [source], folder, train_bytes=50_000, vocab_size=400)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", '{"text": "a"}\n{"story": "b"}', r"`.*rows.jsonl`, line 2: no JSON object"),
        ("rows.jsonl", "[]", r"line 1: no JSON object with the key"),
        ("rows.parquet", "no table", "has no readable column `text`"),
        ("few.txt", "one paragraph", "needs at least four groups of documents, got 1"),
        ("data.bin", "x", "is no folder and no text file"),
    ],
)
def test_own_text_that_cannot_be_read_is_named(name: str, content: str, message: str, home: Path) -> None:
    source, folder = home.parent / name, home / "corpora"
    source.write_text(content)
    with pytest.raises(TrackerError, match=message):
        prepared(make_own_corpus("mine", [source], folder, train_bytes=50_000, vocab_size=400), folder)


def test_own_text_needs_a_name_and_some_text(home: Path) -> None:
    home.mkdir()
    with pytest.raises(TrackerError, match="cannot be the name of a corpus"):
        make_own_corpus("../mine", [home], home, train_bytes=1, vocab_size=400)
    with pytest.raises(TrackerError, match="there is no text in"):
        make_own_corpus("mine", [home], home, train_bytes=1, vocab_size=400)


@pytest.mark.sandbox
def test_own_text_that_is_shorter_than_a_window_is_refused_before_it_is_trained_on(home: Path) -> None:
    rows, folder = home.parent / "rows.txt", home / "corpora"
    rows.write_text("\n\n".join(ROWS))
    prepared(make_own_corpus("short", [rows], folder, train_bytes=50_000, vocab_size=400), folder)
    tier = replace(SMOKE, name="long", corpus="short", context=20_000)
    with pytest.raises(TrackerError, match=r"`short` has .* of `\w+`, and one window .* has 20,001"):
        train(Change(), 1, tier, splits=("val",), home=home, sandbox=sandboxes.find())
