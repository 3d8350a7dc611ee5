"""The charts as the specifications that the browser gets."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from app.pages.leaderboard.charts import task_alt, task_chart
from app.pages.model.charts import run_alt, run_chart
from app.widgets.dot_rows import SHOWN_MODELS
from tracker.answers.leaderboard import with_labels, with_ranks


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    """Leaderboard rows, each with what a row has unless it says otherwise."""
    common = {
        "suite": "quick",
        "task": "sums",
        "metric": "acc",
        "chance": 0.25,
        "n_items": 60,
        "engine": "vllm",
        "dtype": "bfloat16",
        "quantization": None,
        "revision": "a" * 40,
        "run_id": "20260101T000000-000001",
    }
    return with_ranks(with_labels(pd.DataFrame([common | row for row in rows])))


def scored(model_id: str, score: float, low: float | None, high: float | None, **more: Any) -> dict[str, Any]:
    return {"model_id": model_id, "score": score, "ci_low": low, "ci_high": high, **more}


BOARD = (scored("a/low", 0.2, 0.1, 0.3), scored("a/high", 0.8, 0.7, 0.9), scored("a/near", 0.75, 0.65, 0.85))


def spec_rows(spec: dict[str, Any]) -> list[dict[str, Any]]:
    (rows,) = spec["datasets"].values()
    return rows


def layer(spec: dict[str, Any], mark: str, **encoding: str) -> dict[str, Any]:
    """The one layer of that mark whose channels read those fields."""
    found = [
        part
        for part in spec["layer"]
        if part["mark"]["type"] == mark
        and all(part["encoding"][channel].get("field") == field for channel, field in encoding.items())
    ]
    assert len(found) == 1
    return found[0]


def test_task_chart_orders_models_and_shares_ranks() -> None:
    rows = spec_rows(task_chart(frame(*BOARD)).to_dict())
    assert [(row["mark"], row["name"]) for row in rows] == [("1", "a/high"), ("1", "a/near"), ("3", "a/low")]


def test_task_chart_has_dot_interval_and_chance_tick() -> None:
    spec = task_chart(frame(*BOARD)).to_dict()
    assert layer(spec, "point", x="score")["encoding"]["x"]["scale"] == {"domain": [0, 1], "nice": False}
    assert layer(spec, "rule", x="ci_low")["encoding"]["x2"]["field"] == "ci_high"
    assert layer(spec, "tick", x="chance")


def test_task_chart_has_percent_only_on_the_axis() -> None:
    spec = task_chart(frame(*BOARD)).to_dict()
    assert [row["score"] for row in spec_rows(spec)] == [0.8, 0.75, 0.2]
    assert layer(spec, "point", x="score")["encoding"]["x"]["axis"]["format"] == "%"


def test_task_chart_uses_the_first_theme_color_for_scores_and_the_last_for_text() -> None:
    spec = task_chart(frame(*BOARD)).to_dict()
    assert layer(spec, "point", x="score")["transform"] == [{"as": "color", "calculate": "'first'"}]
    assert layer(spec, "text", text="name")["transform"] == [{"as": "color", "calculate": "'ink'"}]


def test_task_chart_draws_no_bar_without_an_interval() -> None:
    (row,) = spec_rows(task_chart(frame(scored("a/one", 1.0, None, None))).to_dict())
    assert (row["ci_low"], row["ci_high"], row["says_interval"]) == (None, None, "–")


def test_task_chart_shows_the_best_and_fits_two_screens() -> None:
    many = [scored(f"a/m{i}", i / 1000, i / 1000, i / 1000) for i in range(500)]
    spec = task_chart(frame(*many)).to_dict()
    assert [row["name"] for row in spec_rows(spec)][:2] == ["a/m499", "a/m498"]
    assert len(spec_rows(spec)) == SHOWN_MODELS


def test_task_chart_keeps_odd_characters_in_names() -> None:
    odd = "we*ird_[org]/<b>mo`del</b> & $x^2$"
    (row,) = spec_rows(task_chart(frame(scored(odd, 0.5, 0.4, 0.6))).to_dict())
    assert row["name"] == odd


def test_run_chart_keeps_the_task_order_of_the_suite() -> None:
    tasks = frame(scored("a/one", 0.5, 0.4, 0.6, task="zebra"), scored("a/one", 0.9, 0.8, 1.0, task="ant"))
    assert [row["name"] for row in spec_rows(run_chart(tasks).to_dict())] == ["zebra", "ant"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            lambda rows: task_alt("sums", rows),
            "sums: 3 models ranked by score with 95% intervals, from a/high at 80.0%"
            " to a/low at 20.0%; guessing scores 25.0%",
        ),
        (
            run_alt,
            "Scores of one run with 95% intervals: sums 80.0%, sums 75.0%, sums 20.0%",
        ),
    ],
    ids=["task", "run"],
)
def test_dot_charts_have_alt_text(words: Any, expected: str) -> None:
    assert words(frame(*BOARD)) == expected
