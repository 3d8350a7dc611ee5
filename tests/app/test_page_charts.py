"""The charts of the frontier, of what fits, and of comparisons, as valid documents of Vega-Lite."""

from __future__ import annotations

from datetime import date
from typing import Any

import pandas as pd
import pytest

from app.pages.compare import charts as compare_charts
from app.pages.compare import rows as comparing
from app.pages.frontier import charts as frontier_charts
from app.pages.frontier import measured, over_time, record_names
from app.pages.model import charts as model_charts
from app.pages.run_it import charts as run_charts
from tracker.answers import comparison, fits
from tracker.answers.best_that_fits import BestSoFar, BestThatFits, CardBudget
from tracker.answers.measured import MeasuredAnswer, MeasuredModel
from tracker.frontier.outlook import CatchUp
from tracker.frontier.placement import Placement

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
        "basis": [fits.MEASURED] * 3,
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


def test_frontier_chart_gives_open_and_closed_one_color_and_shape_each() -> None:
    (models,) = (rows for rows in rows_of(frontier(None)) if "says_interval" in rows[0])
    assert {(row["access"], row["color"]) for row in models} == {("open", "first"), ("closed", "second")}
    assert frontier_charts.GROUPS == {"open": ("first", "circle"), "closed": ("second", "diamond")}


def test_frontier_chart_steps_continue_to_the_last_day() -> None:
    (lines,) = (rows for rows in rows_of(frontier(None)) if set(rows[0]) == {"released", "value", "color"})
    assert sum(row["released"].startswith("2026-08-01") for row in lines) == 2


def test_frontier_chart_draws_the_standing_lag_to_scale() -> None:
    (arrow,) = (rows for rows in rows_of(frontier(6.0)) if "from" in rows[0])
    length = pd.Timestamp(arrow[0]["to"]) - pd.Timestamp(arrow[0]["from"])
    assert (arrow[0]["says"], round(length.days / 30.4375)) == ("6.0 months", 6)
    assert not [rows for rows in rows_of(frontier(None)) if "from" in rows[0]]


def test_frontier_chart_leads_to_the_day_on_which_open_models_are_expected_at_the_closed_level() -> None:
    ahead = CatchUp("new closed", 150.0, date(2026, 12, 1), date(2026, 9, 1), None)
    chart = frontier_charts.frontier_chart(
        POINTS, unit="index", as_of=date(2026, 8, 1), standing=None, ahead=ahead
    )
    (bar,) = (rows for rows in rows_of(dict(chart.to_dict())) if "from" in rows[0])
    assert bar[0]["says"] == "expected Dec 2026"
    assert bar[0]["from"].startswith("2026-09-01")
    assert bar[0]["to"].startswith("2027-12-01")  # an open end is drawn for a year


def test_frontier_chart_of_the_last_year_begins_with_the_record_that_stood() -> None:
    chart = frontier_charts.frontier_chart(
        POINTS, unit="index", as_of=date(2026, 8, 1), standing=None, since=date(2025, 8, 1)
    )
    found = rows_of(dict(chart.to_dict()))
    (models,) = (rows for rows in found if "says_interval" in rows[0])
    assert {row["model"] for row in models} == {"new closed", "open one", "weak open"}
    (lines,) = (rows for rows in found if set(rows[0]) == {"released", "value", "color"})
    assert next((row["value"], row["released"][:10]) for row in lines) == (140.0, "2025-08-01")


def test_names_of_record_holders_lie_on_no_other_name() -> None:
    every = pd.concat([POINTS[POINTS["is_record"]]] * 6, ignore_index=True)
    crowd = every.assign(released=pd.to_datetime(every["released"]), value=every["value"] + every.index)
    named = record_names.named_records(crowd, until=pd.Timestamp(2026, 8, 1), height_px=400.0)
    assert 0 < named["on_phone"].sum() <= named["on_desk"].sum() < len(crowd)


def test_frontier_chart_marks_a_missing_interval() -> None:
    (models,) = (rows for rows in rows_of(frontier(None)) if "says_interval" in rows[0])
    assert {row["model"]: row["says_interval"] for row in models}["weak open"] == "–"


def measured_points(*, has_intervals: bool) -> pd.DataFrame:
    """Three models on one day, of which the second stands just below the first."""
    places = [
        Placement(v, v - 5, v + 9, "G6", 12.0, 9.0, 14.0, None, ("mmlu",), True, "") for v in (130, 129, 110)
    ]
    models = tuple(
        MeasuredModel(
            model_id=f"acme/m{n} & co",
            revision="a" * 40,
            quantization=None,
            thinking=None,
            run_id=f"run-{n}",
            suite="anchor-small",
            measured_on=date(2026, 5, 1),
            released=None,
            n_params=None,
            weights_bytes=None,
            placement=place,
            published_as=None,
            published_index=None,
        )
        for n, place in enumerate(places)
    )
    day = date(2026, 8, 1)
    return measured.point_rows(MeasuredAnswer(day, day, has_intervals, models, ()))


def test_frontier_chart_marks_measured_models_with_interval_link_and_the_names_that_fit() -> None:
    here = measured_points(has_intervals=True)
    chart = frontier_charts.frontier_chart(POINTS, here, unit="index", as_of=date(2026, 8, 1), standing=None)
    spec = dict(chart.to_dict())
    (rows,) = (rows for rows in rows_of(spec) if "says_measured" in rows[0])
    assert {row["color"] for row in rows} == {"third"}
    assert [row["label"] for row in rows] == ["m0 & co", "", "m2 & co"]
    assert rows[0]["href"] == "model?model=acme%2Fm0+%26+co&run=run-0"
    assert (rows[0]["says_interval"], rows[0]["says_months"]) == ("125.0–139.0", "12.0 months (G6)")
    linked = [layer for layer in spec["layer"] if "href" in layer.get("encoding", {})]
    assert all("tooltip" in layer["encoding"] for layer in linked)  # else Vega-Lite takes no click
    links = [layer["mark"]["type"] for layer in linked]
    assert links == ["point", "text", "text", "point", "text"]  # published, named ones, measured
    assert [{"says": "measured here"}] in rows_of(spec)


def test_frontier_chart_shows_measured_models_before_their_intervals() -> None:
    here = measured_points(has_intervals=False)
    chart = frontier_charts.frontier_chart(POINTS, here, unit="index", as_of=date(2026, 8, 1), standing=None)
    (rows,) = (rows for rows in rows_of(dict(chart.to_dict())) if "says_measured" in rows[0])
    assert [(row["ci_low"], row["says_interval"]) for row in rows] == [(None, "–")] * 3


def test_frontier_chart_without_measured_models_has_no_legend_of_them() -> None:
    assert not [rows for rows in rows_of(frontier(None)) if rows[0].get("says") == "measured here"]


def test_curve_chart_has_both_frontiers_the_steps_and_what_was_measured() -> None:
    budget = CardBudget(24.0, 4.0)
    steps = (
        BestSoFar("small one", "B", date(2025, 6, 1), 120.0, None, None, 7_000_000_000, 5.3, None, None),
        BestSoFar("larger one", "B", date(2026, 3, 1), 140.0, 138.0, 141.0, 27_000_000_000, 16.1, 7.7, None),
    )
    curve = BestThatFits(budget, "index", date(2026, 8, 1), "G3", steps, "")
    here = pd.DataFrame({"model": ["m/x"], "released": [date(2026, 5, 1)], "value": [130.0], "says": ["s"]})
    spec = run_charts.curve_chart(
        run_charts.curve_rows(curve), POINTS[POINTS["is_record"]], here, as_of=curve.as_of
    ).to_dict()
    (points,) = (rows for rows in rows_of(spec) if "says_months" in rows[0])
    assert [row["says_months"] for row in points] == ["–", "7.7 months (G3)"]
    lines = [layer for layer in spec["layer"] if layer["mark"]["type"] == "line"]
    assert len(lines) == 3
    assert [rows for rows in rows_of(spec) if rows[0].get("model") == "m/x"]
    assert "fits 24 GB at 4 bits" in run_charts.curve_alt(curve)


def test_gap_over_time_chart_has_a_band_only_where_there_is_an_interval() -> None:
    months = pd.DataFrame(
        {
            "as_of": [date(2026, 5, 31), date(2026, 6, 30), date(2026, 7, 31)],
            "value": [5.0, 5.5, 6.0],
            "ci_low": [None, 5.0, 5.2],
            "ci_high": [None, 6.0, 6.9],
            "n": 9,
        }
    )
    spec = over_time.history_chart(months, definition="G1", unit="months").to_dict()
    band, line = rows_of(spec)
    assert [row["ci_high"] for row in band] == [6.0, 6.9]
    assert [row["says_interval"] for row in line] == ["–", "5.0–6.0", "5.2–6.9"]
    assert spec["layer"][1]["encoding"]["y"]["axis"]["title"] == "Months behind (G1)"


def test_lag_chart_separates_private_from_public_without_color() -> None:
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
    assert frontier_charts.lag_alt(lags).endswith("from 9.0 months on Secret to -1.0 months on Known")


def test_lag_chart_shows_the_largest_lags_of_more_than_fit() -> None:
    names = [f"benchmark {n}" for n in range(frontier_charts.SHOWN_LAGS + 7)]
    same = {"is_private": True, "best_open": "x", "best_closed": "y", "newest_open": "x"}
    lags = pd.DataFrame({"benchmark": names, "months": range(len(names), 0, -1), **same})
    (rows,) = frontier_charts.lag_chart(lags).to_dict()["datasets"].values()
    assert [row["benchmark"] for row in rows] == names[: frontier_charts.SHOWN_LAGS]


def test_offer_chart_line_joins_only_undominated_models() -> None:
    by_memory = fits.with_frontier(OFFERS, cost=OFFERS["needs 8192"], context=8192)
    assert dict(zip(by_memory["model_id"], by_memory["on_frontier"], strict=True)) == {
        "a/small": True,
        "a/dear": False,
        "b/large": True,
    }
    spec = run_charts.offer_chart(by_memory, cost="needed_gb", title="Memory").to_dict()
    (rows,) = rows_of(spec)
    assert {row["name"] for row in rows} == {"small", "large", ""}
    assert run_charts.offer_alt(by_memory, title="Memory", task="sums").endswith(
        "on sums and memory. Pareto-optimal: a/small, b/large"
    )


def test_offer_chart_leaves_out_unmeasured_models() -> None:
    known = OFFERS.assign(basis=fits.KNOWN)
    assert fits.with_frontier(known, cost=known["needs 8192"], context=8192).empty


def test_compare_chart_gives_each_model_its_own_mark() -> None:
    spec = compare_charts.score_chart(SCORES, MODELS).to_dict()
    (rows,) = rows_of(spec)
    assert {row["model"]: row["color"] for row in rows} == {"a/one": "first", "b/two": "third"}
    assert "second" not in compare_charts.COLORS, "the color of closed models"
    assert compare_charts.model_legend(MODELS).to_dict()["layer"]


def test_compare_chart_has_one_cell_per_solved_item() -> None:
    solved = comparing.solved_rows(ITEMS, MODELS)
    assert list(solved["doc_id"]) == [0, 1, 2]
    (rows,) = rows_of(compare_charts.solved_chart(solved, MODELS).to_dict())
    assert sorted((row["model"], row["doc_id"]) for row in rows) == [("a/one", 0), ("b/two", 0), ("b/two", 1)]
    assert compare_charts.solved_alt(solved, MODELS, "sums").endswith("a/one 1, b/two 2")


def test_compare_rows_split_lists_items_that_only_some_solved() -> None:
    (row,) = comparing.split_rows(ITEMS, MODELS).to_dict("records")
    assert (row["doc_id"], row["solved_by"], row["missed_by"]) == (1, "b/two", "a/one")


def test_compare_rows_use_the_newest_suite_version_of_all_models() -> None:
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
    assert comparison.shared_suites(runs, ["a", "b"]) == {"quick": {"sums": {"a": "a2", "b": "b2"}}}


@pytest.mark.parametrize("other", [{"metric": "f1"}, {"filter": "strict"}], ids=["metric", "filter"])
def test_compare_rows_skip_a_task_with_another_metric(other: dict[str, str]) -> None:
    common = {"suite": "quick", "suite_version": 1, "task": "sums", "metric": "acc", "filter": "none"}
    runs = [{"model_id": "a", "run_id": "a1", **common}, {"model_id": "b", "run_id": "b1", **common, **other}]
    assert comparison.shared_suites(runs, ["a", "b"]) == {}


def test_claim_chart_shows_claimed_and_measured_scores() -> None:
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
    spec = model_charts.claim_chart(claims).to_dict()
    (rows,) = rows_of(spec)
    assert (rows[0]["says_score"], rows[0]["says_chance"]) == ("50.0%", "80.0%")
    assert model_charts.claim_alt(claims).endswith("sums claimed 80.0%, measured 50.0%")
