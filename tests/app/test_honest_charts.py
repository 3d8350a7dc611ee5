"""What every chart keeps: its caption, contrast, whole intervals, no name on another, devices marked."""

from __future__ import annotations

import tomllib
from datetime import date
from typing import Any

import pandas as pd
import pytest

from app.pages.frontier.record_names import named_records
from app.pages.run_it.charts import RUN_SPEED, offer_chart
from app.widgets.cached_chart import EPOCH, ChartCaption, captioned
from app.widgets.chart_theme import TEXT_COLORS
from app.widgets.dot_rows import NAME_PX, name_px
from tests.conftest import ROOT

LEAST_CONTRAST = 4.5  # WCAG 2.2 AA, text of any size
OFFERS = pd.DataFrame(
    {
        "label": ["a/one", "b/two", "c/three"],
        "name": ["one", "two", ""],
        "score": [0.2, 0.3, 0.25],
        "ci_low": [0.1, 0.295, 0.2],
        "ci_high": [0.28, 0.301, 0.32],
        "on_frontier": [True, True, False],
        "needed_gib": [4.0, 9.0, 12.0],
        RUN_SPEED: [1200.0, 90.0, 11.0],
        "device": ["H100", "H100", "cpu"],
    }
)


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def layers(spec: dict[str, Any], mark: str) -> list[dict[str, Any]]:
    return [layer for layer in spec["layer"] if layer["mark"]["type"] == mark]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_labels_of_axes_have_the_contrast_of_text_on_the_background_of_each_theme(theme: str) -> None:
    config = tomllib.loads((ROOT / "app" / ".streamlit" / "config.toml").read_text())
    background = luminance(config["theme"][theme]["backgroundColor"])
    color = captioned({}, None, theme=theme)["config"]["axis"]["labelColor"]
    assert color == TEXT_COLORS[theme]
    lighter, darker = sorted((luminance(color), background), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= LEAST_CONTRAST


def test_a_saved_picture_carries_title_day_and_source() -> None:
    shown = captioned({"height": 100}, ChartCaption("Scores on MMLU", date(2026, 8, 11), EPOCH), theme=None)
    assert shown["title"]["text"] == "Scores on MMLU"
    assert shown["title"]["subtitle"] == [f"data of 11 Aug 2026 · {EPOCH} · Open-weight tracker"]
    assert shown["height"] > 100, "the title takes nothing from the chart"


def test_a_long_rank_leaves_the_name_free() -> None:
    assert name_px(["1", "12"]) == NAME_PX
    assert name_px(["1", "2823"]) >= NAME_PX + 2 * 8


def test_whole_intervals_are_within_the_axis_of_scores() -> None:
    spec = offer_chart(OFFERS, cost="needed_gib", title="Memory", task="sums").to_dict()
    (line,) = layers(spec, "line")
    assert line["encoding"]["y"]["scale"]["domain"] == [0.1, 0.32]
    assert line["encoding"]["y"]["axis"]["title"] == "Score on sums"
    assert line["mark"]["interpolate"] == "step-after", "nothing stands between two models"


def test_speeds_of_several_devices_are_marked_and_not_joined() -> None:
    several = offer_chart(OFFERS, cost=RUN_SPEED, title="Tokens per second").to_dict()
    assert not layers(several, "line")
    (dots,) = layers(several, "point")
    assert dots["encoding"]["shape"]["scale"]["domain"] == ["H100", "cpu"]
    assert "measured on" in [one["title"] for one in dots["encoding"]["tooltip"]]
    one = offer_chart(OFFERS.head(2), cost=RUN_SPEED, title="Tokens per second").to_dict()
    assert layers(one, "line")[0]["mark"]["interpolate"] == "step-before"


def test_no_record_is_named_where_a_measured_model_has_its_label() -> None:
    day = pd.Timestamp(2026, 1, 1)
    rows = pd.DataFrame(
        {
            "model": ["first", "record"],
            "access": ["open", "open"],
            "released": [pd.Timestamp(2024, 1, 1), day],
            "value": [100.0, 150.0],
            "is_record": [True, True],
        }
    )
    here = pd.DataFrame(
        {"label": ["measured"], "released": [day + pd.Timedelta(days=60)], "value": [148.0]}
    ).assign(ci_low=140.0, ci_high=155.0)
    until = pd.Timestamp(2026, 12, 1)
    free = named_records(rows, until=until, height_px=370)
    taken = named_records(rows, until=until, height_px=370, here=here)
    assert list(free.set_index("model")["on_desk"]["record":"record"]) == [True]
    assert list(taken.set_index("model")["on_desk"]["record":"record"]) == [False]
