"""`tracker frontier` and `tracker index`: the JSON contract, and one clear sentence for bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tracker.cli import main
from tracker.frontier.definitions import DEFINITIONS, HEADLINE, MONTHS
from tracker.frontier.tables import load_published_index

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def warm_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for the module: draws are made once and then read."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _home(warm_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(warm_home))


def answer(capsys: Capture, *arguments: str) -> dict[str, Any]:
    main([*arguments, "--json"])
    out = capsys.readouterr().out
    assert "NaN" not in out
    document = json.loads(out)
    assert isinstance(document, dict)
    return document


def refusal(capsys: Capture, *arguments: str) -> tuple[int | str | None, str]:
    with pytest.raises(SystemExit) as raised:
        main(list(arguments))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return raised.value.code, captured.err


def test_frontier_keeps_the_contract(capsys: Capture) -> None:
    document = answer(capsys, "frontier")
    assert (document["as_of"], document["vintage"]) == ("2026-08-11", "2026-08-11")
    assert document["best_open"]["model"] == "Kimi K3"
    assert document["best_closed"]["model"] == "GPT-5.6 Sol"
    rows = document["definitions"]
    assert [row["id"] for row in rows] == ["G1", "G2", "G3", "G4", "G5", "G6", "G7"]
    for row in rows:
        assert set(row) >= {"id", "unit", "value", "ci_low", "ci_high", "n", "n_censored"}
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
    assert any("Epoch AI" in line for line in document["attribution"])


def test_the_lag_published_under_the_rule_of_g2_is_reproduced(capsys: Capture) -> None:
    rows = answer(capsys, "frontier", "--as-of", "2025-10-30")["definitions"]
    assert rows[1]["id"] == "G2"
    assert rows[1]["value"] == pytest.approx(3.5, abs=0.3)


def test_index_show_reproduces_the_published_index(capsys: Capture) -> None:
    document = answer(capsys, "index", "show", "--vintage", "2026-08-11")
    index = {row["model"]: row for row in document["models"]}
    published = [row for row in load_published_index() if str(row.vintage) == "2026-08-11"]
    errors = [abs(index[row.model]["index"] - row.index) for row in published]
    assert len(errors) == 105
    assert np.mean(errors) <= 0.025
    assert max(errors) <= 0.25
    for row in document["models"]:
        assert row["ci_low"] <= row["index"] <= row["ci_high"]
    assert {"benchmark", "difficulty", "slope"} <= set(document["benchmarks"][0])


def test_index_fit_says_how_it_went(capsys: Capture) -> None:
    document = answer(capsys, "index", "fit", "--vintage", "2026-04-29", "--draws", "2")
    assert document["published"]["mean_abs_error"] < 0.04
    assert document["n_models"] == 167


def test_without_kimi_k3_the_standing_lag_is_8_4_months(capsys: Capture) -> None:
    rows = answer(capsys, "frontier", "--without", "Kimi K3")["definitions"]
    assert rows[2]["value"] == pytest.approx(8.4, abs=0.05)


def test_corrections_are_off_unless_asked_for_and_their_effect_is_shown(capsys: Capture) -> None:
    document = answer(capsys, "frontier", "overrides")
    g1 = {row["overrides"]: row["definitions"]["G1"] for row in document["effects"]}
    assert g1["none"] == pytest.approx(5.6, abs=0.05)
    assert g1["release_scored"] == pytest.approx(5.0, abs=0.05)
    assert len(document["overrides"]) == 36
    asked = answer(capsys, "frontier", "--override", "release_scored")
    assert asked["definitions"][0]["value"] == pytest.approx(g1["release_scored"])
    assert asked["overrides"] == ["release_scored"]


def test_restricted_scores_can_be_left_out_of_frontier_and_index(capsys: Capture) -> None:
    document = answer(capsys, "frontier", "--redistributable")
    assert (document["best_open"]["model"], document["n_open"], document["n_closed"]) == ("Kimi K3", 21, 67)
    assert document["definitions"][0]["value"] == pytest.approx(6.0, abs=0.05)
    assert "only the 734 of 2,249 scores whose license allows redistribution" in document["notes"]
    assert "1,515 of 2,249 scores keep the terms" in answer(capsys, "frontier")["notes"][-1]
    index = answer(capsys, "index", "show", "--redistributable")
    assert len(index["models"]) == 93
    value = next(row["index"] for row in index["models"] if row["model"] == "Kimi K3")
    assert document["best_open"]["value"] == pytest.approx(value)
    assert answer(capsys, "index", "fit", "--redistributable")["n_scores"] == 601


def test_licenses_of_the_scores_are_listed(capsys: Capture) -> None:
    document = answer(capsys, "frontier", "licenses")
    assert document["by_redistribution"] == {"allowed": 734, "not_allowed": 144, "not_stated": 1371}
    assert not any("Benchmark scores and capability index" in line for line in document["attribution"])
    main(["frontier", "licenses"])
    out = capsys.readouterr().out
    assert "all rights reserved" in out
    assert "2,249 scores of 2026-08-11: redistribution allowed for 734" in out


def test_a_memory_limit_brings_in_small_models_and_says_so(capsys: Capture) -> None:
    document = answer(capsys, "frontier", "--fits-gb", "24")
    assert "TECI" in document["notes"][0]
    assert document["definitions"][0]["value"] > 6.0


def test_one_benchmark_is_an_axis_too(capsys: Capture) -> None:
    document = answer(capsys, "frontier", "--benchmark", "GPQA diamond")
    assert document["axis"] == "GPQA diamond"
    assert document["definitions"][4]["unit"] == "score"
    assert 0.0 < document["best_open"]["score"] < 1.0


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("lags",), "benchmarks"),
        (("jaggedness", "--least", "12"), "models"),
        (("contamination",), "models"),
        (("pareto", "--cost", "price"), "models"),
    ],
    ids=["lags", "jaggedness", "contamination", "pareto"],
)
def test_every_view_answers_with_rows_and_attribution(
    capsys: Capture, arguments: tuple[str, ...], key: str
) -> None:
    document = answer(capsys, "frontier", *arguments)
    assert len(document[key]) > 5
    assert document["attribution"]
    main(["frontier", *arguments])
    assert "┃" in capsys.readouterr().out


def test_the_headline_is_a_definition_that_does_not_rest_on_one_pair(capsys: Capture) -> None:
    document = answer(capsys, "frontier")
    assert document["headline"] == HEADLINE
    (row,) = (row for row in document["definitions"] if row["id"] == document["headline"])
    assert row["n"] > 1
    main(["frontier"])
    assert (
        f"open models trail by: {row['value']:.1f} months ({HEADLINE}, 90% interval"
        in capsys.readouterr().out
    )


def test_history_ends_with_the_gap_of_the_day_itself(capsys: Capture) -> None:
    found = answer(capsys, "frontier", "history", "--as-of", "2026-05-29")
    months = found["months"]
    assert found["definition"] == HEADLINE
    assert [row["as_of"] for row in months[-3:]] == ["2026-03-31", "2026-04-30", "2026-05-29"]
    of_the_day = answer(capsys, "frontier", "--as-of", "2026-05-29")["definitions"]
    (row,) = (row for row in of_the_day if row["id"] == HEADLINE)
    for key in ("value", "ci_low", "ci_high", "n"):
        assert months[-1][key] == pytest.approx(row[key])


def test_outlook_says_when_and_whether_with_intervals(capsys: Capture) -> None:
    found = answer(capsys, "frontier", "outlook")
    reached, slope = found["catch_up"], found["trend"]
    assert reached["model"] == "GPT-5.6 Sol"
    assert "2026-08-11" < reached["ci_low"] < reached["expected"] < reached["ci_high"] < "2028"
    assert slope["ci_low"] < 0.0 < slope["ci_high"]
    assert not slope["is_shown"]
    first, second = found["sentences"]
    assert "GPT-5.6 Sol (161.6), around Dec 2026" in first
    assert second.startswith("In index points, neither a closing nor a widening gap is shown")
    main(["frontier", "outlook"])
    assert first in capsys.readouterr().out.replace("\n", " ")


def test_people_see_the_id_beside_every_months_figure(capsys: Capture) -> None:
    main(["frontier"])
    lines = [line for line in capsys.readouterr().out.splitlines() if " months" in line and "│" in line]
    in_months = {each.id for each in DEFINITIONS if each.unit == MONTHS}
    assert {line.split("│")[1].strip() for line in lines} == in_months


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("frontier", "--as-of", "yesterday"), "is not a date"),
        (("frontier", "--as-of", "2027-01-01"), "is in the future"),
        (("frontier", "--as-of", "2023-01-01"), "no open model is left"),
        (("frontier", "--since", "2026-09-01"), "is after `--as-of"),
        (("frontier", "--vintage", "2024-01-01"), "there is no vintage"),
        (("frontier", "--without", "Kimi K33"), "did you mean `Kimi K3`"),
        (("frontier", "--max-params", "1K"), "no open model is left"),
        (("frontier", "--max-params", "big"), "is not a number of parameters"),
        (("frontier", "--fits-gb", "-1"), "must be positive"),
        (("frontier", "--override", "date"), "no override is called `date`"),
        (("frontier", "--benchmark", "GPQA"), "no benchmark is called `GPQA`"),
        (("frontier", "--reported-by", "first_party"), "anchors the scale of the index"),
        (("frontier", "history", "--definition", "G9"), "no definition is called `G9`"),
        (("frontier", "history", "--as-of", "2023-01-01"), "no open model is left"),
        (("frontier", "history", "--as-of", "2023-03-20", "--definition", HEADLINE), "no level in common"),
        (("frontier", "outlook", "--as-of", "2023-12-01"), "12 months are needed"),
        (("frontier", "outlook", "--as-of", "2023-01-01"), "no open model is left"),
        (("index", "fit", "--ridge", "0"), "`--ridge 0.0` must be more than 0"),
        (("index", "fit", "--draws", "1"), "`--draws 1` must be from 2 to 100,000"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_clear_sentence(capsys: Capture, arguments: tuple[str, ...], says: str) -> None:
    code, err = refusal(capsys, *arguments)
    assert code == 1
    assert says in err


def test_a_broken_draws_file_is_drawn_again(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    question = ("frontier", "--vintage", "2026-04-29")
    before = answer(capsys, *question)
    folder = tmp_path / "frontier"
    broken = [*folder.glob("draws-*.npz"), *folder.glob("upper-ends-*.npz")]
    assert len(broken) == 2
    for path in (*broken, *folder.glob("gaps-*.json")):
        path.write_bytes(b"not an archive")
    assert answer(capsys, *question) == before
    assert all(path.stat().st_size > 100 for path in broken)


def test_the_first_answer_of_an_empty_home_draws_nothing(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = answer(capsys, "frontier")
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path / "new"))
    assert answer(capsys, "frontier") == shipped
    assert not list((tmp_path / "new").rglob("*.npz"))


def test_the_shipped_tables_need_no_store(warm_home: Path) -> None:
    assert not (warm_home / "tracker.duckdb").exists()
    assert (ROOT / "data" / "frontier" / "scores.csv").is_file()
