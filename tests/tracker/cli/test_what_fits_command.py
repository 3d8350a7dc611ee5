"""`tracker fit` without MODEL, `tracker fit MODEL --gpu` and `tracker plan`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracker.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "200")


def refused(code: int, words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == code


def test_fit_without_a_model_lists_what_fits_the_card(capsys: Capture) -> None:
    main(["fit", "--gpu", "RTX 4090", "--limit", "3"])
    out = capsys.readouterr().out
    assert "RTX 4090: 24 GB for a model, 4,096 tokens of context" in out
    assert "Qwen/Qwen3.8-27B" in out
    assert "3 of " in out
    assert "what quantization costs is not measured" in out
    main(["fit", "--gpu", "RTX 4090", "--limit", "3", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["models"][0]["model_id"] == "Qwen/Qwen3.8-27B"


def test_fit_without_a_model_or_a_card_is_for_this_machine(capsys: Capture) -> None:
    main(["fit", "--json", "--limit", "1"])
    assert json.loads(capsys.readouterr().out)["card"]["is_here"]


def test_fit_refuses_what_does_not_go_together(capsys: Capture) -> None:
    refused(2, ["fit", "--gpu", "T4", "--vram-gb", "24"])
    assert "cannot be combined" in capsys.readouterr().err
    refused(2, ["fit", "demo", "--limit", "3"])
    assert "`--limit` filters models, but MODEL is given" in capsys.readouterr().err
    refused(1, ["fit", "--gpu", "RTX 4900"])
    assert "did you mean `RTX 4090`" in capsys.readouterr().err


def test_plan_lists_the_smallest_cards(capsys: Capture) -> None:
    main(["plan", "Qwen3-32B", "--bits", "4"])
    out = capsys.readouterr().out
    assert "Qwen/Qwen3-32B: 32.8B parameters, 4,096 tokens" in out
    assert "RTX 3090" in out or "RTX 4090" in out
    main(["plan", "Qwen3-32B", "--json"])
    assert {row["bits"] for row in json.loads(capsys.readouterr().out)["cards"]} == {4.0, 8.0, 16.0}
    refused(1, ["plan", "Qwen3-33B"])
    assert "did you mean" in capsys.readouterr().err
