"""A bench of a model whose memory cannot be predicted is tried as asked, and says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runners.hardware import describe_hardware
from runners.memory.fit import plan_fit
from tracker.bench.run import with_fitting_settings
from tracker.records import EngineSettings, Job, Model


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, "0.5"), ("many", "many"), (-3, "-3"), (float("nan"), "nan"), (True, "True"), ([1, "x"], "x")],
    ids=str,
)
def test_what_cannot_be_predicted_is_told_and_tried_as_asked(
    value: Any, shown: str, model_folder: Path
) -> None:
    config = model_folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_key_value_heads": value}))
    model = Model("acme/tiny-1b", "sha256:1", path=str(model_folder))
    settings = EngineSettings(engine="transformers", seed=3)
    job = Job(model, settings, (), str(model_folder))
    told = with_fitting_settings(job, describe_hardware())
    assert (told.settings, told.fit) == (settings, None)
    (warning,) = told.warnings
    assert warning == (
        f"fit: its memory cannot be predicted: `num_key_value_heads` in config.json is `{shown}`; "
        "it is tried as asked"
    )
    assert plan_fit(model, settings, describe_hardware()).fit is None
