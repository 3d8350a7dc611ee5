"""`tracker query`, `models`, `show` and `store` at the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from runners.models.demo import MODEL_ID
from tests.builders.some_runs import (
    TASKS,
    failed,
    model,
    parts_of,
    run,
    store_runs,
)
from tests.conftest import ROOT
from tracker.api import open_home
from tracker.cli import main
from tracker.cli.tables import count
from tracker.foreign_text import printable
from tracker.records import Cost
from tracker.settings import Settings
from tracker.store.reading import distinct_names

DEMO = model("acme/tiny-135m", n_params=134_515_008, license="mit", quantization="Q4_1")


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def tracker(capsys: pytest.CaptureFixture[str], settings: Settings) -> Any:
    def call(*argv: str) -> Said:
        code = 0
        try:
            main(argv)
        except SystemExit as end:
            code = int(end.code or 0)
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture
def filled(settings: Settings) -> Settings:
    """Two models; one has failed and then been measured, the other measured twice."""
    newer = run(4, of=DEMO, started_at=run(5).started_at, suite="smoke")
    store_runs(settings, failed(1), run(2), run(3, of=DEMO), newer)
    return settings


def test_an_empty_store_says_which_command_fills_it(tracker: Any) -> None:
    assert tracker("models") == Said(
        0, "", "no model has been measured here yet; `tracker bench demo` measures the embedded model\n"
    )
    assert tracker("models", "--json").document == {"models": []}
    shown = tracker("show", "acme/atlas-8b")
    assert (shown.code, shown.out) == (1, "")
    assert "hint: `tracker bench acme/atlas-8b` measures it" in shown.err
    assert tracker("query", "select * from items", "--json").document["rows"] == []


def test_models_come_with_their_last_run(tracker: Any, filled: Settings) -> None:
    found = tracker("models", "--json").document["models"]
    assert [(m["model_id"], m["suite"], m["status"], m["n_runs"]) for m in found] == [
        ("acme/tiny-135m", "smoke", "complete", 2),
        ("acme/atlas-8b", "quick", "complete", 2),
    ]
    assert found[0]["first_run_at"] == "2026-11-24T00:03:00Z"
    table = tracker("models").out
    assert "134.5M" in table
    assert "Q4_1" in table


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--license", "MIT"], ["acme/tiny-135m"]),
        (["--max-params", "1B"], ["acme/tiny-135m"]),
        (["--max-params", "8.03b", "--license", "apache"], ["acme/atlas-8b"]),
        (["--max-params", "134515008"], ["acme/tiny-135m"]),
        (["--max-params", "100M"], []),
    ],
)
def test_models_can_be_filtered(
    tracker: Any, filled: Settings, filters: list[str], expected: list[str]
) -> None:
    found = tracker("models", *filters, "--json").document["models"]
    assert [m["model_id"] for m in found] == expected
    said = tracker("models", *filters)
    assert (said.out == "") == (not expected)
    assert ("no model measured here matches" in said.err) == (not expected)


def test_a_size_that_is_none_is_refused(tracker: Any) -> None:
    said = tracker("models", "--max-params", "big")
    assert (said.code, said.err.splitlines()[0]) == (
        1,
        "error: `--max-params` is not a number of parameters: `big`",
    )


def test_show_tells_all_of_one_model(tracker: Any, filled: Settings) -> None:
    document = tracker("show", "acme/atlas-8b", "--json").document
    assert [(r["status"], r["reason"], len(r["scores"])) for r in document["runs"]] == [
        ("complete", None, 3),
        ("failed", "does_not_fit", 0),
    ]
    assert document["revisions"][0]["license"] == "apache-2.0"
    text = tracker("show", "acme/atlas-8b").out
    for words in ("8.03B parameters", "50.0%", "30.0% – 70.0%", "does_not_fit: needs 812 GB", "41 output"):
        assert words in text


@pytest.mark.parametrize("name", ["ATLAS-8B", "atlas-8b", "acme/atlas-8b@0a1b2c3d"])
def test_show_finds_a_model_by_part_of_its_name(tracker: Any, filled: Settings, name: str) -> None:
    assert tracker("show", name, "--json").document["model_id"] == "acme/atlas-8b"


def test_show_knows_the_embedded_model_as_demo(tracker: Any, filled: Settings) -> None:
    assert "no model is called `demo`" in tracker("show", "demo").err
    store_runs(filled, run(6, of=model(MODEL_ID)))
    assert tracker("show", "demo", "--json").document["model_id"] == MODEL_ID


def test_show_knows_a_model_by_its_folder(
    tracker: Any, filled: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my@tiny"
    folder.mkdir()
    store_runs(filled, run(6, of=model("local/my@tiny", path=str(folder.resolve()))))
    monkeypatch.chdir(tmp_path)
    for name in (str(folder), "./my@tiny/", "my@tiny"):
        assert tracker("show", name, "--json").document["model_id"] == "local/my@tiny"
    assert "no model is called" in tracker("show", str(tmp_path)).err


def test_show_tells_the_predicted_memory_beside_the_measured(tracker: Any, settings: Settings) -> None:
    cost = Cost(peak_memory_bytes=900_000_000)
    store_runs(settings, run(1, cost=cost, fit={"fits": True, "total_bytes": 1_200_000_000}))
    assert "peak memory 0.9 GB (predicted 1.2 GB)" in tracker("show", "atlas-8b").out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("acme/atlas-8c", "did you mean `acme/atlas-8b`?"),
        ("zzz", "known: acme/atlas-8b, acme/tiny-135m"),
        ("acme/atlas-8b@ffff", "no revision of acme/atlas-8b is called `ffff`"),
    ],
)
def test_an_unknown_model_is_answered_with_near_ones(
    tracker: Any, filled: Settings, name: str, words: str
) -> None:
    said = tracker("show", name)
    assert said.code == 1
    assert words in said.err


def test_a_name_that_fits_two_models_is_not_guessed(tracker: Any, settings: Settings) -> None:
    store_runs(settings, run(1), run(2, of=model("other/atlas-8b")))
    said = tracker("show", "atlas-8b")
    assert said.code == 1
    assert "`acme/atlas-8b` or `other/atlas-8b`" in said.err


def test_query_prints_one_document(tracker: Any, filled: Settings) -> None:
    sql = "select task, count(*) as n, avg(score) as score from items where fingerprint = '{}' group by task"
    said = tracker("query", sql.format(run(2).scores[0].fingerprint), "--json")
    assert said.document == {
        "columns": ["task", "n", "score"],
        "rows": [{"task": TASKS[0], "n": 10, "score": 0.5}],
        "has_more": False,
        "missing_parts": 0,
    }


def test_query_json_holds_every_kind_of_value(tracker: Any, filled: Settings) -> None:
    sql = (
        "select 'nan'::double a, 1.5 b, 2 a, timestamp '2026-01-02 03:04:05' t, date '2026-01-02' d, [1] l,"
        " {'x': 'inf'::double} s, null n, 170141183460469231731687303715884105727 h, '\\xAA'::blob bl"
    )
    (row,) = tracker("query", sql, "--json").document["rows"]
    assert row == {
        "a": None, "b": 1.5, "a_1": 2, "t": "2026-01-02T03:04:05Z", "d": "2026-01-02", "l": [1],
        "s": {"x": None}, "n": None, "h": 2**127 - 1, "bl": "qg==",
    }  # fmt: skip


@pytest.mark.parametrize(
    "names", ["a a a", "a a_1 a", "a a a_1", "a_1 a a", "a a_2 a a", "a A a", "a_1_1 a_1 a_1 a a"]
)
def test_query_gives_columns_of_one_name_the_names_that_duckdb_gives_them(names: str) -> None:
    asked = names.split()
    columns = ", ".join(f"{place} as {name}" for place, name in enumerate(asked))
    distinct = distinct_names(asked)
    assert distinct == list(duckdb.execute(f"select {columns}").fetchnumpy())


def test_query_keeps_every_value_of_columns_of_one_name(tracker: Any, filled: Settings) -> None:
    sql = "select 1 as a, 2 as a_1, 3 as a, 4 as a"
    document = tracker("query", sql, "--json").document
    assert document["columns"] == ["a", "a_1", "a_2", "a_3"]
    assert list(document["rows"][0].items()) == list(zip(document["columns"], (1, 2, 3, 4), strict=True))
    assert tracker("query", sql, "--csv").out == "a,a_1,a_2,a_3\n1,2,3,4\n"
    frame = open_home(filled.home).query(sql)
    assert (list(frame.columns), frame.iloc[0].tolist()) == (document["columns"], [1, 2, 3, 4])


def test_query_prints_csv_that_a_program_reads_back(tracker: Any, filled: Settings) -> None:
    said = tracker(
        "query", "select model_id, 'a,\"b\n' as text, warnings from runs order by run_id limit 1", "--csv"
    )
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert [(row["model_id"], row["text"]) for row in rows] == [("acme/atlas-8b", 'a,"b\n')]
    assert json.loads(rows[0]["warnings"]) == ["`gpqa`: no network"]


def test_query_shows_a_table_and_says_what_it_left_out(tracker: Any, filled: Settings) -> None:
    said = tracker("query", "select range as n from range(1234)")
    assert "199" in said.out
    assert said.err == "showing 200 of 1,234 rows; `--json` or `--csv` prints all\n"
    assert "harness_version" in tracker("query", "select * from runs limit 1").out


def test_a_mistake_in_sql_is_a_user_error(tracker: Any, filled: Settings) -> None:
    said = tracker("query", "select modelid from runs", "--json")
    assert said.code == 1
    assert said.document["error"] == 'SQL: Referenced column "modelid" not found in FROM clause!'
    assert tracker("query", "delete from runs").code == 1
    assert tracker("query", "select 1", "--json", "--csv").code == 2


def test_what_a_model_wrote_cannot_steer_the_terminal(tracker: Any, settings: Settings) -> None:
    nasty = model("a/\x1b[31mred[bold]\u202e")
    store_runs(settings, replace(run(1, of=nasty), warnings=("\x07[link=x]",)))
    for argv in (("models",), ("show", nasty.model_id), ("query", "select * from runs")):
        out = tracker(*argv).out
        assert not {"\x1b", "\x07", "\u202e"} & set(out)
        assert "[31mred[bold]" in out


def test_store_commands_mend_what_is_broken(tracker: Any, filled: Settings) -> None:
    assert tracker("store", "check") == Said(0, "no problems found\n", "")
    filled.db_path.write_bytes(b"broken")
    parts_of(filled)[0].write_bytes(b"PAR1")
    checked = tracker("store", "check", "--json")
    assert checked.code == 1
    assert sorted({p["kind"] for p in checked.document["problems"]}) == ["corrupt_part", "unreadable"]
    assert "tracker store repair" in tracker("store", "check").out
    assert "tracker store repair" in tracker("store", "publish").err
    rebuilt = tracker("store", "rebuild", "--json").document
    assert (rebuilt["n_runs"], rebuilt["skipped"], rebuilt["interrupted"]) == (4, [], [])
    assert {p["kind"] for p in tracker("store", "check", "--json").document["problems"]} == {"corrupt_part"}
    assert tracker("store", "publish", "--json").document["snapshot"] > rebuilt["snapshot"]


def test_a_reader_of_the_output_may_stop_early(filled: Settings) -> None:
    command = f"{sys.executable} -m tracker query 'select * from range(200000)' --csv | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "range\n", "")


@pytest.mark.parametrize(
    ("n", "text"),
    [(None, "–"), (999, "999"), (134_515_008, "134.5M"), (8_030_000_000, "8.03B"), (10**12, "1T")],
)
def test_parameters_are_counted_as_people_write_them(n: int | None, text: str) -> None:
    assert count(n) == text


def test_printable_text_keeps_lines_and_letters() -> None:
    assert printable("größe\n\t模型 \x1b[0m\x9b") == "größe\n\t模型 \\x1b[0m\\x9b"
