"""`tracker frontier` and the tables of models as text: what was measured here, the best that fits a card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders.some_runs import model, run, score, store_runs
from tracker.cli import main
from tracker.settings import Settings

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def measured_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for the module: draws are made once and then read."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    whole = model("acme/one-8b")
    scores = tuple(score(task, whole, 0.7) for task in ("mmlu", "gsm8k"))
    placed = replace(run(1, of=whole), suite="anchor-small", scores=scores)
    store_runs(settings, placed, run(2), run(3, of=model("Qwen/Qwen3-8B")))
    return settings.home


@pytest.fixture(autouse=True)
def _home(measured_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(measured_home))
    monkeypatch.setenv("COLUMNS", "200")


def test_frontier_prints_the_models_measured_here_and_why_others_are_missing(capsys: Capture) -> None:
    main(["frontier"])
    found = capsys.readouterr()
    (row,) = (line for line in found.out.splitlines() if "acme/one-8b" in line)
    assert "anchor-small" in row
    assert "≥" in row
    assert "measurement on 2026-11-24" in row
    assert "2 measured here not placed: the index contains none of these tasks" in found.err


def test_frontier_prints_the_best_that_fits_and_names_the_bits(capsys: Capture) -> None:
    main(["frontier", "--fits-gb", "24", "--bits", "4"])
    found = capsys.readouterr()
    assert "best open model that fits 24 GB at 4 bits" in found.out
    assert any("Phi-4" in line and "11.2 GB" in line for line in found.out.splitlines())
    assert "assumed to keep the score of its published weights" in found.err
    main(["frontier", "--fits-gb", "24"])
    assert "best open model that fits 24 GB at 16 bits" in capsys.readouterr().out


def test_frontier_without_a_budget_has_no_curve(capsys: Capture) -> None:
    main(["frontier", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["best_that_fits"] is None
    assert [row["model_id"] for row in document["measured"]] == ["acme/one-8b"]
    main(["frontier", "--benchmark", "GPQA diamond", "--json"])
    assert json.loads(capsys.readouterr().out)["measured"] == []


@pytest.mark.parametrize("command", ["models", "leaderboard --suite quick", "models --fits-gb 80"])
def test_tables_of_models_print_index_basis_and_months(capsys: Capture, command: str) -> None:
    main(command.split())
    found = capsys.readouterr()
    (row,) = (line for line in found.out.splitlines() if "Qwen/Qwen3-8B" in line)
    assert "136.3 (135.1 … 137.3)" in row
    assert "third-party estimate" in row
    assert "6.6 (G3)" in row
    assert "As of 2026-08-11." in found.err
