"""The charts of the frontier, of what fits, and of comparisons, as valid documents of Vega-Lite."""

from __future__ import annotations

from datetime import date
from typing import Any

import pandas as pd
import pytest

from app import charts, compare_charts, comparing, fitting, frontier_charts, run_charts

POINTS = pd.DataFrame(
    {
        "model": ["old closed", "new closed", "open one", "weak open"],
        "organization": ["A", "A", "B", "C"],
        "access": ["closed", "closed", "open", "open"],
        "released": [date(2025, 1, 1), date(2026, 1, 1), date(2026, 3, 1), date(2026, 4, 1)],
        "value": [140.0, 150.0, 145.0, 120.0],
        "ci_low": [138.0, 148.0, 143.0, None],
        "ci_high": [142.0, 152.0, 147.0, None],
        "is_record": [True, True, True, False],
    }
)
OFFERS = pd.DataFrame(
    {
        "model_id": ["a/small", "a/dear", "b/large"],
        "label": ["a/small", "a/dear", "b/large"],
        "basis": [fitting.MEASURED] * 3,
        "score": [0.4, 0.3, 0.6],
        "ci_low": [0.3, 0.2, 0.5],
        "ci_high": [0.5, 0.4, 0.7],
        "needs 8192": [4e9, 8e9, 16e9],
        "tokens_per_s": [3000.0, 2000.0, 1000.0],
    }
)
MODELS = ("a/one", "b/two")
SCORES = pd.DataFrame(
    {
        "task": ["sums", "sums"],
        "model": list(MODELS),
        "score": [0.5, 0.75],
        "ci_low": [0.4, 0.6],
        "ci_high": [0.6, 0.85],
        "n_items": [60, 60],
    }
)
ITEMS = pd.DataFrame(
    {"task": "sums", "doc_id": [0, 1, 2], "cluster": None, "a/one": [1.0, 0.0, 0.0], "b/two": [1.0, 1.0, 0.0]}
)


def rows_of(spec: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return list(spec["datasets"].values())


def frontier(standing: float | None) -> dict[str, Any]:
    chart = frontier_charts.frontier_chart(POINTS, unit="index", as_of=date(2026, 8, 1), standing=standing)
    return dict(chart.to_dict())


def test_open_and_closed_have_one_colour_and_one_shape_each_on_every_chart() -> None:
    (models,) = (rows for rows in rows_of(frontier(None)) if "says_interval" in rows[0])
    assert {(row["access"], row["color"]) for row in models} == {("open", "first"), ("closed", "second")}
    assert frontier_charts.GROUPS == {"open": ("first", "circle"), "closed": ("second", "diamond")}


def test_a_frontier_runs_on_to_the_last_day() -> None:
    (lines,) = (rows for rows in rows_of(frontier(None)) if set(rows[0]) == {"released", "value", "color"})
    assert sum(row["released"].startswith("2026-08-01") for row in lines) == 2


def test_the_standing_lag_is_drawn_as_long_as_it_is() -> None:
    (arrow,) = (rows for rows in rows_of(frontier(6.0)) if "says" in rows[0])
    length = pd.Timestamp(arrow[0]["to"]) - pd.Timestamp(arrow[0]["from"])
    assert (arrow[0]["says"], round(length.days / 30.4375)) == ("6.0 months", 6)
    assert not [rows for rows in rows_of(frontier(None)) if "says" in rows[0]]


def test_a_model_without_an_interval_says_so() -> None:
    (models,) = (rows for rows in rows_of(frontier(None)) if "says_interval" in rows[0])
    assert {row["model"]: row["says_interval"] for row in models}["weak open"] == "–"


def test_a_private_benchmark_is_told_from_a_public_one_without_colour() -> None:
    lags = pd.DataFrame(
        {
            "benchmark": ["Secret", "Known"],
            "months": [9.0, -1.0],
            "is_private": [True, False],
            "best_open": "x",
            "best_closed": "y",
            "newest_open": "x",
        }
    )
    spec = frontier_charts.lag_chart(lags).to_dict()
    filled = [layer for layer in spec["layer"] if layer["mark"].get("filled")]
    assert filled[0]["transform"][0] == {"filter": "datum.kind == 'private'"}
    assert frontier_charts.lag_alt(lags).endswith("from Secret with 9.0 months to Known with -1.0 months")


def test_nothing_on_the_line_costs_more_and_scores_less() -> None:
    by_memory = fitting.offers(OFFERS, cost=OFFERS["needs 8192"], context=8192)
    assert dict(zip(by_memory["model_id"], by_memory["on_frontier"], strict=True)) == {
        "a/small": True,
        "a/dear": False,
        "b/large": True,
    }
    spec = run_charts.offer_chart(by_memory, cost="needed_gb", title="GB").to_dict()
    (rows,) = rows_of(spec)
    assert {row["name"] for row in rows} == {"small", "large", ""}
    assert run_charts.offer_alt(by_memory, title="GB", task="sums").endswith(
        "Nothing beats: a/small, b/large"
    )


def test_what_is_not_measured_has_no_place_on_the_line() -> None:
    known = OFFERS.assign(basis=fitting.KNOWN)
    assert fitting.offers(known, cost=known["needs 8192"], context=8192).empty


def test_a_comparison_shows_each_model_with_its_own_mark() -> None:
    spec = compare_charts.score_chart(SCORES, MODELS).to_dict()
    (rows,) = rows_of(spec)
    assert {row["model"]: row["color"] for row in rows} == {"a/one": "first", "b/two": "third"}
    assert "second" not in compare_charts.COLORS, "the colour of closed models"
    assert compare_charts.legend_chart(MODELS).to_dict()["layer"]


def test_who_solved_what_has_a_cell_per_item_that_was_solved() -> None:
    solved = comparing.solved(ITEMS, MODELS)
    assert list(solved["doc_id"]) == [0, 1, 2]
    (rows,) = rows_of(compare_charts.solved_chart(solved, MODELS).to_dict())
    assert sorted((row["model"], row["doc_id"]) for row in rows) == [("a/one", 0), ("b/two", 0), ("b/two", 1)]
    assert compare_charts.solved_alt(solved, MODELS, "sums").endswith("a/one 1, b/two 2")


def test_the_items_that_tell_models_apart_are_those_that_some_solved() -> None:
    (row,) = comparing.split(ITEMS, MODELS).to_dict("records")
    assert (row["doc_id"], row["solved_by"], row["missed_by"]) == (1, "b/two", "a/one")


def test_a_comparison_takes_the_newest_version_of_a_suite_that_all_were_measured_with() -> None:
    common = {"task": "sums", "metric": "acc", "filter": "none"}
    runs = [
        {
            "suite": "quick",
            "suite_version": version,
            "model_id": model,
            "run_id": f"{model}{version}",
            **common,
        }
        for version, model in ((3, "a"), (2, "a"), (2, "b"), (1, "a"), (1, "b"))
    ]
    assert comparing.shared_suites(runs, ["a", "b"]) == {"quick": {"sums": {"a": "a2", "b": "b2"}}}


@pytest.mark.parametrize("other", [{"metric": "f1"}, {"filter": "strict"}], ids=["metric", "filter"])
def test_a_task_that_is_read_another_way_is_not_compared(other: dict[str, str]) -> None:
    common = {"suite": "quick", "suite_version": 1, "task": "sums", "metric": "acc", "filter": "none"}
    runs = [{"model_id": "a", "run_id": "a1", **common}, {"model_id": "b", "run_id": "b1", **common, **other}]
    assert comparing.shared_suites(runs, ["a", "b"]) == {}


def test_a_claim_stands_beside_what_was_measured() -> None:
    claims = pd.DataFrame(
        {
            "task": ["sums"],
            "measured": [0.5],
            "ci_low": [0.4],
            "ci_high": [0.6],
            "claimed": [0.8],
            "n_items": [60],
            "reporter": ["Acme"],
        }
    )
    spec = charts.claim_chart(claims).to_dict()
    (rows,) = rows_of(spec)
    assert (rows[0]["says_score"], rows[0]["says_chance"]) == ("50.0 %", "claimed 80.0 %")
    assert charts.claim_alt(claims).endswith("sums claimed 80.0 %, measured 50.0 %")
