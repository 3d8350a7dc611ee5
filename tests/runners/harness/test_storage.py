"""Items are stored by threads: all of them when the run ends, also beside a file that cannot be written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from runners.harness.leaf_work import LeafWork
from runners.harness.questions import TaskQuestion
from runners.harness.storage import FLUSH_CHARACTERS, ItemSink, Storage
from tests.builders.some_runs import items
from tracker.files.items import parts_by_fingerprint, read_items, stored_parts
from tracker.records import Item, PromptForm

NEVER_S = 1e9


def sink(folder: Path, *, flush_s: float = NEVER_S) -> ItemSink:
    return ItemSink(Storage(), folder, "run", flush_s)


def work(key: str, answered: Sequence[Item], *, n_questions: int) -> LeafWork:
    leaf: Any = "t"
    question = TaskQuestion(leaf, 0, "", "", ())
    known = {item.doc_id: item for item in answered}
    return LeafWork(leaf, key, [question] * n_questions, known, {}, PromptForm("t", False, False, None))


def test_all_items_are_there_when_they_have_been_waited_for(tmp_path: Path) -> None:
    store, written = sink(tmp_path), items("t", 30)
    for place, item in enumerate(written):
        store.add("ab"[place % 2], item)
        if place == 20:
            store.flush()
    store.flush()
    store.storage.wait()
    assert list(read_items(stored_parts(tmp_path, "a")).values()) == written[::2]
    assert list(read_items(stored_parts(tmp_path, "b")).values()) == written[1::2]
    assert [len(stored_parts(tmp_path, key)) for key in "ab"] == [2, 2]


def test_a_chunk_is_due_after_some_time_or_many_characters(tmp_path: Path) -> None:
    (item,) = items("t", 1)
    for store in (sink(tmp_path / "time", flush_s=0.0), sink(tmp_path / "size")):
        if store.flush_s:
            store.n_characters = FLUSH_CHARACTERS
        store.add("a", item)
        assert (store.pending, store.n_characters) == ({}, 0)
        store.storage.wait()
        assert len(stored_parts(store.items_path, "a")) == 1


def test_the_items_of_a_whole_task_are_stored_at_once_unless_much_waits_to_be_written(
    tmp_path: Path,
) -> None:
    first, second = items("t", 2)
    store, go_on = sink(tmp_path), Event()
    store.add("a", first)
    store.flush_complete(work("a", [first], n_questions=2))
    assert store.pending == {"a": [first]}
    store.flush_complete(work("a", [first], n_questions=1))
    assert store.pending == {}
    for number in range(40):
        store.storage.write(f"slow {number}", lambda: go_on.wait(60))
    store.add("b", second)
    store.flush_complete(work("b", [second], n_questions=1))
    assert store.pending == {"b": [second]}
    go_on.set()
    store.storage.wait()
    assert list(read_items(stored_parts(tmp_path, "a")).values()) == [first]


def test_files_of_one_fingerprint_are_written_one_after_the_other_beginning_with_the_first() -> None:
    storage, order, go_on = Storage(), list[str](), Event()

    def slow() -> None:
        go_on.wait(60)
        order.append("slow")

    storage.write_first("a", lambda: order.append("first"))
    storage.write("a", slow)
    go_on.set()
    storage.write("a", lambda: order.append("next"))
    storage.wait()
    assert order == ["first", "slow", "next"]


def test_the_first_file_is_written_although_nothing_follows() -> None:
    storage, written = Storage(), list[str]()
    storage.write_first("a", lambda: written.append("first"))
    storage.wait()
    assert written == ["first"]


def test_a_file_that_cannot_be_written_is_told_and_the_others_are_there(tmp_path: Path) -> None:
    store = sink(tmp_path)
    (item,) = items("t", 1)

    def fail() -> None:
        raise OSError(28, "No space left on device")

    store.storage.write("a", fail)
    store.add("a", item)
    store.flush()
    with pytest.raises(OSError, match="No space left"):
        store.storage.wait()
    assert list(read_items(stored_parts(tmp_path, "a")).values()) == [item]
    store.storage.wait()  # told once


def test_one_listing_finds_the_chunks_of_every_fingerprint(tmp_path: Path) -> None:
    for run_id in ("one", "two"):
        for key in "ab":
            store = ItemSink(Storage(), tmp_path, run_id, NEVER_S)
            store.add(key, items("t", 1)[0])
            store.flush()
            store.storage.wait()
    assert parts_by_fingerprint(tmp_path) == {key: stored_parts(tmp_path, key) for key in "ab"}
