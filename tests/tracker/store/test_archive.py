"""A home in one file: everything answers the same elsewhere, and a hostile file imports nothing."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tests.builders.some_runs import model, run, store_runs
from tests.conftest import ROOT
from tracker.cli import main
from tracker.errors import NewerFormatError, StoreError
from tracker.records import RunStatus
from tracker.settings import Settings
from tracker.store import Alias, Store, check, open_snapshot, publish
from tracker.store.archive import export_home, import_home

HEADERS_BYTES, BLOCK_BYTES = 3 * 4096, 256 * 1024  # of a database file of DuckDB
HOMES = ROOT / "tests" / "data" / "homes"


@pytest.fixture
def full(settings: Settings) -> Settings:
    """A home with runs, a study, an attack, ingested rows, raw answers, a suite and a digest."""
    shutil.copytree(HOMES / "2026-11-28", settings.home)
    from tracker.store import rebuild

    rebuild(settings)
    store_runs(settings, run(1), run(2, of=model("acme/other-1b")))
    with Store.open(settings) as store:
        store.add_aliases([Alias("epoch", "Atlas", "acme/atlas-8b", "person")])
    for name in ("raw/epoch/log.jsonl", "raw/epoch/00.zst", "suites/own.toml", "digests/2026-11-24.md"):
        path = settings.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# content of {name}\n")
    (settings.home / "locks").mkdir(exist_ok=True)
    (settings.home / "items" / ".half").write_text("")
    publish(settings)
    return settings


def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"home": tmp_path / "another machine" / "its home"})


def tables(settings: Settings) -> dict[str, list[str]]:
    with open_snapshot(settings) as snapshot:
        names = [row[0] for row in snapshot.select("show tables").rows]
        kept = [name for name in names if name not in ("store_state", "migrations")]
        return {name: sorted(map(repr, snapshot.select(f'from "{name}"').rows)) for name in [*kept, "items"]}


COMMANDS = (
    ["models", "--json"],
    ["show", "acme/other-1b", "--json"],
    ["query", "select * from published_scores", "--json"],
    ["index", "vintages", "--json"],
    ["research", "board", "--json"],
)


def said(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """What the commands print about this home."""
    monkeypatch.setenv("TRACKER_HOME", str(settings.home))
    capsys.readouterr()
    found = []
    for command in COMMANDS:
        main(command)
        found.append(capsys.readouterr().out)
    return found


def test_export_and_import_answer_the_same_under_another_path(
    full: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, before_said = tables(full), said(full, capsys, monkeypatch)
    assert all(before[name] for name in ("runs", "task_scores", "studies", "trials", "items", "aliases"))
    done = export_home(full, tmp_path / "home.tar.zst")
    assert done.left_out == ()
    assert done.archive_bytes < done.n_bytes
    there = elsewhere(full, tmp_path)
    imported = import_home(there, tmp_path / "home.tar.zst")
    assert (imported.n_files, imported.rebuilt.skipped) == (done.n_files, ())
    shutil.rmtree(full.home)
    assert tables(there) == before
    assert said(there, capsys, monkeypatch) == before_said
    assert check(there) == []
    assert (there.home / "raw/epoch/00.zst").read_text() == "# content of raw/epoch/00.zst\n"
    assert (there.home / "suites/own.toml").exists()
    assert not (there.items_path / ".half").exists()
    left = [path for path in tmp_path.rglob("*") if "import-" in path.name or path.name.endswith(".tmp")]
    assert left == []


def test_a_moved_home_answers_the_same(full: Settings, tmp_path: Path) -> None:
    before = tables(full)
    there = elsewhere(full, tmp_path)
    there.home.parent.mkdir()
    full.home.rename(there.home)
    assert tables(there) == before
    (there.items_path / ".half").unlink()
    assert check(there) == []


def test_export_contains_no_path_of_the_home(full: Settings, tmp_path: Path) -> None:
    export_home(full, tmp_path / "home.tar.zst")
    for name, content in unpacked(tmp_path / "home.tar.zst"):
        assert not name.startswith("/")
        assert str(full.home).encode() not in content, name


@pytest.mark.clock
def test_export_leaves_out_what_is_under_way_and_says_so(full: Settings, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    live = run(3, status=RunStatus.RUNNING, pid=os.getpid(), scores=(), started_at=now, ended_at=None)
    store_runs(full, live)
    dead = run(4, status=RunStatus.RUNNING, pid=2**22 + 1, scores=())
    store_runs(full, dead)
    done = export_home(full, tmp_path / "home.tar.zst")
    there = elsewhere(full, tmp_path)
    import_home(there, tmp_path / "home.tar.zst")
    with open_snapshot(there) as snapshot:
        statuses = {row["run_id"]: row["status"] for row in snapshot.query("runs")}
    assert statuses[dead.run_id] == "interrupted"
    assert live.run_id not in statuses
    (said,) = done.left_out
    assert said.endswith(f"{live.run_id}` is under way")


def test_export_and_import_on_the_command_line(
    full: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "home.tar.zst"
    main(["store", "export", str(file), "--json"])
    exported = json.loads(capsys.readouterr().out)
    assert exported["path"] == str(file)
    for command, says in (
        (["store", "export", str(file)], "already exists"),
        (["store", "export", str(tmp_path / "no" / "x")], "does not exist"),
        (["store", "import", str(file)], "is not empty"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 1
        assert says in capsys.readouterr().err
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path / "new"))
    with pytest.raises(SystemExit):
        main(["store", "export", str(tmp_path / "empty.tar.zst")])
    assert "holds nothing to export" in capsys.readouterr().err
    for name in ("locks/app.lock", "frontier/draws.npz", "tracker.duckdb.lock"):  # of commands that only read
        left = tmp_path / "new" / name
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"")
    main(["store", "import", str(file), "--json"])
    imported = json.loads(capsys.readouterr().out)
    assert (imported["n_files"], imported["rebuilt"]["n_runs"]) == (exported["n_files"], 3)
    with pytest.raises(SystemExit):
        main(["store", "import", str(tmp_path / "nothing")])
    assert "is not empty" in capsys.readouterr().err


def unpacked(file: Path) -> list[tuple[str, bytes]]:
    raw = pa.input_stream(str(file), compression="zstd").read()
    with tarfile.open(fileobj=io.BytesIO(raw)) as entries:
        return [(entry.name, entries.extractfile(entry).read()) for entry in entries]  # type: ignore[union-attr]


def packed(file: Path, entries: list[tuple[str | tarfile.TarInfo, bytes]]) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in entries:
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    with pa.output_stream(str(file), compression="zstd") as stream:
        stream.write(raw.getvalue())


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


def manifest(n_files: int, n_bytes: int, version: int = 1) -> bytes:
    stamp = {"format_version": version, "created_at": "2026-11-24T00:00:00Z"}
    return json.dumps(stamp | {"n_files": n_files, "n_bytes": n_bytes}).encode()


@pytest.mark.parametrize(
    ("entry", "content"),
    [
        ("../outside", b"x"),
        ("items/../../outside", b"x"),
        ("/items/outside", b"x"),
        ("items//run.json", b"x"),
        ("items/./run.json", b"x"),
        ("items/a\\..\\..\\outside", b"x"),
        ("snapshots/newest", b"x"),
        ("tracker.duckdb.wal", b"x"),
        ("locks/bench.lock", b"x"),
        ("items", b"x"),
        (special("items/link", tarfile.SYMTYPE, "/"), b""),
        (special("items/link", tarfile.LNKTYPE, "../../outside"), b""),
        (special("items/device", tarfile.CHRTYPE), b""),
        (special("items/pipe", tarfile.FIFOTYPE), b""),
        (special("items/folder", tarfile.DIRTYPE), b""),
        ("items/" + "n" * 70_000, b"x"),
    ],
)
def test_an_entry_that_is_no_file_of_a_home_imports_nothing(
    settings: Settings, tmp_path: Path, entry: str | tarfile.TarInfo, content: bytes
) -> None:
    file = tmp_path / "hostile.tar.zst"
    packed(file, [("manifest.json", manifest(2, 2)), ("raw/epoch/log.jsonl", b"{"), (entry, content)])
    assert_refused(settings, file, tmp_path)


def assert_refused(
    settings: Settings, file: Path, tmp_path: Path, *, match: str = "cannot be imported"
) -> None:
    with pytest.raises(StoreError, match=match):
        import_home(settings, file)
    assert not settings.home.exists()
    assert [path for path in tmp_path.iterdir() if path != file] == []


def cut(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def flipped(raw: bytes) -> bytes:
    return (
        raw[: len(raw) // 2]
        + bytes(255 - one for one in raw[len(raw) // 2 :][:40])
        + raw[len(raw) // 2 + 40 :]
    )


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        flipped,
        lambda raw: raw[:-1],
        lambda raw: b"",
        lambda raw: b"PK\x03\x04 no tar",
        lambda raw: raw[:40],
    ],
    ids=["half", "flipped", "last byte", "empty", "another format", "start"],
)
def test_a_damaged_archive_imports_nothing(
    full: Settings, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    whole, file = tmp_path / "whole", tmp_path / "damaged"
    export_home(full, whole)
    file.write_bytes(damage(whole.read_bytes()))
    whole.unlink()
    shutil.rmtree(full.home)
    assert_refused(full, file, tmp_path)


def test_a_changed_file_in_an_archive_is_named(full: Settings, tmp_path: Path) -> None:
    whole, file = tmp_path / "whole", tmp_path / "changed"
    export_home(full, whole)
    entries: list[Any] = [
        (name, content.replace(b"content", b"CONTENT") if name == "suites/own.toml" else content)
        for name, content in unpacked(whole)
    ]
    packed(file, entries)
    whole.unlink()
    shutil.rmtree(full.home)
    assert_refused(full, file, tmp_path, match="`suites/own.toml` is damaged")


def test_a_bomb_and_a_newer_format_import_nothing(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "bomb"
    zeros = bytes(30_000_000)
    packed(file, [("manifest.json", manifest(1, 10)), ("raw/epoch/0.zst", zeros)])
    assert_refused(settings, file, tmp_path, match="more than it announces")
    packed(file, [("manifest.json", manifest(1, 10**18)), ("raw/epoch/0.zst", zeros)])
    assert_refused(settings, file, tmp_path, match="GB are free")
    packed(file, [("manifest.json", zeros)])
    assert_refused(settings, file, tmp_path)
    packed(file, [("manifest.json", manifest(1, 1, version=9))])
    with pytest.raises(NewerFormatError):
        import_home(settings, file)
    twice: list[Any] = [("raw/epoch/a", b"x"), ("raw/epoch/a", b"y")]
    packed(file, [("manifest.json", manifest(2, 2)), *twice])
    assert_refused(settings, file, tmp_path, match="twice")


KILLED = """
import os, signal, sys
from pathlib import Path
from tracker.settings import Settings
from tracker.store import archive

def die(*args, **more):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(archive.os, "link", die) if sys.argv[1] == "export" else setattr(archive, "publish", die)
call = archive.export_home if sys.argv[1] == "export" else archive.import_home
call(Settings(home=Path(sys.argv[2])), Path(sys.argv[3]))
"""


def test_a_killed_export_or_import_leaves_nothing_that_is_taken_for_one(
    full: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "home.tar.zst"

    def killed(what: str, home: Path) -> None:
        command = [sys.executable, "-c", KILLED, what, str(home), str(file)]
        assert subprocess.run(command, check=False, cwd=ROOT).returncode == -signal.SIGKILL

    killed("export", full.home)
    assert not file.exists()
    export_home(full, file)
    assert not list(tmp_path.glob(".home.tar.zst*"))
    there = elsewhere(full, tmp_path)
    killed("import", there.home)
    assert not there.home.exists()
    import_home(there, file)
    assert tables(there) == tables(full)
    assert [path.name for path in there.home.parent.iterdir()] == [there.home.name]


def damage_rows(path: Path, table: str) -> None:
    """Change the bytes of the blocks that hold the rows of `table`; the rest stays readable."""
    with duckdb.connect(path) as connection:
        blocks = connection.execute(
            f"select distinct block_id from pragma_storage_info('{table}') where block_id >= 0"
        ).fetchall()
    assert blocks
    content = bytearray(path.read_bytes())
    for (block,) in blocks:
        start = HEADERS_BYTES + block * BLOCK_BYTES
        content[start : start + BLOCK_BYTES] = bytes(
            255 - one for one in content[start : start + BLOCK_BYTES]
        )
    path.write_bytes(bytes(content))


def test_export_restores_a_database_that_is_gone_and_refuses_a_damaged_one(
    full: Settings, tmp_path: Path
) -> None:
    with Store.open(full) as store:
        aliases = store.query("aliases")
    publish(full)
    full.db_path.unlink()
    export_home(full, tmp_path / "gone.tar.zst")
    there = elsewhere(full, tmp_path)
    imported = import_home(there, tmp_path / "gone.tar.zst")
    assert imported.rebuilt.lost == ()
    assert imported.rebuilt.aside is None
    assert str(full.home) not in str(imported)
    with Store.open(there) as store:
        assert store.query("aliases") == aliases != []
    damage_rows(full.db_path, "aliases")
    with pytest.raises(StoreError, match=r"is damaged: cannot read .*`aliases`") as caught:
        export_home(full, tmp_path / "damaged.tar.zst")
    assert "tracker store repair" in caught.value.hint
    assert not (tmp_path / "damaged.tar.zst").exists()
