"""`tracker frontier share` and `boards`, and what `tracker ingest` says of a damaged answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.doubles.sources_double import SourcesHub
from tests.tracker.ingest.test_damaged_answers import DAMAGES, aa_model, aa_pages
from tests.tracker.ingest.test_ingest import hub
from tracker import open_home
from tracker.cli import main

__all__ = ["hub"]

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _sources(hub: SourcesHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_ARTIFICIAL_ANALYSIS_KEY", "aa_0123456789")
    monkeypatch.setenv("TRACKER_SOURCE_URLS", json.dumps(hub.source_urls))
    monkeypatch.setenv("TRACKER_NOW", datetime(2026, 11, 28, 12, tzinfo=UTC).isoformat())


def tracker(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(list(arguments))
    except SystemExit as ended:
        code = int(ended.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def document(capsys: Capture, *arguments: str) -> dict[str, Any]:
    code, out, err = tracker(capsys, *arguments, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


def test_the_share_of_tokens_is_printed_with_its_age_and_its_source(capsys: Capture) -> None:
    assert tracker(capsys, "ingest", "openrouter-usage", "openrouter", "models-dev")[0] == 0
    code, out, err = tracker(capsys, "frontier", "share")
    assert code == 0
    assert "data to 2026-11-22, 6 days old: 30 days" in out
    assert "open-weight models, last 7 days: 43.0% of the tokens; four weeks before" not in out
    assert "open-weight models, last 7 days: 43.0% of the tokens" in out
    assert "CC BY 4.0" in err
    found = document(capsys, "frontier", "share")
    assert found["last_week"]["open"] == pytest.approx(0.43)
    assert (found["as_of"], found["age_days"], len(found["days"])) == ("2026-11-22", 6, 30)
    in_python = open_home().token_share()
    assert (in_python.last_week.open, in_python.age_days) == (found["last_week"]["open"], 6)


def test_the_boards_are_printed_by_month(capsys: Capture) -> None:
    assert tracker(capsys, "ingest", "lmarena")[0] == 0
    code, out, err = tracker(capsys, "frontier", "boards")
    assert code == 0
    assert "LMArena text: 3 boards, data to 2026-04-19, 223 days old" in out
    assert "claude-opus-4-7-thinking, 1505.0" in out
    assert "CC BY 4.0" in err
    found = document(capsys, "frontier", "boards", "--series", "LMArena WebDev")
    assert len(found["boards"]) == 1
    (board,) = open_home().board_history("LMArena WebDev").boards
    assert (board.gap, board.best_open.model) == (
        found["boards"][0]["gap"],
        found["boards"][0]["best_open"]["model"],
    )
    code, _, err = tracker(capsys, "frontier", "boards", "--series", "nope")
    assert code != 0
    assert "LMArena text" in err


def test_without_data_both_say_how_to_fetch_it(capsys: Capture) -> None:
    for command, source in (("share", "openrouter-usage"), ("boards", "lmarena")):
        code, out, err = tracker(capsys, "frontier", command)
        assert (code, out) != (0, "")
        assert f"tracker ingest {source}" in err


def test_ingest_says_what_is_missing_how_much_was_left_out_and_how_to_accept(
    capsys: Capture, hub: SourcesHub
) -> None:
    source = "artificial-analysis"
    hub.pages["/aa.json"] = aa_pages([aa_model(n) for n in range(60)])
    assert tracker(capsys, "ingest", source)[0] == 0
    DAMAGES["artificial analysis: percent instead of fractions"].apply(hub)
    code, out, err = tracker(capsys, "ingest", source)
    assert code == 4
    assert "partial" in out
    assert " 0 gone" in out
    assert "gpqa: 60 values are not in 0..1 but percent instead of fractions" in err
    assert f"`tracker ingest {source} --accept` takes the answer as it is" in err
    assert "60 left out, for example: " in err
    (found,) = json.loads(tracker(capsys, "ingest", source, "--json")[1])["sources"]
    assert (found["n_problems"], len(found["problems"])) == (60, 50)
    code, out, _ = tracker(capsys, "ingest", source, "--accept")
    assert code == 0
    assert "60 gone" in out


def test_accept_needs_the_name_of_a_source(capsys: Capture) -> None:
    code, _, err = tracker(capsys, "ingest", "--accept")
    assert code == 2
    assert "needs the name of a source" in err
