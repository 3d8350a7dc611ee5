"""`tracker import`: what three formats say arrives whole, once, and marked on every face."""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tracker
from tests.builders.foreign_results import (
    CORRECT,
    lm_eval_document,
    lm_eval_samples,
    older_lm_eval,
    write_eee,
    write_lm_eval,
)
from tests.conftest import ROOT
from tests.doubles.command import command
from tracker.errors import TrackerError
from tracker.exchange.import_runs import FOUND, IMPORTED, KNOWN, STAGED, import_results
from tracker.files.items import read_items, read_run
from tracker.records import Item, Run
from tracker.records.origins import IMPORTED as MARK
from tracker.settings import Settings
from tracker.stats import mean_interval
from tracker.store import check, open_snapshot, publish, rebuild

FOREIGN = ROOT / "tests" / "fixtures" / "foreign"
N_KILLS = 6
IMPORTER = """
import os, sys
from pathlib import Path
from tracker.exchange.import_runs import import_results
from tracker.settings import load_settings
for line in sys.stdin:
    child = os.fork()
    if not child:
        print(os.getpid(), flush=True)
        import_results(Path(line.strip()), load_settings())
        os._exit(0)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


def items_of(settings: Settings, run: Run) -> dict[int, Item]:
    folder = settings.items_path / run.run_id
    return dict(read_items(sorted(folder.glob("*.parquet"))))


def only_run(path: Path, settings: Settings) -> Run:
    (found,) = import_results(path, settings).runs
    assert found.state == IMPORTED
    assert read_run(settings.items_path / found.run.run_id) == found.run
    return found.run


@pytest.mark.parametrize(
    "write", [lambda folder: write_lm_eval(folder / "acme"), lambda folder: older_lm_eval(folder / "acme")]
)
def test_import_of_both_layouts_of_lm_eval(
    tmp_path: Path, settings: Settings, write: Callable[[Path], Path]
) -> None:
    run = only_run(write(tmp_path), settings)
    interval = mean_interval(CORRECT)
    (score,) = run.scores
    assert (score.value, score.ci_low, score.ci_high, score.n_items) == (
        interval.value, interval.low, interval.high, len(CORRECT),
    )  # fmt: skip
    assert (score.metric, score.filter, score.chance) == ("acc", "none", 0.5)
    assert (run.model.model_id, run.suite) == ("acme/atlas-1b (imported)", "imported-lm-eval")
    assert f"{run.started_at:%Y-%m-%d %H:%M}" == "2025-03-04 05:06"
    items = items_of(settings, run)
    assert sorted(items) == list(range(len(CORRECT)))
    assert (items[3].prompt, items[3].response, items[3].log_probs) == ("3 + 1 =", "1", (-1.5, -0.5))
    assert [items[place].score for place in sorted(items)] == list(CORRECT)


def test_import_keeps_a_choice_that_the_model_holds_for_impossible(
    tmp_path: Path, settings: Settings
) -> None:
    samples = lm_eval_samples()
    samples[2]["resps"] = [[["-inf", "False"]], [["-0.5", "True"]]]
    run = only_run(write_lm_eval(tmp_path, samples=samples), settings)
    item = items_of(settings, run)[2]
    assert (item.log_probs, item.choices, item.response) == ((-math.inf, -0.5), ("0", "1"), "1")


@pytest.mark.parametrize("took_s", [-1e308, 1e308, -5, "nan"])
def test_import_of_an_impossible_duration_leaves_the_end_unknown(
    tmp_path: Path, settings: Settings, took_s: float | str
) -> None:
    document = lm_eval_document() | {"total_evaluation_time_seconds": took_s}
    run = only_run(write_lm_eval(tmp_path, document), settings)
    assert len(items_of(settings, run)) == len(CORRECT)
    assert (run.ended_at or run.started_at) == run.started_at


def test_import_writes_half_a_character_as_a_question_mark(tmp_path: Path, settings: Settings) -> None:
    samples = lm_eval_samples()
    samples[3]["arguments"]["gen_args_0"]["arg_0"] = "half \ud83d"
    items = items_of(settings, only_run(write_lm_eval(tmp_path, samples=samples), settings))
    assert (items[3].prompt, len(items)) == ("half ?", len(CORRECT))


@pytest.mark.parametrize("name", ["sums.eval", "sums.json"])
def test_import_of_both_formats_of_inspect(settings: Settings, name: str) -> None:
    run = only_run(FOREIGN / "inspect" / name, settings)
    (score,) = run.scores
    assert (score.task, score.metric, score.n_items) == ("sums", "accuracy", 24)
    assert score.value == pytest.approx(7 / 12)
    items = items_of(settings, run)
    assert (
        score.ci_low
        == mean_interval(
            [one.score or 0.0 for one in items.values()],
            clusters=[str(one.cluster) for one in items.values()],
        ).low
    )
    second = items[3]  # question s1, asked for the second time
    assert (second.prompt, second.response, second.thinking, second.cluster) == (
        "What is 1+1?", "0", "One more.", "s1",
    )  # fmt: skip
    assert (second.prompt_tokens, second.output_tokens, second.latency_s) == (9, 1, 0.25)
    assert run.origin is not None
    assert run.origin.tool_version == "0.3.285"


def test_import_of_a_record_in_percent_with_its_evaluator(tmp_path: Path, settings: Settings) -> None:
    run = only_run(write_eee(tmp_path), settings)
    (score,) = run.scores
    assert score.value == pytest.approx(sum(CORRECT) / len(CORRECT))
    assert run.origin is not None
    assert run.origin.evaluated_by == "Acme Labs"
    assert "evaluated with helm 1.0" in run.warnings
    assert items_of(settings, run)[4].target == "5"


def test_import_of_a_group_has_its_score_above_those_of_its_tasks(tmp_path: Path, settings: Settings) -> None:
    document = lm_eval_document("add")
    other = lm_eval_document("double")
    for key in ("results", "configs", "n-shot", "higher_is_better", "n-samples"):
        document[key] |= other[key]
    document["results"]["sums"] = {"acc,none": sum(CORRECT) / len(CORRECT), "acc_stderr,none": 0.1}
    document["group_subtasks"] = {"sums": ["add", "double"]}
    write_lm_eval(tmp_path, document, task="double")
    run = only_run(write_lm_eval(tmp_path, document, task="add"), settings)
    assert [(score.task, score.group, score.n_items) for score in run.scores] == [
        ("sums", None, 16), ("add", "sums", 8), ("double", "sums", 8),
    ]  # fmt: skip
    assert not check(settings)


def test_import_of_the_same_content_under_another_name_doubles_nothing(
    tmp_path: Path, settings: Settings
) -> None:
    run = only_run(write_lm_eval(tmp_path / "one"), settings)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for place in ("one", "two"):
        (again,) = import_results(tmp_path / place, settings).runs
        assert (again.state, again.run) == (KNOWN, run)
    with open_snapshot(settings) as snapshot:
        assert len(snapshot.query("runs")) == 1
        assert snapshot.select("select count(*) from items").rows == [(len(CORRECT),)]


def test_import_dry_run_says_the_same_and_writes_nothing(tmp_path: Path, settings: Settings) -> None:
    path = write_lm_eval(tmp_path / "one")
    (planned,) = import_results(path, settings, is_dry_run=True).runs
    assert planned.state == FOUND
    assert not settings.home.exists()
    assert planned.run.scores == only_run(path, settings).scores


def test_import_of_a_folder_takes_what_is_whole_and_says_what_is_not(tmp_path: Path, home: Path) -> None:
    write_lm_eval(tmp_path / "in" / "good")
    write_eee(tmp_path / "in" / "also")
    (tmp_path / "in" / "package.json").write_text('{"name": "nothing"}')
    bad = write_lm_eval(tmp_path / "in" / "bad", samples=lm_eval_samples()[:-1])
    done = command("import", str(tmp_path / "in"), "--json")
    assert done.returncode == 1
    assert "1 file refused" in done.stderr
    document = json.loads(done.stdout.splitlines()[0])
    assert [one["state"] for one in document["runs"]] == [IMPORTED, IMPORTED]
    assert [one["file"] for one in document["refused"]] == [str(bad)]
    assert "states 8 items, but has 7" in document["refused"][0]["error"]
    assert document["n_unknown"] == 1
    assert all(one["note"] == MARK for one in document["runs"])


def test_import_is_marked_on_every_face_and_is_on_no_index(tmp_path: Path, home: Path) -> None:
    assert (
        command("import", str(write_lm_eval(tmp_path, lm_eval_document("mmlu"), task="mmlu"))).returncode == 0
    )
    name = "acme/atlas-1b (imported)"
    shown = command("show", name).stdout
    assert MARK in shown
    assert "lm-eval 0.4.9" in shown
    (run,) = json.loads(command("show", name, "--json").stdout)["runs"]
    assert run["origin"]["tool"] == "lm-eval"
    assert run["origin"]["file"].startswith("results_2025")
    (row,) = json.loads(command("leaderboard", "--json").stdout)["models"]
    assert (row["model_id"], row["basis"], row["index"]) == (name, MARK, None)
    assert json.loads(command("models", "--json").stdout)["models"][0]["model_id"] == name
    opened = tracker.open_home(home)
    assert opened.runs()["origin"][0]["tool"] == "lm-eval"
    assert opened.measured().empty
    assert json.loads(command("query", "select origin from runs", "--json").stdout)["rows"][0]["origin"]


def test_import_stands_in_a_database_that_is_built_again(tmp_path: Path, settings: Settings) -> None:
    run = only_run(write_lm_eval(tmp_path), settings)
    settings.db_path.unlink()
    rebuild(settings)
    publish(settings)
    assert not check(settings)
    assert run.origin is not None
    with open_snapshot(settings) as snapshot:
        (row,) = snapshot.query("runs")
    assert row["origin"]["sha256"] == run.origin.sha256


def test_import_killed_at_any_moment_is_whole_after_the_next(tmp_path: Path, settings: Settings) -> None:
    for number in range(4):
        document = lm_eval_document(model=f"acme/atlas-{number}b")
        write_lm_eval(tmp_path / "in" / str(number), document)
    chance = random.Random(7)
    with subprocess.Popen(
        [sys.executable, "-c", IMPORTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as importer:
        assert importer.stdin is not None
        assert importer.stdout is not None
        for _ in range(N_KILLS):
            importer.stdin.write(f"{tmp_path / 'in'}\n")
            importer.stdin.flush()
            child = int(importer.stdout.readline())
            killer = subprocess.Popen(["sh", "-c", f"sleep {chance.uniform(0.02, 0.6)}; kill -9 {child}"])
            assert importer.stdout.readline() == "gone\n"
            killer.wait()
        importer.stdin.close()
    outcome = import_results(tmp_path / "in", settings)
    assert len(outcome.runs) == 4
    assert not outcome.refused
    assert not list((settings.home / STAGED).glob("*"))
    with open_snapshot(settings) as snapshot:
        assert sorted(row["model_id"] for row in snapshot.query("runs")) == [
            f"acme/atlas-{number}b (imported)" for number in range(4)
        ]
        counted = "select count(*), count(distinct (run_id, doc_id)) from items"
        assert snapshot.select(counted).rows == [(4 * len(CORRECT), 4 * len(CORRECT))]
    assert not check(settings)


@pytest.mark.parametrize("content", [b"root:x:0:0\n", b"\x89PNG\r\n\x1a\n\xff", b"# Notes\n"])
def test_import_of_a_file_that_holds_no_results_says_what_is_read(
    settings: Settings, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(TrackerError, match="is no file of results") as raised:
        import_results(path, settings)
    assert "results of lm-eval" in raised.value.hint
