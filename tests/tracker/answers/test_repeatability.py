"""The flip rate of two runs of the same model: shown alike by every face."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

import tracker
from tests.builders.some_runs import model as some_model
from tests.tracker.cli.test_compare import one_task, scored, store
from tracker.answers.repeatability import repeatability, repeatability_line
from tracker.cli import main
from tracker.errors import UnknownNameError
from tracker.records import EngineInfo, Item, Run
from tracker.settings import Settings

ATLAS = some_model("acme/atlas-8b")


def _by_vllm(measured: tuple[Run, list[Item]]) -> tuple[Run, list[Item]]:
    run, answers = measured
    score = replace(run.scores[0], fingerprint="f" * 32)
    engine = EngineInfo("vllm", "0.32.0", "float32", "cpu", 2048)
    return replace(run, engine=engine, scores=(score,)), answers


def test_repeatability_is_the_share_of_items_with_another_score_on_every_face(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    first = one_task(1, scored([1.0, 0.0] * 10), ATLAS)
    second = _by_vllm(one_task(2, scored([1.0, 0.0] * 9 + [0.0, 0.0]), ATLAS))
    store(settings, first, second)
    found = repeatability(second[0].run_id, ATLAS.model_id, settings)
    assert found is not None
    assert (found.n_items, found.n_flips, found.flip_rate) == (20, 1, 0.05)
    assert 0 < found.ci_low < 0.05 < found.ci_high < 0.3
    assert (found.earlier_run_id, found.differs[:2]) == (first[0].run_id, ("engine", "engine_version"))
    assert repeatability(first[0].run_id, ATLAS.model_id, settings) is None
    assert tracker.open_home(settings.home).repeatability(ATLAS.model_id, second[0].run_id) == found
    with pytest.raises(UnknownNameError, match="no run of"):
        repeatability("none", ATLAS.model_id, settings)
    main(["show", ATLAS.model_id, "--json"])
    runs: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["runs"]
    shown = {one["run_id"]: one["repeatability"] for one in runs}
    assert shown[second[0].run_id]["flip_rate"] == found.flip_rate
    assert shown[first[0].run_id] is None
    main(["show", ATLAS.model_id])
    assert repeatability_line(asdict(found)) in " ".join(capsys.readouterr().out.split())


def test_repeatability_answers_that_were_reused_are_no_second_answers(settings: Settings) -> None:
    first, second = (one_task(number, scored([1.0, 0.0] * 10), ATLAS) for number in (1, 2))
    store(settings, first, second)
    assert repeatability(second[0].run_id, ATLAS.model_id, settings) is None


def test_repeatability_of_other_weights_is_not_compared(settings: Settings) -> None:
    first = one_task(1, scored([1.0, 0.0] * 10), ATLAS)
    other = replace(ATLAS, revision="9" * 40)
    second = _by_vllm(one_task(2, scored([1.0, 0.0] * 10), other))
    store(settings, first, second)
    assert repeatability(second[0].run_id, ATLAS.model_id, settings) is None
