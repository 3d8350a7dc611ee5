"""Tasks that train no language model: no label reaches the script, a self-reported score is named as one."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runners.research.corpora.build import HELD_OUT, TRAIN, Corpus, corpus, prepared
from runners.research.corpora.tables import DIGITS, rows_of
from runners.research.evaluation.predictions import (
    prediction_bytes,
    reported,
    scored,
    table_order,
    task_data,
)
from runners.research.problem import script, space
from runners.research.problem.tiers import FILE, TaskKind, kept_task, tier
from runners.research.training.cache import train
from runners.sandbox.run import find
from tracker.errors import TrackerError
from tracker.records.studies import Change, TrainingStatus

pytest.importorskip("sklearn")
TASK = tier("digits")
SEED = 5


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepared(DIGITS, tmp_path_factory.mktemp("corpora"))


def labels(of: Corpus, split: str) -> np.ndarray:
    return rows_of("digits", np.array(of.tokens(split)))[:, -1].astype(int)


def pixels(of: Corpus, split: str) -> list[list[float]]:
    return rows_of("digits", np.array(of.tokens(split)))[:, :64].tolist()


def test_predictions_the_script_gets_no_label_of_a_held_out_row(table: Corpus) -> None:
    content, sizes = task_data(table, seed=3, n_train=800)
    values = np.frombuffer(content, dtype="<f4")
    n_held_out = sum(len(labels(table, split)) for split in HELD_OUT)
    assert sizes == {"n_train": 800, "n_features": 64, "n_classes": 10}
    assert len(values) == 800 * 65 + n_held_out * 64
    shown = values[800 * 65 :].reshape(-1, 64)
    held = np.concatenate([rows_of("digits", np.array(table.tokens(split))) for split in HELD_OUT])
    assert (np.sort(shown, axis=1) == np.sort(held[:, :64], axis=1)).all()


def test_predictions_training_rows_come_in_the_order_of_their_seed(table: Corpus) -> None:
    first, again, other = (task_data(table, seed=seed, n_train=800)[0] for seed in (3, 3, 4))
    assert first == again
    assert first[: 800 * 65 * 4] != other[: 800 * 65 * 4]


def test_predictions_columns_and_classes_are_in_another_order_under_each_seed(table: Corpus) -> None:
    orders = [table_order(table, seed) for seed in range(1, 41)]
    for each in orders:
        assert sorted(each.columns) == list(range(64))
        assert sorted(each.classes) == list(range(10))
    at_home = np.mean([(a.columns == b.columns).mean() for a in orders for b in orders if a is not b])
    assert at_home == pytest.approx(1 / 64, abs=0.005)
    content, _ = task_data(table, seed=3, n_train=1)
    (row,) = np.frombuffer(content, dtype="<f4")[:65].reshape(1, 65)
    order = table_order(table, 3)
    train = rows_of("digits", np.array(table.tokens(TRAIN)))
    (found,) = [whole for whole in train if (whole[order.columns] == row[:64]).all()]
    assert order.classes[int(found[-1])] == row[64]


def test_predictions_the_order_is_not_known_to_who_knows_the_seed(tmp_path: Path) -> None:
    one, other = (prepared(DIGITS.keyed(secret * 64), tmp_path) for secret in "ab")
    assert (table_order(one, 1).columns != table_order(other, 1).columns).any()
    assert (table_order(one, 1).columns == table_order(one, 1).columns).all()


def test_predictions_no_row_stands_in_two_splits_and_a_secret_changes_them(tmp_path: Path) -> None:
    one, other = (prepared(DIGITS.keyed(secret * 64), tmp_path) for secret in "ab")
    rows = [rows_of("digits", np.array(one.tokens(split))) for split in (TRAIN, *HELD_OUT)]
    assert sum(map(len, rows)) == 1797 == len(np.unique(np.concatenate(rows), axis=0))
    found = [
        {tuple(sorted(row)) for split in (TRAIN, *HELD_OUT) for row in pixels(each, split)}
        for each in (one, other)
    ]
    assert not found[0] & found[1]  # whatever the order of the columns


def answers(of: Corpus, *, right: float) -> bytes:
    """Log-probabilities with `right` more nats for the right class, under every split."""
    every = table_order(of, SEED).classes[np.concatenate([labels(of, split) for split in HELD_OUT])]
    said = np.zeros((len(every), 10), dtype="<f4")
    said[np.arange(len(every)), every] = right
    return said.tobytes()


@pytest.mark.parametrize(
    ("right", "expected"),
    [(0.0, math.log2(10)), (100.0, 0.0), (math.log(9), 1.0), (-1000.0, 50 / math.log(2))],
    ids=["guessing", "knowing", "half", "bounded"],
)
def test_predictions_are_normalized_and_scored_in_bits_per_row(
    right: float, expected: float, table: Corpus
) -> None:
    found = scored(answers(table, right=right), table, ("val", "test"), seed=SEED)
    assert found == {"val": pytest.approx(expected, abs=1e-5), "test": pytest.approx(expected, abs=1e-5)}


def test_predictions_that_add_up_to_more_than_one_gain_nothing(table: Corpus) -> None:
    said = np.full((prediction_bytes(table) // 40, 10), 30.0, dtype="<f4")  # every class is certain
    assert scored(said.tobytes(), table, ("val",), seed=SEED) == {"val": pytest.approx(math.log2(10))}


def test_predictions_of_a_wrong_size_or_not_finite_have_no_score(table: Corpus) -> None:
    whole = np.frombuffer(answers(table, right=1.0), dtype="<f4").copy()
    with pytest.raises(ValueError, match=f"expected {prediction_bytes(table)}"):
        scored(whole.tobytes()[:-4], table, ("val",), seed=SEED)
    whole[-1] = np.nan
    assert scored(whole.tobytes(), table, ("val",), seed=SEED) is None


def test_predictions_the_numbers_of_the_task_are_those_of_its_script() -> None:
    defaults = {tunable.name: tunable.default for tunable in space.tunables(TASK)}
    assert script.numbers(script.shipped(TASK)).items() >= defaults.items()
    assert TASK.kind is TaskKind.PREDICTIONS
    assert space.validate({"dropout": 0.3}, TASK) == {"dropout": 0.3}


def test_predictions_the_shipped_script_learns_within_seconds(table: Corpus, tmp_path: Path) -> None:
    content, sizes = task_data(table, seed=1, n_train=TASK.train_tokens)
    (tmp_path / "data.bin").write_bytes(content)
    (tmp_path / "train.py").write_text(script.shipped(TASK))
    job = {"data": str(tmp_path / "data.bin"), "out": str(tmp_path), "seed": 1, "params": {}, **sizes}
    (tmp_path / "config.json").write_text(json.dumps(job))
    argv = [sys.executable, str(tmp_path / "train.py"), str(tmp_path / "config.json")]
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = scored((tmp_path / "predictions.bin").read_bytes(), table, HELD_OUT, seed=1)
    assert found is not None
    assert all(0.2 < bits < 0.8 for bits in found.values())


@pytest.mark.sandbox
def test_predictions_trainings_in_the_sandbox_repeat_to_the_last_bit(home: Path) -> None:
    found = [
        train(Change(params), 1, TASK, splits=("val", "select"), home=home, sandbox=find())
        for params in ({}, {}, {"dropout": 0.4})
    ]
    assert [each.status for each in found] == [TrainingStatus.OK] * 3
    assert found[0].bpb == found[1].bpb
    assert found[0].bpb != found[2].bpb


SAYS = f"""{script.BEGIN}
class Tunables:
    rate: float = 0.5
{script.END}
import json, sys
print("val_bpb:", 1 + json.load(open(sys.argv[1]))["params"].get("rate", 0.5))
"""
TOML = r"""
description = "a script that says how good it is"
script = "train.py"
[data]
corpus = "grammar"
[metric]
kind = "reported"
pattern = '^val_bpb: ([0-9.]+)'
[budget]
train_tokens = 32
cpu_s = 30
wall_s = 60
memory_gib = 1
file_mib = 1
n_processes = 16
max_params = 0
max_checkpoint_mib = 1
[[numbers]]
name = "rate"
kind = "float"
default = 0.5
category = "learning_rate"
what = "rate"
source = "a guess"
low = 0.0
high = 1.0
"""


def own_task(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / FILE).write_text(TOML)
    (folder / "train.py").write_text(SAYS)
    return folder


def test_a_self_reported_task_says_so_in_its_name(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match="a script that computes its own score can report any") as caught:
        kept_task(str(own_task(tmp_path / "mine")), tmp_path / "home")
    assert "`-self-reported`" in caught.value.hint
    kept = kept_task(str(own_task(tmp_path / "mine-self-reported")), tmp_path / "home")
    assert kept.is_self_reported


@pytest.mark.sandbox
def test_a_self_reported_score_is_what_the_script_printed(home: Path, tmp_path: Path) -> None:
    task = kept_task(str(own_task(tmp_path / "mine-self-reported")), home)
    found = train(Change({"rate": 0.25}), 1, task, splits=("val", "test"), home=home, sandbox=find())
    assert (found.status, found.bpb["test"]) == (TrainingStatus.OK, 1.25)
    silent = dataclasses.replace(task, pattern="^loss: (.*)")
    assert train(Change(), 1, silent, splits=("val",), home=home, sandbox=find()).reason == "no_score"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("step 1\nval_bpb: 1.5\nval_bpb: 1.25\nbye", 1.25),
        ("val_bpb: 1.5\nval_bpb: nan", 1.5),
        ("val_bpb: none", None),
        ("", None),
    ],
)
def test_reported_scores_are_the_last_finite_number(output: str, expected: float | None) -> None:
    assert reported(output, r"^val_bpb: (\S+)") == expected


def test_predictions_a_text_is_no_table(home: Path) -> None:
    text = corpus("grammar", home)
    with pytest.raises(TrackerError, match="the corpus `grammar` is no table"):
        rows_of(text.meta.name, np.array(text.tokens("val")))
