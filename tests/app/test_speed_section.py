"""The speed of a model's server on its page, beside what the other faces say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.http import api
from tests.builders.speeds import CARD, level, speed, store_speed
from tests.builders.store_builder import build_store
from tests.doubles.app_visit import handed_over, said, visit
from tests.doubles.command import command
from tracker.answers.speed import read_speeds, seconds_text
from tracker.records.speed import SpeedStatus
from tracker.settings import Settings

MODEL = "acme/atlas-2-8b"


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = build_store(tmp_path)
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    return settings


def test_speed_section_shows_each_measurement_with_its_device(built: Settings) -> None:
    lost = speed("20261125-000000-5beed6", MODEL, status=SpeedStatus.PARTIAL, reason="lost_requests",
                 levels=(level(1, n_answered=0, energy_j=None),))  # fmt: skip
    store_speed(built, speed(model_id=MODEL), lost)
    page = visit("model", model=MODEL)
    assert "Speed" in [header.value for header in page.header]
    assert said(page).replace("\\", "").count(f"vllm 0.32.0 on {CARD}") == 2
    tables = [table.value for table in page.dataframe if "goodput" in table.value]
    newest = read_speeds(built, MODEL)
    assert [list(table["concurrency"]) for table in tables] == [[1], [1, 4]]
    assert tables[0]["ttft"].tolist() == ["–"]
    assert tables[1]["ttft"][0].startswith(seconds_text(newest[1]["levels"][0]["ttft_s"]))
    assert tables[1]["joules"].tolist() == [one["joules_per_token"] for one in newest[1]["levels"]]
    rows = handed_over("model", model=MODEL)["speeds.csv"]
    assert list(rows["device"]) == [CARD] * 3
    assert list(rows["output_tokens_per_s"]) == [
        one["output_tokens_per_s"] for run in newest for one in run["levels"]
    ]


def test_speed_section_without_a_measurement_names_the_command(built: Settings) -> None:
    page = said(visit("model", model=MODEL))
    assert "bench" in page
    assert "--speed" in page.replace("\\", "")


def test_speed_is_the_same_in_the_json_of_the_app(built: Settings) -> None:
    store_speed(built, speed(model_id=MODEL))
    (of_app,) = api.models_route({"model": MODEL})["speeds"]
    (of_command,) = json.loads(command("show", MODEL, "--json").stdout)["speeds"]
    assert of_app == of_command
