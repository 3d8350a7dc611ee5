"""Items that are damaged or gone are told of by every reader."""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from tests.builders.some_runs import items, model, parts_of, run, store_runs
from tracker.api import Home
from tracker.cli import main
from tracker.files.items import write_part
from tracker.files.page_checksums import pages_hold
from tracker.settings import Settings
from tracker.store import MissingItems, open_snapshot
from tracker.store.item_parts import _checked, wanted_parts

N_PARTS = 4_200  # an earlier version forgot the checks of more than 4,096

OTHER = model("acme/other-1b")
COUNT = "select count(*) as n from items"


@pytest.fixture
def filled(settings: Settings) -> Settings:
    """Two models with three tasks of ten items each, one part per task."""
    store_runs(settings, run(1), run(2, of=OTHER))
    return settings


def flip(path: Path, *, at: int | None = None) -> None:
    """Change 20 bytes, as a failing disk does; by default in the middle."""
    content = bytearray(path.read_bytes())
    start = len(content) // 2 if at is None else at
    for place in range(start, start + 20):
        content[place] ^= 0xA5
    path.write_bytes(content)


def damage(settings: Settings, how: str) -> None:
    first = parts_of(settings)[0]
    if how == "flipped":
        flip(first)
    elif how == "cut":
        first.write_bytes(first.read_bytes()[:200])
    elif how == "empty":
        first.write_bytes(b"")
    elif how == "deleted":
        first.unlink()
    else:
        shutil.rmtree(first.parent)


@pytest.mark.parametrize(
    ("how", "n_items", "n_parts"),
    [("flipped", 50, 1), ("cut", 50, 1), ("empty", 50, 1), ("deleted", 50, 1), ("folder deleted", 30, 3)],
)
def test_missing_items_every_command_tells_of_them(
    filled: Settings, capsys: pytest.CaptureFixture[str], how: str, n_items: int, n_parts: int
) -> None:
    damage(filled, how)
    for argv in (
        ("query", COUNT),
        ("show", "acme/atlas-8b"),
        ("compare", "acme/atlas-8b", "acme/other-1b"),
    ):
        try:
            main([*argv, "--json"])
        except SystemExit:  # no item in common is left to compare
            assert (argv[0], how) == ("compare", "folder deleted")
            assert "items are missing: 3 parts" in capsys.readouterr().err
            continue
        said = capsys.readouterr()
        document = json.loads(said.out)
        assert document["missing_parts"] == n_parts
        (line,) = said.err.splitlines()
        assert line.startswith(f"warning: items are missing: {n_parts} part")
        assert f"`{run(1).run_id}`" in line
        assert "tracker store check" in line
        if argv[0] == "query":
            assert document["rows"] == [{"n": n_items}]
        if argv[0] == "show":
            on_disk = [score["n_items_on_disk"] for score in document["runs"][0]["scores"]]
            assert sum(on_disk) == 60 - n_items - 30 + 2 * (n_items - 30)


def test_missing_items_a_whole_store_lacks_none(filled: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (("query", COUNT), ("show", "atlas-8b"), ("compare", "atlas-8b", "other-1b")):
        main([*argv, "--json"])
        said = capsys.readouterr()
        assert (json.loads(said.out)["missing_parts"], said.err) == (0, "")
    main(["show", "atlas-8b"])
    assert "on disk" not in capsys.readouterr().out


def test_missing_items_a_score_without_all_its_items_is_marked(
    filled: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(filled, "deleted")
    main(["show", "atlas-8b"])
    assert "10 (0 on disk)" in capsys.readouterr().out


def test_missing_items_a_group_has_those_of_its_tasks(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, *leaves = run(1).scores
    leaves = [replace(leaf, group=whole.task) for leaf in leaves]
    grouped = replace(run(1), scores=(replace(whole, n_items=20, n_total=20), *leaves))
    store_runs(settings, grouped)
    for part in settings.items_path.glob(f"*/{whole.fingerprint}-*.parquet"):
        part.unlink()  # in truth it never has one
    main(["show", "atlas-8b", "--json"])
    said = capsys.readouterr()
    (shown,) = json.loads(said.out)["runs"]
    assert [score["n_items_on_disk"] for score in shown["scores"]] == [20, 10, 10]
    assert (json.loads(said.out)["missing_parts"], said.err) == (0, "")


def test_missing_items_reused_ones_whose_run_is_gone_are_told(
    filled: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """A later run that reused all items has no part of its own: the first one's folder had the only copy."""
    again = run(3, n_reused_items=30)
    store_runs(filled, again)
    for part in (filled.items_path / again.run_id).glob("*.parquet"):
        part.unlink()
    shutil.rmtree(filled.items_path / run(1).run_id)
    main(["show", "atlas-8b", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert [[score["n_items_on_disk"] for score in one["scores"]] for one in document["runs"]] == [
        [0] * 3
    ] * 2


def test_missing_items_answered_again_are_not_missing(
    filled: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(filled, "deleted")
    lost = run(1).scores[0] if not parts_of(filled)[0].name.startswith(run(1).scores[0].fingerprint) else None
    for score in run(1).scores:
        if not list(filled.items_path.glob(f"*/{score.fingerprint}-*.parquet")):
            lost = score
    assert lost is not None
    write_part(filled.items_path, "20261125T000000-000000", lost.fingerprint, items(lost.task))
    main(["query", COUNT, "--json"])
    said = capsys.readouterr()
    assert (json.loads(said.out)["rows"], said.err) == ([{"n": 60}], "")


def test_missing_items_are_told_in_python(filled: Settings) -> None:
    home = Home(filled)
    assert home.query(COUNT).attrs == {}
    damage(filled, "flipped")
    with pytest.warns(UserWarning, match="items are missing: 1 part"):
        frame = home.query(COUNT)
    assert frame.attrs == {"missing_parts": 1}
    with pytest.warns(UserWarning, match="items are missing: 1 part"):
        shown = home.items(run(1).run_id)
    assert (len(shown), shown.attrs) == (20, {"missing_parts": 1})
    assert home.compare("acme/atlas-8b", "acme/other-1b").missing.n_parts == 1


def test_missing_items_changed_bytes_never_give_other_rows(filled: Settings) -> None:
    """DuckDB alone reads other texts where bytes have changed: in 15 of 300 flips of 20 bytes."""
    part = parts_of(filled)[0]
    whole = part.read_bytes()
    seeded = random.Random(7)
    sql = "select * from items order by all"
    with open_snapshot(filled) as snapshot:
        expected = snapshot.select(sql).rows
        others = [row for row in expected if row[1] != part.stem.rpartition("-")[0]]
        n_told = 0
        for _ in range(40):
            part.write_bytes(whole)
            flip(part, at=seeded.randrange(4, len(whole) - 20))
            found = snapshot.select(sql)
            # a damaged footer may be told of although all rows can still be read
            assert found.rows in ((others, expected) if found.missing else (expected,))
            n_told += bool(found.missing)
    assert n_told > 30


def test_missing_items_pages_hold_for_nothing_that_is_no_page() -> None:
    seeded = random.Random(3)
    for size in (0, 1, 7, 200):
        content = seeded.randbytes(size)
        assert pages_hold(content, start=0, end=size) is (size == 0)
    nested = bytes([0x1C]) * 100_000
    assert not pages_hold(nested, start=0, end=len(nested))


def test_missing_items_damage_that_checksums_do_not_cover_is_found_while_reading(filled: Settings) -> None:
    """Parts of a program that writes no checksums, or damage in the footer."""
    part = parts_of(filled)[0]
    connection = duckdb.connect()
    connection.execute(f"create table kept as from '{part}'")
    connection.execute(f"copy kept to '{part}' (format parquet, compression zstd)")
    connection.close()
    flip(part, at=60)
    with open_snapshot(filled) as snapshot:
        found = snapshot.select("select sum(doc_id), count(response), max(fingerprint) from items")
    assert found.rows[0][1] in (50, 60)
    assert (found.missing.n_parts == 1) == (found.rows[0][1] == 50)


def test_missing_items_parts_of_a_large_home_are_checked_once(settings: Settings) -> None:
    store_runs(settings, run(1))
    (part, *_) = parts_of(settings)
    for number in range(N_PARTS):
        folder = settings.items_path / f"20261101-{number:06d}-aaaaaa"
        folder.mkdir()
        os.link(part, folder / part.name)
    with duckdb.connect() as connection:
        found = wanted_parts(connection, settings.items_path, {})
        n_checks = _checked.cache_info().misses
        assert wanted_parts(connection, settings.items_path, {}) == found
    assert len(found[0]) >= N_PARTS
    assert _checked.cache_info().misses == n_checks


def test_missing_items_the_sentence_names_few_runs() -> None:
    told = MissingItems(1200, tuple(f"run-{number}" for number in range(9))).sentence
    assert told == (
        "items are missing: 1,200 parts are damaged or no longer on the disk, of runs "
        "`run-0`, `run-1`, `run-2`, `run-3`, `run-4` and 4 more"
    )
    assert MissingItems().sentence == ""
