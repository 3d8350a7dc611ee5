"""The limit of computing does not depend on how busy the machine was when the shipped script was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from runners.research.attacks.run import attack_script
from runners.research.corpora.build import corpus
from runners.research.evaluation.cheat_checks import TrainingCost
from runners.research.judgement import judged_script
from runners.research.problem.tiers import SMOKE
from runners.research.training import cache
from runners.research.training.least_cost import LEAST_COSTS, least_cost
from runners.sandbox import run as sandboxes
from tests.runners.research.test_honest_scripts import honest_script
from tracker.records.studies import Change, Training, TrainingStatus
from tracker.serialization import dump_json

COST = TrainingCost(2.0, 4.0, 1.0, {"val": 2.0}, 0.5)
SEED = 7


def test_least_cost_is_that_of_each_part_and_stays(tmp_path: Path) -> None:
    assert least_cost(tmp_path, "a", COST) == COST
    mixed = TrainingCost(1.0, 6.0, 2.0, {"val": 1.9}, 0.25)
    assert least_cost(tmp_path, "a", mixed) == TrainingCost(1.0, 4.0, 1.0, {"val": 1.9}, 0.25)
    assert least_cost(tmp_path, "b", mixed) == mixed
    assert least_cost(tmp_path, "a", COST) == TrainingCost(1.0, 4.0, 1.0, {"val": 2.0}, 0.25)


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', '{"a": {"head_s": "x"}}', '{"a": {"head_s": 1}}'])
def test_least_cost_a_damaged_file_is_begun_again(tmp_path: Path, content: str) -> None:
    (tmp_path / LEAST_COSTS).write_text(content)
    assert least_cost(tmp_path, "a", COST) == COST
    assert json.loads((tmp_path / LEAST_COSTS).read_text())["a"]["steps_s"] == 4.0


def trained(home: Path, script: str, *, measured_as: float, imports_as: float = 1.0) -> Training:
    """The training of a script, the shipped one's cost having been measured as so many times what it is."""
    box = sandboxes.find()
    usual = cache.cached(Change(), SEED, SMOKE, splits=cache.KEPT_SPLITS, home=home, sandbox=box)
    told = {
        name: value * measured_as if name.endswith("_s") else value for name, value in usual.evidence.items()
    } | {"torch_cpu_s": usual.evidence["torch_cpu_s"] * imports_as}
    path = home / "trainings" / f"{usual.key}.json"
    path.write_bytes(dump_json(replace(usual, evidence=told)))
    return cache.train(Change(script=script), SEED, SMOKE, splits=cache.KEPT_SPLITS, home=home, sandbox=box)


@pytest.mark.sandbox
@pytest.mark.parametrize(("measured_as", "imports_as"), [(1.65, 1.0), (3.0, 2.0)])
def test_least_cost_after_a_busy_hour_no_more_computing_is_allowed(
    tmp_path: Path, measured_as: float, imports_as: float
) -> None:
    script = attack_script("train_before_answering", SMOKE, {})
    found = trained(tmp_path, script, measured_as=measured_as, imports_as=imports_as)
    assert (found.status, found.reason) == (TrainingStatus.REFUSED, "too_much_computing")


@pytest.mark.sandbox
def test_least_cost_in_a_busy_hour_no_less_computing_is_allowed(tmp_path: Path) -> None:
    found = trained(tmp_path, judged_script(honest_script("label_smoothing"), SMOKE), measured_as=0.05)
    assert found.status is TrainingStatus.OK, found.detail
    name = cache.key(Change(), 0, SMOKE, corpus(SMOKE.corpus, tmp_path).hash)
    assert json.loads((tmp_path / "trainings" / LEAST_COSTS).read_text())[name]["steps_s"] > 0
