"""Techniques of 2016 to 2026, each as somebody would add it: none may be called a cheat.

A training may fail where a technique takes more computing than a tier allows, is deterministic under every
seed, or gives answers that depend on more than the tokens before; it says why then, and is no cheat.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from runners.research.evaluation.script_content import MAX_DATA_BYTES, MAX_NEW_BYTES, script_content
from runners.research.judgement import CAUGHT, FAILED, OK, judge_script, judged_script
from runners.research.problem.script import shipped
from runners.research.problem.tiers import CPU, SMOKE
from runners.sandbox import run as sandboxes

FOLDER = Path(__file__).with_name("honest_scripts")
SUFFIX = ".py.txt"  # fragments: not to be linted or imported
SCRIPTS = sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))
# a step of `smoke` is so small that a heavier one may pass the limit, the more so on a busy machine
TOO_MUCH = "too_much_computing"
MAY_FAIL = {  # with the reason
    "deterministic_init": "seed",
    "deep_equilibrium": "not_repeatable",  # it stops where the whole batch has settled
    "dropout_left_on": "not_repeatable",
    "expert_capacity": "not_repeatable",  # what an expert drops depends on the batch
    "norm_over_time": "not_causal",
    "segment_memory": "not_repeatable",
}
# refused earlier than now, on both tiers that need no card
ON_CPU = ("multi_token_heads", "label_smoothing", "batch_schedule", "checkpointing_and_adamw", "z_loss")


def honest_script(name: str) -> str:
    return (FOLDER / f"{name}{SUFFIX}").read_text()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def test_honest_scripts_are_many_and_small() -> None:
    assert len(SCRIPTS) >= 100
    assert MAY_FAIL.keys() <= set(SCRIPTS)
    for name in SCRIPTS:
        text = judged_script(honest_script(name), SMOKE)
        compile(text, name, "exec")
        found = script_content(text, shipped(SMOKE))
        assert found.new_bytes < MAX_NEW_BYTES / 4, name
        assert found.data_bytes < MAX_DATA_BYTES / 4, name


@pytest.mark.studies
@pytest.mark.parametrize("name", SCRIPTS)
def test_honest_scripts_are_not_caught(name: str, home: Path) -> None:
    text = judged_script(honest_script(name), SMOKE)
    for found in judge_script(text, (7, 8), SMOKE, home=home, sandbox=sandboxes.find()):
        assert found.verdict == OK or found.reason in (TOO_MUCH, MAY_FAIL.get(name)), found
        assert found.verdict != CAUGHT, found


@pytest.mark.studies
@pytest.mark.parametrize("name", ON_CPU)
def test_honest_scripts_are_not_caught_on_the_tier_cpu(name: str, home: Path) -> None:
    text = judged_script(honest_script(name), CPU)
    found = judge_script(text, (7,), CPU, home=home, sandbox=sandboxes.find())[0]
    assert found.verdict == OK or found.reason in (TOO_MUCH, MAY_FAIL.get(name)), found
    assert found.verdict != CAUGHT, found


@pytest.mark.sandbox
@pytest.mark.parametrize("name", ["expert_capacity", "norm_over_time"])
def test_honest_scripts_whose_answers_depend_on_more_are_told_so(name: str, home: Path) -> None:
    text = judged_script(honest_script(name), SMOKE)
    found = judge_script(text, (7,), SMOKE, home=home, sandbox=sandboxes.find())[0]
    assert (found.verdict, found.reason) == (FAILED, MAY_FAIL[name])
    assert "earlier tokens of its own window alone" in (found.detail or "")


@pytest.mark.sandbox
@pytest.mark.parametrize("name", ["multi_token_heads", "label_smoothing"])
def test_honest_scripts_with_another_loss_are_taken(name: str, home: Path) -> None:
    text = judged_script(honest_script(name), SMOKE)
    found = judge_script(text, (7,), SMOKE, home=home, sandbox=sandboxes.find())[0]
    assert found.verdict == OK or found.reason == TOO_MUCH, found
