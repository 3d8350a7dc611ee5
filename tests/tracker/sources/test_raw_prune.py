"""Which raw answers are kept: all that a log names."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tracker.cli import doctor_checks
from tracker.settings import Settings
from tracker.sources.ingest_log import LOG, Answered, IngestLog
from tracker.sources.raw import RawStore, prune, raw_use

AT = datetime(2026, 11, 24, tzinfo=UTC)
OLD = AT - timedelta(days=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Answers that one log or the other names, one that none does, and an unfinished write."""
    folder = tmp_path / "raw" / "epoch"
    raw = RawStore(folder)
    named = raw.add(b"in log.jsonl", url="https://x/a", status=200, at=OLD, etag=None)
    forgotten = raw.add(b"in ingests.jsonl", url="https://x/b", status=200, at=OLD, etag=None)
    unnamed = raw.add(b"in none", url="https://x/c", status=200, at=OLD, etag=None)
    lines = (folder / "log.jsonl").read_text().splitlines()
    (folder / "log.jsonl").write_text(lines[0] + "\n")
    IngestLog(folder, "one").add(Answered("https://x/b", forgotten.sha256))
    (folder / f".{unnamed.sha256}.zst.0a1b2c3d").write_bytes(b"half")
    for path in folder.iterdir():
        os.utime(path, (OLD.timestamp(), OLD.timestamp()))
    assert json.loads(lines[0])["sha256"] == named.sha256
    return folder


def n_left(folder: Path) -> int:
    return sum(not path.name.endswith(".jsonl") for path in folder.iterdir())


def test_raw_answers_that_no_log_names_and_unfinished_writes_are_deleted(folder: Path) -> None:
    assert len(prune(folder, at=AT)) == 2
    left = {RawStore(folder).read(path.stem) for path in folder.glob("*.zst")}
    assert left == {b"in log.jsonl", b"in ingests.jsonl"}
    assert prune(folder, at=AT) == ()


@pytest.mark.parametrize("damage", ["young", "no log", "damaged log", "damaged ingest log"])
def test_raw_answers_are_all_kept_where_the_logs_cannot_be_trusted(folder: Path, damage: str) -> None:
    before = n_left(folder)
    if damage == "no log":
        (folder / "log.jsonl").unlink()
    if damage.startswith("damaged"):
        path = folder / ("log.jsonl" if damage == "damaged log" else LOG)
        path.write_bytes(path.read_bytes()[:-20])
    at = OLD + timedelta(hours=1) if damage == "young" else AT
    assert prune(folder, at=at) == ()
    assert n_left(folder) == before


@pytest.mark.clock
def test_raw_answers_that_take_much_room_are_told_and_kept(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(doctor_checks.raw_answers(settings)) == []
    there = settings.model_copy(update={"home": folder.parent.parent})
    (fine,) = doctor_checks.raw_answers(there)
    monkeypatch.setattr(doctor_checks, "LARGE_RAW_BYTES", 10)
    (large,) = doctor_checks.raw_answers(there)
    assert (fine.status, large.status) == ("ok", "warn")
    assert raw_use(there.raw_path).n_files == n_left(folder) + 2
