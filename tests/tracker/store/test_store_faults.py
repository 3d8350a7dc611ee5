"""Faults of single files, by command: each has one outcome, and nothing that the truth holds is lost.

`TRACKER_TEST_FLIPS` is the number of places at which bytes are flipped in each kind of file.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from runners.executors.jobs import forget_job, reap_orphans
from tests.builders.some_runs import TASKS, model, parts_of, run, store_runs
from tests.builders.some_studies import store_study, store_suite_run, study, suite_run
from tracker.bench.run import bench_lock
from tracker.cli import main
from tracker.errors import StoreError
from tracker.files.items import read_run, write_run
from tracker.research.driver import reap_studies
from tracker.settings import Settings
from tracker.store import check, clean_up, open_snapshot, publish, rebuild, repair, snapshot_id
from tracker.store.database import new_database
from tracker.store.snapshot_files import POINTER, snapshot_paths

FLIPS = int(os.environ.get("TRACKER_TEST_FLIPS", "1"))
FLIPPED_BYTES = 40
N_RUNS, N_ALIASES, N_MODELS, N_JOBS = 2, 1500, 2500, 3
N_ITEMS = 10 * len(TASKS) * N_RUNS
INGESTED = f"""
insert into sources values ('hub', 'Hub', 'https://example.org', 'none', 'Hub', false);
insert into ingests by name select 'i' || range as ingest_id, 'hub' as source, 'completed' as status,
    timestamp '2026-11-01' as started_at, 1 as n_seen, 1 as n_new, 0 as n_changed, 0 as n_gone,
    '[]' as problems, '[]' as raw_sha256, timestamp '2026-11-01' as watermark from range(2);
insert into aliases select 'hub', 'name ' || range, 'acme/' || range, 'person', timestamp '2026-11-01'
    from range({N_ALIASES});
insert into model_snapshots by name select 'i1' as ingest_id, 'hub' as source,
    timestamp '2026-11-01' as seen_at, 'model ' || range as name, md5(range::text) as key,
    md5(range::text) as fingerprint, false as is_gone, 'open' as access, 'chat' as kind, false as is_packed,
    false as needs_remote_code, false as is_disabled, [md5(range::text)] as base_models
    from range({N_MODELS});
insert into jobs by name select 'acme/' || range as model_id, 'quick' as suite, 1 as suite_version,
    'chat' as kind, 'queued' as status, 1.0 as priority, '[]' as reasons, 0 as attempts,
    timestamp '2026-11-01' as added_at, timestamp '2026-11-01' as updated_at from range({N_JOBS});
"""
COUNTS = (
    "select (select count(*) from runs), (select count(*) from task_scores), (select count(*) from aliases),"
    " (select count(*) from model_snapshots), (select count(*) from ingests), (select count(*) from jobs)"
)
WHOLE = (N_RUNS, N_RUNS * len(TASKS), N_ALIASES, N_MODELS, 2, N_JOBS)
MEASURED, INGESTS = WHOLE[:2], WHOLE[2:]


@pytest.fixture(scope="module")
def whole_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with runs and ingested rows, published twice."""
    settings = Settings(home=tmp_path_factory.mktemp("whole") / "home")
    store_study(settings, study(1))
    store_suite_run(settings, suite_run(1, "bait", "peek"))
    store_runs(settings, run(1))
    with duckdb.connect(settings.db_path) as connection:
        connection.execute(INGESTED)
    publish(settings)
    store_runs(settings, run(2, of=model("acme/other-1b")))
    return settings.home


@pytest.fixture
def filled(whole_home: Path, home: Path) -> Settings:
    shutil.copytree(whole_home, home)
    return Settings(home=home)


def counts(settings: Settings) -> tuple[int, ...]:
    with open_snapshot(settings) as snapshot:
        return tuple(snapshot.select(COUNTS).rows[0])


def newest(settings: Settings) -> Path:
    return settings.snapshots_path / f"{snapshot_id(settings)}.duckdb"


def flip(path: Path, at: int, n_bytes: int = FLIPPED_BYTES) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + n_bytes] = bytes(byte ^ 0xFF for byte in content[at : at + n_bytes])
    path.write_bytes(content)


def damage_table(path: Path, table: str) -> None:
    """Damage the block that this table is in, and leave the file so that it opens."""
    whole = path.read_bytes()
    for at in range(3 * 4096 + 100, len(whole), 256 * 1024):
        flip(path, at)
        try:
            with duckdb.connect(path, read_only=True) as connection:
                connection.sql("from migrations").to_arrow_table()
                try:
                    connection.sql(f"from {table}").to_arrow_table()
                except duckdb.Error:
                    return
        except duckdb.Error:
            pass
        path.write_bytes(whole)
    raise AssertionError(f"no block of `{table}` alone")


def of_newer_schema(path: Path) -> None:
    with duckdb.connect(path) as connection:
        connection.execute("insert into migrations values (9999, 'of_tomorrow', now())")


def date_ahead(settings: Settings) -> None:
    """Three snapshots of an older version whose clock was two days ahead, the newest with all rows."""
    content = newest(settings).read_bytes()
    for path in snapshot_paths(settings.snapshots_path):
        path.unlink()
    for second in range(3):
        name = f"20991128T15581391201{second}-0563bd"
        (settings.snapshots_path / f"{name}.duckdb").write_bytes(content)
    (settings.snapshots_path / POINTER).write_text(name)


def leave_junk(settings: Settings) -> None:
    """Lock files that nobody can read, and the temporary files of killed writes."""
    settings.locks_path.mkdir(exist_ok=True)
    for number, content in enumerate(
        (b"", b"\xff\xfe", b"[]", b'{"parent": 1e999, "runs": ["../../x\\u0000"]}')
    ):
        (settings.locks_path / f"worker-{number}.json").write_bytes(content)
        (settings.locks_path / f"study-{number}.json").write_bytes(content)
    settings.db_path.with_name("tracker.duckdb.pid").write_bytes(b"\xff")
    for place in (
        settings.locks_path / ".worker-20261128.json.0a1b2c3d",
        settings.home / ".tracker.duckdb.0a1b2c3d.tmp",
        settings.home / ".tracker.duckdb.0a1b2c3d.tmp.wal",
        settings.snapshots_path / ".s00000009-0a1b2c.unread",
        settings.items_path / run(1).run_id / "x.tmp",
        settings.items_path / run(1).run_id / ".run.json.0a1b2c3d",
    ):
        place.write_bytes(b"half")
    for name, files in (("20261126-000000-aaaaaa", ()), ("20261126-000001-aaaaaa", (".run.json.0a1b2c3d",))):
        (settings.items_path / name).mkdir()
        for file in files:
            (settings.items_path / name / file).write_bytes(b"half")


def first_run_file(settings: Settings) -> Path:
    return settings.items_path / run(1).run_id / "run.json"


def lose_home(settings: Settings) -> None:
    """What a copy of the folders of runs alone is."""
    settings.db_path.unlink()
    shutil.rmtree(settings.snapshots_path)


@dataclass(frozen=True)
class Event:
    """A fault, and what is told and there afterwards."""

    do: Callable[[Settings], object]
    read: tuple[int, ...] = WHOLE  # what readers count
    told: str = ""  # a part of a reader's warning
    write: str = ""  # a part of the error of a publication
    warned: str = ""  # a part of its warning
    repaired: tuple[int, ...] | str = WHOLE  # what is there after a repair, or a part of its error
    n_items: int = N_ITEMS
    remains: frozenset[str] = frozenset()  # kinds of problems that a repair cannot mend


STALE = (1, len(TASKS), *INGESTS)  # the snapshot before the newest
EVENTS = {
    "database deleted": Event(lambda s: s.db_path.unlink(), warned="is missing; it was rebuilt"),
    "database emptied": Event(lambda s: s.db_path.write_bytes(b""), warned="is empty; it was rebuilt"),
    "database truncated": Event(
        lambda s: os.truncate(s.db_path, s.db_path.stat().st_size // 2),
        write="is damaged and is not published|Could not read enough bytes",
    ),
    "database header": Event(lambda s: flip(s.db_path, 0, 3 * 4096), write="cannot read"),
    "database of zeros": Event(lambda s: s.db_path.write_bytes(bytes(50_000)), write="cannot read"),
    "database of text": Event(lambda s: s.db_path.write_text("no database " * 999), write="cannot read"),
    "log of junk": Event(lambda s: Path(f"{s.db_path}.wal").write_bytes(b"junk" * 99)),
    "jobs damaged": Event(lambda s: damage_table(s.db_path, "jobs"), write="cannot read"),
    "aliases damaged": Event(lambda s: damage_table(s.db_path, "aliases"), write="cannot read `aliases`"),
    "models damaged": Event(lambda s: damage_table(s.db_path, "model_snapshots"), write="`model_snapshots`"),
    "newer schema": Event(
        lambda s: of_newer_schema(s.db_path), write="newer version", repaired="newer version"
    ),
    "pointer deleted": Event(lambda s: (s.snapshots_path / POINTER).unlink(), told="is missing; reading"),
    "pointer emptied": Event(lambda s: (s.snapshots_path / POINTER).write_bytes(b""), told="is empty"),
    "pointer of junk": Event(
        lambda s: (s.snapshots_path / POINTER).write_bytes(b"\xff/../"), told="is damaged"
    ),
    "pointer to nothing": Event(
        lambda s: (s.snapshots_path / POINTER).write_text("s00000007-0a1b2c"),
        told="which is missing; reading",
    ),
    "snapshot truncated": Event(
        lambda s: os.truncate(newest(s), 5000), read=STALE, told="reading the one before it, of 20"
    ),
    "snapshot emptied": Event(lambda s: newest(s).write_bytes(b""), read=STALE, told="the one before it"),
    "snapshot damaged": Event(lambda s: damage_table(newest(s), "aliases")),
    "snapshots ahead": Event(date_ahead),
    "run file truncated": Event(lambda s: os.truncate(first_run_file(s), 200)),
    "run file emptied": Event(lambda s: first_run_file(s).write_bytes(b"")),
    "run file deleted": Event(lambda s: first_run_file(s).unlink()),
    "part damaged": Event(
        lambda s: flip(parts_of(s)[0], 300, 20), n_items=N_ITEMS - 10, remains=frozenset({"missing_items"})
    ),
    "junk": Event(leave_junk),
    "items moved": Event(
        lambda s: s.items_path.rename(s.home / "elsewhere"), n_items=0, remains=frozenset({"missing_folder"})
    ),
    "home moved": Event(
        lose_home,
        read=(*MEASURED, 0, 0, 0, 0),
        told="has folders of runs or studies, but no database",
        warned="has folders of runs or studies, but no database",
        repaired=(*MEASURED, 0, 0, 0, 0),
    ),
}


def n_items(settings: Settings) -> int:
    with open_snapshot(settings) as snapshot:
        return int(snapshot.select("select count(*) from items").rows[0][0])


def said(*argv: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a command, and all that it printed; a traceback would end the test."""
    code = 0
    capsys.readouterr()
    try:
        main(argv)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, "".join(capsys.readouterr())


QUICK = (  # all of them by all commands, and more places of flips, with TRACKER_TEST_FLIPS=10 or more
    "database deleted", "aliases damaged", "newer schema", "run file emptied", "items moved",
)  # fmt: skip
CHOSEN = QUICK if FLIPS < 10 else tuple(EVENTS)
READ = (
    *QUICK, "pointer deleted", "pointer emptied", "pointer to nothing", "snapshot truncated",
    "snapshots ahead", "junk", "home moved",
) if FLIPS < 10 else tuple(EVENTS)  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_store_faults_readers_answer_rightly_or_in_a_sentence(
    filled: Settings, name: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    event = EVENTS[name]
    event.do(filled)
    assert counts(filled) == event.read
    assert event.told in caplog.text
    if name in CHOSEN:
        code, text = said("query", COUNTS, "--csv", capsys=capsys)
        assert (code, ",".join(map(str, event.read)) in text) == (0, True), text
        code, text = said("models", capsys=capsys)
        assert (code, "acme/atlas-8b" in text) == (0, True)
        code, text = said("show", "acme/atlas-8b", capsys=capsys)
        assert (code, "count_letters" in text) == (0, True)


def test_store_faults_a_damaged_table_of_a_snapshot_is_a_sentence_with_a_remedy(filled: Settings) -> None:
    damage_table(newest(filled), "aliases")
    with open_snapshot(filled) as snapshot, pytest.raises(StoreError, match="checksum") as caught:
        snapshot.select("select * from aliases")
    assert "tracker store repair" in caught.value.hint


def bench(settings: Settings) -> None:
    """What a bench does with the home, around a run that is measured elsewhere."""
    forget_job(settings, reap_orphans(settings))
    clean_up(settings, holding=("bench",))
    store_runs(settings, run(3, of=model("acme/third-1b")))


@pytest.mark.parametrize("name", CHOSEN)
def test_store_faults_a_writer_restores_what_was_lost_or_stops_with_a_sentence(
    filled: Settings, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    event = EVENTS[name]
    event.do(filled)
    if event.write:
        with pytest.raises(StoreError, match=event.write) as caught:
            bench(filled)
        assert "tracker store repair" in caught.value.hint or "upgrade" in caught.value.hint
        assert counts(filled) == event.read
        return
    bench(filled)
    assert event.warned in caplog.text
    before = event.repaired
    assert isinstance(before, tuple)
    assert counts(filled) == (before[0] + 1, before[1] + len(TASKS), *before[2:])


@pytest.mark.parametrize("name", CHOSEN)
def test_store_faults_a_rebuild_loses_nothing_that_is_there_and_says_what_is_not(
    filled: Settings, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    event = EVENTS[name]
    event.do(filled)
    code, text = said("store", "rebuild", capsys=capsys)
    if isinstance(event.repaired, str):
        assert (code, event.repaired in text) == (1, True), text
        return
    assert code == 0, text
    gone = name == "items moved"
    assert counts(filled) == ((0, 0, *INGESTS) if gone else event.repaired)
    assert ("has no files any more and was removed" in text) == gone
    if gone:  # nothing is lost for good: with the folders back, all is there again
        (filled.home / "elsewhere").rename(filled.items_path)
        rebuild(filled)
        publish(filled)
        assert counts(filled) == WHOLE


@pytest.mark.parametrize("name", CHOSEN)
def test_store_faults_a_repair_restores_what_the_home_still_has(
    filled: Settings, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    event = EVENTS[name]
    event.do(filled)
    found = check(filled)
    assert bool(found) == (name not in {"snapshots ahead", "log of junk"})
    assert not any("delete it" in problem.hint for problem in found)
    if isinstance(event.repaired, str):
        code, text = said("store", "repair", capsys=capsys)
        assert (code, event.repaired in text, "upgrade" in text) == (1, True, True), text
        return
    repaired = repair(filled)
    assert {problem.kind for problem in repaired.problems} == event.remains
    assert counts(filled) == event.repaired
    assert n_items(filled) == event.n_items
    assert all(Path(path).exists() for path in repaired.aside)
    code, text = said("store", "repair", capsys=capsys)
    assert code == (1 if event.remains else 0)
    assert ("nothing to repair" in text) == (not event.remains)
    publish(filled)
    assert counts(filled) == event.repaired


KINDS_OF_FILES: dict[str, Callable[[Settings], Path]] = {
    "database": lambda s: s.db_path,
    "newest snapshot": newest,
    "older snapshot": lambda s: snapshot_paths(s.snapshots_path)[0],
    "pointer": lambda s: s.snapshots_path / POINTER,
    "run file": first_run_file,
    "part": lambda s: parts_of(s)[0],
    "study file": lambda s: next(s.studies_path.glob("*/study.json")),
    "trial": lambda s: next(s.studies_path.glob("*/trials/00000.json")),
    "attacks file": lambda s: next(s.attacks_path.glob("*.json")),
}


def contents(settings: Settings) -> dict[str, list[tuple[object, ...]]]:
    """Every row that the event table counts, and those of studies and attacks, read in full."""
    tables = (
        "runs", "task_scores", "aliases", "model_snapshots", "ingests", "jobs", "studies", "trials",
        "proposals", "trainings", "attacks",
    )  # fmt: skip
    with open_snapshot(settings) as snapshot:
        return {name: snapshot.select(f"select * from {name} order by all").rows for name in tables}


@pytest.fixture(scope="module")
def truth(whole_home: Path) -> dict[str, list[tuple[object, ...]]]:
    return contents(Settings(home=whole_home))


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", KINDS_OF_FILES)
def test_store_faults_flipped_bytes_never_lose_a_row_silently(
    whole_home: Path, home: Path, truth: dict[str, list[tuple[object, ...]]], kind: str
) -> None:
    dice = random.Random(kind)
    settings = Settings(home=home)
    for number in range(FLIPS):
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(whole_home, home)
        path = KINDS_OF_FILES[kind](settings)
        at, n_bytes = dice.randrange(path.stat().st_size), dice.choice((1, 8, FLIPPED_BYTES))
        flip(path, at, n_bytes)
        where = f"{kind}, flip {number}: {n_bytes} bytes at {at}"
        with suppress(StoreError):  # a sentence
            assert contents(settings)["runs"] in (truth["runs"], truth["runs"][:1]), where
        repaired = repair(settings)
        now = contents(settings)
        assert [table for table, rows in truth.items() if now[table] != rows] == [], (where, repaired)
        is_whole = n_items(settings) == N_ITEMS
        kinds = {problem.kind for problem in repaired.problems}
        assert kinds == (set() if is_whole else {"missing_items"}), (where, repaired)


def test_store_faults_a_database_that_was_replaced_by_an_empty_one_gets_its_rows_back(
    filled: Settings,
) -> None:
    filled.db_path.unlink()
    with new_database(filled.db_path):  # as versions before did, silently
        pass
    publish(filled)
    assert counts(filled) == (0,) * len(WHOLE)
    rebuilt = rebuild(filled)
    publish(filled)
    assert counts(filled) == WHOLE
    assert any(f"{N_ALIASES:,} rows from the snapshot" in sentence for sentence in rebuilt.restored)


def test_store_faults_rows_that_are_nowhere_are_counted_and_asked_for_again(filled: Settings) -> None:
    shutil.rmtree(filled.snapshots_path)
    damage_table(filled.db_path, "model_snapshots")
    repaired = repair(filled)
    assert repaired.problems == ()
    (lost,) = (sentence for sentence in repaired.missing if "`model_snapshots`" in sentence)
    assert f"of its {N_MODELS:,} rows could not be restored" in lost
    with open_snapshot(filled) as snapshot:
        assert snapshot.select("select count(watermark) from ingests").rows == [(0,)]
        (there,) = snapshot.select("select count(*), count(distinct key) from model_snapshots").rows
    n_lost = int(lost.split(": ")[1].split(" of its")[0].replace(",", ""))
    assert there == (N_MODELS - n_lost, N_MODELS - n_lost)
    assert any("asks every source for everything again" in sentence for sentence in repaired.missing)
    assert counts(filled)[:3] == WHOLE[:3]


def test_store_faults_a_run_that_only_its_items_know_is_restored_from_the_run_that_reused_them(
    settings: Settings,
) -> None:
    store_runs(settings, run(2))
    shutil.copytree(settings.items_path / run(2).run_id, settings.items_path / run(1).run_id)
    first_run_file(settings).write_bytes(b"{")
    assert {problem.kind for problem in check(settings)} == {"broken_run_file"}
    repaired = repair(settings)
    assert (repaired.problems, repaired.missing) == ((), [])
    restored = read_run(first_run_file(settings).parent)
    assert (restored.status, restored.n_items, restored.scores) == ("interrupted", 10 * len(TASKS), ())
    assert restored.model == run(2).model
    assert n_items(settings) == 10 * len(TASKS)


def test_store_faults_a_score_whose_answers_are_nowhere_is_named(settings: Settings) -> None:
    store_runs(settings, run(1))
    shutil.copytree(settings.items_path / run(1).run_id, settings.home / "copy")
    write_run(settings.items_path, run(2, n_reused_items=30))  # reuses the items of the first
    rebuild(settings)
    publish(settings)
    assert check(settings) == []
    shutil.rmtree(settings.items_path / run(1).run_id)
    rebuild(settings)
    publish(settings)
    problems = check(settings)
    assert [problem.kind for problem in problems] == ["missing_items"] * len(TASKS)
    assert f"run `{run(2).run_id}` has a score" in problems[0].message
    assert "10 items, of which 0 are stored" in problems[0].message
    shutil.move(settings.home / "copy", settings.items_path / run(1).run_id)
    repair(settings)
    assert check(settings) == []


def test_store_faults_the_order_of_snapshots_is_no_matter_of_clocks(filled: Settings) -> None:
    date_ahead(filled)
    names = []
    for back in (0, 10**6, 2 * 10**6):  # each published at an earlier time than the one before it
        names.append(publish(filled))
        os.utime(newest(filled), (10**9 - back, 10**9 - back))
        assert snapshot_id(filled) == names[-1]
    assert [path.stem for path in snapshot_paths(filled.snapshots_path)] == names
    (filled.snapshots_path / POINTER).unlink()
    assert snapshot_id(filled) == names[-1]
    assert counts(filled) == WHOLE


def test_store_faults_readers_are_told_that_the_database_was_not_published(
    filled: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    before = {path: path.read_bytes() for path in snapshot_paths(filled.snapshots_path)}
    damage_table(filled.db_path, "aliases")
    for _ in range(4):
        with pytest.raises(StoreError, match="is not published"):
            publish(filled)
    assert {path: path.read_bytes() for path in snapshot_paths(filled.snapshots_path)} == before
    caplog.clear()
    assert counts(filled) == WHOLE
    assert "is damaged and is not published" in caplog.text
    assert "tracker store repair" in caplog.text
    repair(filled)
    caplog.clear()
    assert counts(filled) == WHOLE
    assert caplog.text == ""


def test_store_faults_a_repair_answers_in_json(filled: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    (filled.snapshots_path / POINTER).unlink()
    code, text = said("store", "repair", "--json", capsys=capsys)
    document = json.loads(text)
    assert (code, document["ok"], document["problems"]) == (0, True, [])
    assert document["snapshot"] == snapshot_id(filled)
    filled.items_path.rename(filled.home / "elsewhere")
    code, text = said("store", "repair", "--json", capsys=capsys)
    document = json.loads(text)
    assert (code, document["ok"]) == (1, False)
    assert {problem["kind"] for problem in document["problems"]} == {"missing_folder"}


def test_store_faults_a_bench_removes_junk_and_leftovers(filled: Settings) -> None:
    leave_junk(filled)
    (filled.locks_path / "worker-folder.json").mkdir()
    assert {problem.kind for problem in check(filled)} == {"leftover", "broken_lock"}
    assert reap_orphans(filled) == reap_studies(filled) == []
    clean_up(filled, holding=("bench",))
    assert [problem.message for problem in check(filled) if "worker-folder" not in problem.message] == []
    assert repair(filled).problems == ()


def test_store_faults_what_a_living_process_is_writing_is_no_leftover(filled: Settings) -> None:
    with bench_lock(filled, what="acme/atlas-8b"):
        unfinished = filled.locks_path / ".worker-20261128.json.0a1b2c3d"
        unfinished.write_bytes(b"half")
        beginning = filled.items_path / "20991128-000000-abcdef"
        beginning.mkdir()
        (beginning / ".run.json.0a1b2c3d").write_bytes(b"half")
        job = filled.home / "jobs" / beginning.name / ".job.json.0a1b2c3d"
        job.parent.mkdir(parents=True)
        job.write_bytes(b"half")
        assert check(filled) == []
        publish(filled)
        assert unfinished.exists()
        assert beginning.exists()
        assert job.exists()
    assert {problem.kind for problem in check(filled)} == {"leftover"}
    publish(filled)
    assert not unfinished.exists()
    clean_up(filled, holding=())
    assert not job.exists()
    assert check(filled) == []
