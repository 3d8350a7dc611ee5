"""Files of strangers: each is refused with a sentence and a hint, at once, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.builders.foreign_results import (
    DATE,
    eee_document,
    eee_samples,
    lm_eval_document,
    lm_eval_samples,
    write_eee,
    write_lm_eval,
)
from tests.conftest import ROOT
from tests.doubles.command import command
from tracker.exchange import import_runs
from tracker.exchange.import_runs import import_results
from tracker.formats import bounded, zipped
from tracker.formats.bounded import ForeignFileError
from tracker.formats.zipped import zipped_file
from tracker.settings import Settings

LOG = ROOT / "tests" / "fixtures" / "foreign" / "inspect" / "sums.json"
MOST_S = 20.0
SAMPLES = {"format": "jsonl", "file_path": "record_samples.jsonl", "hash_algorithm": "sha256"}
Changed = Callable[[dict[str, Any], list[dict[str, Any]]], None]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One home for all, since nothing may be left in it."""
    return Settings(home=tmp_path_factory.mktemp("home"))


def refusal(path: Path, settings: Settings) -> str:
    """The sentence with which an import of `path` is refused; nothing of it is in the home."""
    began = time.monotonic()
    with pytest.raises(ForeignFileError) as caught:
        import_results(path, settings)
    assert time.monotonic() - began < MOST_S
    assert caught.value.exit_code == 1
    assert caught.value.hint
    assert not list(settings.items_path.glob("*"))
    assert not list((settings.home / import_runs.STAGED).glob("*"))
    return str(caught.value)


def test_import_of_a_bad_file_ends_the_command_with_a_sentence_and_a_hint(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("{")
    done = command("import", str(path), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"].startswith(f"`{path}` is not JSON")
    assert "hint: " in done.stderr
    assert command("import", str(tmp_path / "absent")).returncode == 1
    assert "did you mean" in command("import", str(path), "--format", "lm-evl").stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b'{"results": {"a": {"acc,none": 0.5}', "is not JSON"),
        ('{"results": 1}'.encode("utf-16"), "is not UTF-8"),
        (b'{"a": "\xff\xfe"}', "is not UTF-8"),
        (b'{"results": {}, "config": {}}', "has no results"),
        (b'{"results": [], "config": {}}', "in none of the formats"),
        (b'"text"', "in none of the formats"),
        (b"1" * 5000, "is not JSON"),
        (b'{"evaluation_results": [], "model_info": {"id": "a/b"}}', "has no results"),
        (b'{"eval": {"model": "a/b"}, "status": "started"}', "did not end"),
        (b"PK\x03\x04" + b"\0" * 40, "is damaged or cut off"),
    ],
)
def test_import_refuses_what_is_no_results_file(
    tmp_path: Path, settings: Settings, content: bytes, said: str
) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    assert said in refusal(path, settings)


def number(name: str, value: Any) -> Changed:
    def change(document: dict[str, Any], samples: list[dict[str, Any]]) -> None:
        document["results"]["sums"][name] = value

    return change


def sample(place: int, **values: Any) -> Changed:
    def change(document: dict[str, Any], samples: list[dict[str, Any]]) -> None:
        samples[place] |= values

    return change


def top(**values: Any) -> Changed:
    def change(document: dict[str, Any], samples: list[dict[str, Any]]) -> None:
        document |= values

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (number("acc,none", float("nan")), "acc is nan, which is no possible score"),
        (number("acc,none", float("inf")), "acc is inf, which is no possible score"),
        (number("acc,none", 62.5), "acc is 62.5, which is no possible score"),
        (number("acc,none", 0.75), "it states 0.7500, but the mean of its items is 0.6250"),
        (sample(2, acc=7.0), "`acc` is 7.0, not between 0 and 1"),
        (sample(2, acc=float("nan")), "is no sample of lm-eval: a metric is nan"),
        (sample(2, acc="right"), "`acc` is 'right', not between 0 and 1"),
        (sample(2, resps=[[["nan", "False"]], [["-0.5", "True"]]]), "a log-probability is nan"),
        (sample(2, resps=[[["-0.5", "True"]], [[float("inf"), False]]]), "a log-probability is inf"),
        (sample(2, doc_id=1), "question 1 is there twice"),
        (sample(2, doc_id=-4), "is no sample of lm-eval"),
        (sample(2, doc_id=None), "is no sample of lm-eval"),
        (lambda document, samples: samples.pop(), "it states 8 items, but has 7"),
        (lambda document, samples: samples.clear(), "it states 8 items, but has 0"),
        (top(model_name="acme/other"), "names two models: `acme/other` and `acme/atlas-1b`"),
        (top(model_name="a\x1b[31mb", config={}), "the model has an impossible name"),
        (top(model_name="a/..", config={}), "the model has an impossible name"),
        (top(model_name="x" * 5000, config={}), "the model has an impossible name"),
        (top(model_name=None, config={}), "does not name the model"),
        (top(date=1e300), "is no date"),
        (top(date=4e9), "says that it was measured on 2096"),
    ],
)
def test_import_refuses_results_of_lm_eval_that_are_not_possible(
    tmp_path: Path, settings: Settings, change: Changed, said: str
) -> None:
    document, samples = lm_eval_document(), lm_eval_samples()
    change(document, samples)
    assert said in refusal(write_lm_eval(tmp_path, document, samples), settings)


def test_import_refuses_results_without_samples_or_with_those_behind_a_link(
    tmp_path: Path, settings: Settings
) -> None:
    path = write_lm_eval(tmp_path)
    samples = tmp_path / f"samples_sums_{DATE}.jsonl"
    samples.rename(tmp_path / "elsewhere")
    assert "has no samples" in refusal(path, settings)
    samples.symlink_to(tmp_path / "elsewhere")
    assert "has no samples" in refusal(path, settings)
    assert "holds samples alone" in refusal(
        tmp_path.joinpath("elsewhere").rename(tmp_path / "x.jsonl"), settings
    )


def test_import_refuses_names_of_tasks_that_are_paths(tmp_path: Path, settings: Settings) -> None:
    path = write_lm_eval(tmp_path, lm_eval_document("../../x"), task="x")
    assert "a task has an impossible name" in refusal(path, settings)


def test_import_refuses_a_truncated_line_after_many_whole_ones(tmp_path: Path, settings: Settings) -> None:
    path = write_lm_eval(tmp_path)
    samples = tmp_path / f"samples_sums_{DATE}.jsonl"
    samples.write_bytes(samples.read_bytes()[:-40])
    assert "line 8` is not JSON" in refusal(path, settings)


def test_import_refuses_ten_gigabytes_at_once(tmp_path: Path, settings: Settings) -> None:
    path = write_lm_eval(tmp_path)
    samples = tmp_path / f"samples_sums_{DATE}.jsonl"
    os.truncate(samples, 10 * 10**9)  # a hole, which takes no room
    assert "has 10,000 MB; at most" in refusal(path, settings)
    os.truncate(path, 10 * 10**9)
    assert "has 10,000 MB; at most" in refusal(path, settings)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert "is not a file" in refusal(fifo, settings)
    assert "is not a file" in refusal(Path("/dev/zero"), settings)


def test_import_refuses_a_line_that_never_ends(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MAX_LINE_BYTES", 2000)
    path = write_lm_eval(tmp_path, samples=[{"doc_id": 0, "doc": "x" * 5000}])
    assert "line 1` has" in refusal(path, settings)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record, rows: rows[3].update(model_id="acme/other"), "has another model_id than its record"),
        (lambda record, rows: rows[3].update(evaluation_id="x"), "has another evaluation_id than its record"),
        (lambda record, rows: rows[3]["evaluation"].update(score=1000), "its score is 1000"),
        (lambda record, rows: rows[3]["evaluation"].update(score=float("inf")), "its score is inf"),
        (lambda record, rows: rows[3].update(sample_id="2"), "is there twice"),
        (lambda record, rows: rows.pop(), "it states 8 items, but has 7"),
        (lambda record, rows: record["model_info"].update(id="a/\u202eb"), "an impossible name"),
        (
            lambda record, rows: record.update(detailed_evaluation_results=SAMPLES | {"checksum": "0" * 64}),
            "its checksum differs",
        ),
        (
            lambda record, rows: record.update(detailed_evaluation_results={"file_path": "../../etc/passwd"}),
            "has no samples",
        ),
    ],
)  # fmt: skip
def test_import_refuses_records_that_contradict_themselves(
    tmp_path: Path, settings: Settings, change: Changed, said: str
) -> None:
    record, rows = eee_document(), eee_samples()
    change(record, rows)
    assert said in refusal(write_eee(tmp_path, record, rows), settings)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda log: log["samples"].pop(), "has 23 samples, but says that 24 were completed"),
        (lambda log: log.update(status="cancelled"), "its status is `cancelled`"),
        (lambda log: log.update(invalidated=True), "was declared invalid"),
        (lambda log: log["samples"][3].update(id="s2", epoch=1), "is there twice"),
        (lambda log: log["samples"][3].update(epoch=9), "an impossible `epoch`"),
        (lambda log: log["samples"][3].update(error={"message": "x"}), "failed"),
        (lambda log: log["samples"][3]["scores"]["match"].update(value=9), "is 9.0, not between 0 and 1"),
        (lambda log: log["results"]["scores"].clear(), "has no scores"),
        (
            lambda log: log["results"]["scores"][0]["metrics"]["accuracy"].update(value=0.9),
            "it states 0.9000, but the mean of its items is 0.5833",
        ),
        (
            lambda log: log["results"]["scores"][0]["metrics"]["accuracy"].update(value=float("nan")),
            "accuracy is nan",
        ),
    ],
)
def test_import_refuses_logs_of_inspect_that_contradict_themselves(
    tmp_path: Path, settings: Settings, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    log = json.loads(LOG.read_text())
    change(log)
    path = tmp_path / "log.json"
    path.write_text(json.dumps(log))
    assert said in refusal(path, settings)


def zipped_log(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def test_import_refuses_zip_bombs_and_entries_outside(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = zipped_log(tmp_path / "bomb.eval", **{"header.json": b" " * 200_000_000})
    assert bomb.stat().st_size < 300_000
    assert "200 MB; at most 67 MB" in refusal(bomb, settings)
    outside = zipped_log(tmp_path / "outside.eval", **{"header.json": b"{}", "../../samples/x.json": b"{}"})
    assert "an entry with an impossible name" in refusal(outside, settings)
    empty = zipped_log(tmp_path / "empty.eval", **{"_journal/start.json": b"{}"})
    assert "did not end" in refusal(empty, settings)
    monkeypatch.setattr(zipped, "MAX_ENTRIES", 1)
    assert "has 2 entries" in refusal(outside, settings)


def test_import_refuses_a_log_cut_off_anywhere(tmp_path: Path, settings: Settings) -> None:
    whole = LOG.with_suffix(".eval").read_bytes()
    path = tmp_path / "log.eval"
    for end in range(0, len(whole), len(whole) // 12):
        path.write_bytes(whole[:end])
        assert "damaged" in refusal(path, settings)


def test_import_holds_every_byte_of_a_log_against_its_checksum(tmp_path: Path) -> None:
    whole = bytearray(LOG.with_suffix(".eval").read_bytes())
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(LOG.with_suffix(".eval")) as file:
        entry = next(one for one in file.infolist() if one.filename.startswith("samples/"))
    assert entry.compress_type == zipped.ZSTD
    whole[entry.header_offset + 200] ^= 0xFF
    path.write_bytes(whole)
    with zipped_file(path) as opened, pytest.raises(ForeignFileError, match="is damaged"):
        opened.read(entry.filename)


def test_zstd_entries_unpack_to_no_more_than_asked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", bytes(pa.compress(b"\0" * 50_000_000, "zstd", asbytes=True)))
    content = bytearray(path.read_bytes())
    for header, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = content.rindex(header) + offset
        content[place : place + 2] = zipped.ZSTD.to_bytes(2, "little")
    path.write_bytes(content)
    with zipped_file(path) as opened, pytest.raises(ForeignFileError, match="at most 1 MB"):
        opened.read("a", most=1_000_000)
