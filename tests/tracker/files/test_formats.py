"""Formats on disk: what every version wrote opens in every reader, and what a newer one wrote is refused."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runners.executors.jobs import run_job
from runners.harness.events import Event, read_job, write_job
from tests.builders.some_runs import items, model, parts_of, run, store_runs
from tests.builders.some_studies import store_study, store_suite_run, study, suite_run
from tests.conftest import ROOT
from tests.runners.harness.test_worker import job
from tracker.cli import main
from tracker.errors import NewerFormatError, TrackerError
from tracker.files.items import RUN_FILE, read_items, read_run, run_folders, stored_parts, write_part
from tracker.files.parts import PART_FORMAT, PART_GLOB, part_fingerprint, part_name, part_number
from tracker.files.studies import Ledger, read_suite_run, study_folders, suite_run_paths
from tracker.records import Model
from tracker.serialization import VERSION_KEY, DiskFormat, dump_versioned, load_versioned
from tracker.settings import Settings
from tracker.store import open_snapshot, publish
from tracker.store.checks import check
from tracker.store.reconstruction import rebuild

SAMPLES = ROOT / "tests" / "data" / "homes"
NEWER = str(PART_FORMAT.version + 1)


def sample_homes() -> list[str]:
    """The homes that older versions left."""
    return sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())


@pytest.fixture
def old_home(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """A copy of such a home; it has no database, which is made from it."""
    shutil.copytree(SAMPLES / request.param, settings.home)
    return settings


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table], *, named: bool = False) -> Path:
    """The part as another version would have written it; `named`: one that puts a checksum into the name."""
    with pq.ParquetFile(path) as file:
        table = file.read()
    content = io.BytesIO()
    pq.write_table(change(table), content, compression="zstd", write_page_checksum=True)
    path.unlink()
    fingerprint, number = part_fingerprint(path), part_number(path)
    name = (
        part_name(fingerprint, number, content.getvalue()) if named else f"{fingerprint}-{number:06d}.parquet"
    )
    path.with_name(name).write_bytes(content.getvalue())
    return path.with_name(name)


def without(*names: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.drop_columns(list(names)).replace_schema_metadata(None)


def in_version(number: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.replace_schema_metadata({VERSION_KEY: number})


def answer(sql: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The rows that `tracker query` prints."""
    main(["query", sql, "--csv"])
    return capsys.readouterr().out.splitlines()[1:]


@pytest.mark.parametrize("old_home", sample_homes(), indirect=True)
def test_formats_an_old_home_opens_in_every_reader(
    old_home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [read_run(folder) for folder in run_folders(old_home.items_path)]
    n_items = sum(run.n_items for run in runs)
    keys = sorted({score.fingerprint for run in runs for score in run.scores})
    assert sum(len(read_items(stored_parts(old_home.items_path, key))) for key in keys) == n_items > 0
    rebuilt = rebuild(old_home)
    assert (rebuilt.n_runs, rebuilt.skipped) == (len(runs), ())
    assert rebuilt.n_studies == len(study_folders(old_home.studies_path))
    publish(old_home)
    assert check(old_home) == []
    assert answer("select count(*), count(cluster) from items", capsys) == [f"{n_items},0"]
    with open_snapshot(old_home) as snapshot:
        for run in runs:
            assert len(snapshot.query("items_page", run_id=run.run_id)) == run.n_items
        for folder in study_folders(old_home.studies_path):
            n_trials = len(Ledger(folder).trials())
            assert len(snapshot.query("trials", study_id=folder.name)) == n_trials > 0
    for path in suite_run_paths(old_home.attacks_path):
        assert read_suite_run(path).attacks


@pytest.mark.parametrize("old_home", sample_homes(), indirect=True)
def test_formats_an_old_job_file_is_read(old_home: Settings) -> None:
    for path in old_home.home.glob("jobs/*/job.json"):
        assert read_job(path).runs[0].run_id == path.parent.name


@pytest.mark.parametrize("place", ["first", "last"])
def test_formats_a_part_without_a_column_gives_null_in_any_order(
    settings: Settings, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    store_runs(settings, run(1), run(2, of=model("acme/other")))
    expected = answer("select * from items order by all", capsys)
    parts = parts_of(settings)
    rewrite(parts[0 if place == "first" else -1], without("cluster", "thinking", "ttft_s", "latency_s"))
    assert answer("select * from items order by all", capsys) == expected
    assert answer("select count(*), count(cluster) from items", capsys) == ["60,0"]
    assert check(settings) == []


def test_formats_a_part_with_other_order_types_and_unknown_columns_reads_the_same(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    store_runs(settings, run(1))
    expected = answer("select * from items order by all", capsys)
    part = parts_of(settings)[0]
    whole = read_items([part])

    def otherwise(table: pa.Table) -> pa.Table:
        narrow = table.column("prompt_tokens").cast(pa.int32())
        table = table.set_column(table.column_names.index("prompt_tokens"), "prompt_tokens", narrow)
        table = table.append_column("of_tomorrow", pa.array(["?"] * len(table)))
        return table.select(list(reversed(table.column_names)))

    part = rewrite(part, otherwise)
    assert answer("select * from items order by all", capsys) == expected
    assert (read_items([part]), check(settings)) == (whole, [])


def test_formats_a_column_with_a_default_that_an_older_part_lacks_has_the_default(settings: Settings) -> None:
    part = write_part(settings.items_path, "run", "f" * 32, items("t", 3))
    part = rewrite(part, without("cached_tokens", "cluster"))
    assert list(read_items([part]).values()) == items("t", 3)


def test_formats_a_part_without_a_column_of_every_version_is_broken(settings: Settings) -> None:
    store_runs(settings, run(1))
    rewrite(parts_of(settings)[0], without("doc_id"))
    (problem,) = check(settings)
    assert problem.kind == "corrupt_part"
    assert "no column `doc_id`" in problem.message


def test_formats_bench_reuses_the_items_of_an_older_part(settings: Settings, model_folder: Path) -> None:
    first = run_job(job(settings, model_folder, limit=20), settings, _ignore)
    for part in parts_of(settings):
        rewrite(part, without("cluster"))
    again = run_job(job(settings, model_folder, run_id="run-2", limit=20), settings, _ignore)
    assert (again.runs[0].n_reused_items, again.runs[0].warnings) == (20, ())
    assert again.runs[0].scores[0].value == first.runs[0].scores[0].value


def _ignore(_: Event) -> None:
    """Nobody listens."""


@pytest.mark.parametrize("damage", ["corrupt_part", "no_run_file", "broken_run_file", "broken_study_file"])
def test_formats_store_check_never_advises_to_delete_what_a_version_wrote(
    settings: Settings, damage: str
) -> None:
    store_runs(settings, run(1))
    of = store_study(settings, study(1))
    folder = settings.items_path / run(1).run_id
    if damage == "corrupt_part":
        parts_of(settings)[0].write_bytes(parts_of(settings)[0].read_bytes()[:-9])
    elif damage == "no_run_file":
        (folder / RUN_FILE).unlink()
    elif damage == "broken_run_file":
        (folder / RUN_FILE).write_bytes(b'{"run_id": "of a version without most keys"}')
    else:
        (settings.studies_path / of.study_id / "study.json").write_bytes(b"{}")
    problems = check(settings)
    assert damage in {problem.kind for problem in problems}
    assert not [problem for problem in problems if "delete" in problem.hint or "remove" in problem.hint]


# --- what newer versions wrote


def test_formats_a_part_of_a_newer_version_is_refused_by_every_reader(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    store_runs(settings, run(1), run(2))
    part = parts_of(settings)[-1]
    part = rewrite(part, in_version(NEWER), named=True)
    before = part.read_bytes()
    with pytest.raises(NewerFormatError, match="format 2 is too new; this version") as caught:
        read_items([part])
    assert "upgrade tracker" in caught.value.hint
    with open_snapshot(settings) as snapshot, pytest.raises(NewerFormatError):
        snapshot.query("items_page", run_id=run(2).run_id)
    with pytest.raises(SystemExit) as ended:
        main(["query", "select count(*) from items"])
    assert ended.value.code == 1
    assert f"{part}: format 2 is too new" in capsys.readouterr().err
    assert [problem.kind for problem in check(settings)] == ["newer_format"]
    assert part.read_bytes() == before


def test_formats_a_run_of_a_newer_version_is_refused_and_the_database_stays(settings: Settings) -> None:
    store_runs(settings, run(1), run(2))
    _set_version(settings.items_path / run(2).run_id / RUN_FILE)
    with pytest.raises(NewerFormatError, match="format 2 is too new"):
        read_run(settings.items_path / run(2).run_id)
    before = settings.db_path.read_bytes()
    with pytest.raises(NewerFormatError):
        rebuild(settings)
    assert settings.db_path.read_bytes() == before
    assert {problem.kind for problem in check(settings)} == {"newer_format"}


def test_formats_studies_attacks_and_jobs_of_a_newer_version_are_refused(
    settings: Settings, model_folder: Path
) -> None:
    of = store_study(settings, study(1))
    folder = settings.studies_path / of.study_id
    for path in (folder / "study.json", next(folder.glob("trials/*.json"))):
        before = path.read_bytes()
        _set_version(path)
        with pytest.raises(NewerFormatError):
            rebuild(settings)
        assert "newer_format" in {problem.kind for problem in check(settings)}
        path.write_bytes(before)
    attacks = store_suite_run(settings, suite_run(1, "fork_bomb"))
    path = settings.attacks_path / f"{attacks.suite_run_id}.json"
    _set_version(path)
    with pytest.raises(NewerFormatError):
        rebuild(settings)
    path = settings.home / "job.json"
    write_job(path, job(settings, model_folder))
    _set_version(path)
    with pytest.raises(NewerFormatError):
        read_job(path)


def _set_version(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {VERSION_KEY: int(NEWER), "of_tomorrow": 1}))


def test_formats_everything_on_disk_carries_its_version(settings: Settings, model_folder: Path) -> None:
    run_job(job(settings, model_folder, limit=3), settings, _ignore)
    store_study(settings, study(1))
    store_suite_run(settings, suite_run(1, "fork_bomb"))
    documents = [
        path
        for folder in ("items", "studies", "attacks", "jobs")
        for path in (settings.home / folder).rglob("*.json")
    ]
    kinds = {path.relative_to(settings.home).parts[0] for path in documents}
    assert kinds == {"items", "studies", "attacks", "jobs"}
    assert [path for path in documents if json.loads(path.read_bytes()).get(VERSION_KEY) != 1] == []
    for part in settings.items_path.glob(f"*/{PART_GLOB}"):
        assert pq.read_metadata(part).metadata[VERSION_KEY.encode()] == b"1"


@pytest.mark.parametrize("value", [0, -1, "two", None, 1.5])
def test_formats_what_is_no_version_is_named(value: object) -> None:
    raw = json.dumps({VERSION_KEY: value, "model_id": "a/b", "revision": "c"}).encode()
    with pytest.raises(TrackerError, match=f"m.json: {VERSION_KEY}"):
        load_versioned(Model, raw, DiskFormat(), where="m.json")


def test_formats_an_older_version_is_read_by_way_of_its_upgrades() -> None:
    def rename(raw: dict[str, Any]) -> dict[str, Any]:
        return {"revision" if key == "commit" else key: value for key, value in raw.items()}

    def add(raw: dict[str, Any]) -> dict[str, Any]:
        return raw | {"license": raw["revision"] + " was read before"}

    third = DiskFormat(upgrades=(rename, add))
    oldest = b'{"model_id": "a/b", "commit": "c"}'
    assert load_versioned(Model, oldest, third, where="m") == Model("a/b", "c", license="c was read before")
    second = b'{"format_version": 2, "model_id": "a/b", "revision": "c"}'
    assert load_versioned(Model, second, third, where="m") == Model("a/b", "c", license="c was read before")
    newest = dump_versioned(Model("a/b", "c"), third)
    assert json.loads(newest)[VERSION_KEY] == 3
    assert load_versioned(Model, newest, third, where="m") == Model("a/b", "c")


# --- a database of which nothing is published yet


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.parent.glob("store_*.duckdb")))
def test_formats_a_database_without_a_snapshot_is_published_by_whoever_reads_first(
    settings: Settings, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    settings.home.mkdir(parents=True)
    shutil.copy(SAMPLES.parent / name, settings.db_path)
    with duckdb.connect(str(SAMPLES.parent / name), read_only=True) as sample:
        ((n_runs,),) = sample.execute("select count(*) from runs").fetchall()
    assert n_runs >= 3
    assert answer("select count(*) from runs", capsys) == [str(n_runs)]
    main(["models"])
    assert "no model has been measured" not in "".join(capsys.readouterr())


def test_formats_a_check_of_a_database_without_a_snapshot_says_so_and_publishes_nothing(
    settings: Settings,
) -> None:
    store_runs(settings, run(1))
    shutil.rmtree(settings.snapshots_path)
    assert [problem.kind for problem in check(settings)] == ["unpublished"]
    assert not settings.snapshots_path.exists()
