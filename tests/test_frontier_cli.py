"""`tracker frontier` and `tracker index`: the JSON contract, and one clear sentence for bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tracker.cli import main
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
    assert [row["id"] for row in rows] == ["G1", "G2", "G3", "G4", "G5", "G6"]
    for row in rows:
        assert set(row) >= {"id", "unit", "value", "ci_low", "ci_high", "n", "n_censored"}
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
    assert any("Epoch AI" in line for line in document["attribution"])


@pytest.mark.parametrize(("as_of", "published"), [("2025-10-30", 3.5), ("2026-05-29", 4.0)])
def test_the_published_lag_is_reproduced_under_g2(capsys: Capture, as_of: str, published: float) -> None:
    rows = answer(capsys, "frontier", "--as-of", as_of)["definitions"]
    assert rows[1]["id"] == "G2"
    assert rows[1]["value"] == pytest.approx(published, abs=0.3)


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


def test_people_see_the_id_beside_every_months_figure(capsys: Capture) -> None:
    main(["frontier"])
    lines = [line for line in capsys.readouterr().out.splitlines() if " months" in line and "│" in line]
    assert len(lines) == 5
    assert all(line.split("│")[1].strip() in {"G1", "G2", "G3", "G4", "G6"} for line in lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("frontier", "--as-of", "yesterday"), "is not a date"),
        (("frontier", "--as-of", "2027-01-01"), "later than the data"),
        (("frontier", "--as-of", "2023-01-01"), "no open model is left"),
        (("frontier", "--since", "2026-09-01"), "is after --as-of"),
        (("frontier", "--vintage", "2024-01-01"), "there is no vintage"),
        (("frontier", "--without", "Kimi K33"), "did you mean `Kimi K3`"),
        (("frontier", "--max-params", "1K"), "no open model is left"),
        (("frontier", "--max-params", "big"), "is not a number of parameters"),
        (("frontier", "--fits-gb", "-1"), "must be positive"),
        (("frontier", "--override", "date"), "no override is called `date`"),
        (("frontier", "--benchmark", "GPQA"), "no benchmark is called `GPQA`"),
        (("frontier", "--reported-by", "first_party"), "anchors the scale of the index"),
        (("index", "fit", "--ridge", "0"), "ridge must be above 0"),
        (("index", "fit", "--draws", "1"), "an interval needs at least 2"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_clear_sentence(capsys: Capture, arguments: tuple[str, ...], says: str) -> None:
    code, err = refusal(capsys, *arguments)
    assert code == 1
    assert says in err


def test_a_broken_draws_file_is_drawn_again(capsys: Capture, warm_home: Path) -> None:
    before = answer(capsys, "frontier", "--as-of", "2026-05-29")
    for path in (warm_home / "frontier").glob("draws-*.npz"):
        path.write_bytes(b"not an archive")
    assert answer(capsys, "frontier", "--as-of", "2026-05-29") == before


def test_the_shipped_tables_need_no_store(warm_home: Path) -> None:
    assert not (warm_home / "tracker.duckdb").exists()
    assert (ROOT / "data" / "frontier" / "scores.csv").is_file()
