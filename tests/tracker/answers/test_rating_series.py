"""Any dated series is an axis: an Elo board from a file or from what was ingested."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from tests.builders.board_builder import board
from tracker.answers.rating_series import read_series
from tracker.cli import main
from tracker.errors import TrackerError, UnknownNameError
from tracker.settings import Settings

HEADER = "model,access,released,value,ci_low,ci_high\n"
# the closed board rises by 10 points a month; open reaches each level exactly three months later
BOARD = HEADER + "".join(
    f"c{month},closed,2025-{month:02d}-01,{1200 + 10 * month},,\n"
    f"o{month},open,2025-{month + 3:02d}-01,{1200 + 10 * month},,\n"
    for month in range(1, 10)
)


def test_rating_series_a_board_on_which_open_is_three_months_behind_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    path = tmp_path / "elo.csv"
    path.write_text(BOARD)
    main(["frontier", "--series", str(path), "--as-of", "2025-12-15", "--json"])
    document = json.loads(capsys.readouterr().out)
    months = {row["id"]: row["value"] for row in document["definitions"]}
    assert months["G1"] == pytest.approx(3.0, abs=0.1)
    assert months["G3"] == pytest.approx(3.0, abs=0.1)
    assert document["axis"] == "elo.csv"
    best = document["best_open"]
    assert (best["model"], best["rating"], best["value"]) == ("o9", 1290.0, 1290.0)


def test_rating_series_without_intervals_in_the_file_none_is_printed(
    tmp_path: Path, settings: Settings
) -> None:
    path = tmp_path / "elo.csv"
    path.write_text(BOARD)
    assert not read_series(str(path), settings).axis.has_draws


def test_rating_series_an_ingested_board_is_dated_by_whichever_source_knows(settings: Settings) -> None:
    board(settings)
    found = read_series("lmarena:LMArena text/overall", settings)
    assert dict(zip(found.axis.models, found.axis.is_open.tolist(), strict=True)) == {
        "gpt-9": False,
        "acme/atlas": True,
        "gpt-8": False,
        "atlas-1": True,
        "gpt-7": False,
    }
    assert found.axis.has_draws
    assert found.vintage == date(2026, 11, 20)
    assert found.notes == ("1 model of the series is left out: no date, or no open or closed label",)


def test_rating_series_an_unknown_series_names_those_there_are(settings: Settings) -> None:
    board(settings)
    with pytest.raises(UnknownNameError) as error:
        read_series("lmarena:nope", settings)
    assert "lmarena:LMArena text/overall" in error.value.hint


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("a,open,2025-01-01,10,5,\n", "both ends"),
        ("a,open,2025-01-01,10,11,12\n", "outside 11.0..12.0"),
        ("a,open,2025-01-01,nan,,\n", "not a finite number"),
        ("a,ajar,2025-01-01,10,,\n", "ajar"),
        ("a,open,2199-01-01,10,,\n", "in the future"),
        ("a,open,2025-01-01,10,,\na,open,2025-01-01,11,,\n", "the same row as line 2"),
        ("", "no rows"),
        ("a,open,2025-01-01,10,,\n", "no closed model"),
        ("a,open,2025-01-01,10,,\nb,unknown,2025-01-01,9,,\n", "`b`, among its 3 best models, has no date"),
    ],
)
def test_rating_series_a_file_that_cannot_be_true_is_refused_with_its_line(
    tmp_path: Path, settings: Settings, rows: str, says: str
) -> None:
    path = tmp_path / "elo.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(TrackerError, match=says):
        read_series(str(path), settings)


def test_rating_series_options_of_the_published_tables_are_refused_beside_a_series(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["frontier", "--series", "elo.csv", "--only", "private"])
    assert ended.value.code == 2
    assert "`--series` can be combined only with" in capsys.readouterr().err
