"""The definitions of the gap: one record each, and every face lists what is there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pytest
import streamlit as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.data import frontier_views
from app.http.routes import ROUTES
from tests.conftest import ROOT
from tests.doubles.app_visit import visit
from tracker.cli import main
from tracker.errors import UnknownNameError
from tracker.frontier import definitions
from tracker.frontier.definitions import WINDOW_DAYS, Definition, Groups, Measure, Window
from tracker.frontier.question import Question
from tracker.settings import Settings

Capture = pytest.CaptureFixture[str]
A_COUNT = re.compile(r"\b(six|seven|6|7)\s+(\w+\s+)?(definitions?|ways|answers|questions)\b", re.IGNORECASE)
AN_ID = re.compile(r"""["']G\d["']""")


def _lead_of_today(groups: Groups) -> Measure:
    apart = groups.closed.best - groups.open.best
    return Measure(apart, np.ones(len(apart)), np.zeros(len(apart)))


LEAD_OF_TODAY = Definition(
    id="G8",
    title="Points between the best two of today",
    question="How many points apart are the best two today?",
    formula="`max F_closed − max F_open`",
    source="a test",
    measure=_lead_of_today,
    unit=None,
)


@pytest.fixture
def _another(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[None]:
    """One more definition than there are, and a home with the draws behind the intervals."""
    monkeypatch.setattr(definitions, "DEFINITIONS", (*definitions.DEFINITIONS, LEAD_OF_TODAY))
    st.cache_resource.clear()
    assert frontier_views.drawn(Question(), wait_s=240.0) is not None
    yield
    st.cache_resource.clear()


def _api_rows(path: str) -> dict[str, Any]:
    rows = TestClient(Starlette(routes=ROUTES)).get(path).json()["rows"]
    assert isinstance(rows, dict)
    return rows


@pytest.mark.clock
@pytest.mark.usefixtures("_another")
@pytest.mark.slow_clock
def test_definitions_another_appears_in_every_face(capsys: Capture) -> None:
    main(["frontier", "--json"])
    (told,) = (row for row in json.loads(capsys.readouterr().out)["definitions"] if row["id"] == "G8")
    assert (told["unit"], told["question"]) == ("index", LEAD_OF_TODAY.question)
    assert told["ci_low"] <= told["value"] <= told["ci_high"]

    main(["frontier", "--benchmark", "GPQA diamond"])
    assert LEAD_OF_TODAY.question in capsys.readouterr().out
    main(["frontier", "overrides"])
    assert "G8 points" in capsys.readouterr().out

    (served,) = (row for row in _api_rows("/api/frontier.json")["definitions"] if row["id"] == "G8")
    assert served == told

    session = visit("frontier", definition="G8")
    assert session.metric[0].label == "Open models trail by (G8)"
    assert session.metric[0].value == f"{told['value']:.1f} points"
    table = session.dataframe[0].value.set_index("id")
    assert table.loc["G8", "asks"] == LEAD_OF_TODAY.question

    assert definitions.table().splitlines()[-1].startswith("| G8 | How many points apart")


def test_definitions_the_documented_table_is_the_records() -> None:
    text = (ROOT / "docs" / "method.md").read_text()
    begin, end = (
        "<!-- definitions: generated from tracker/frontier/definitions.py -->\n",
        "<!-- /definitions -->",
    )
    shown = text[text.index(begin) + len(begin) : text.index(end)]
    assert shown.strip() == definitions.table(), "docs/method.md: paste what `definitions.table()` returns"


def test_definitions_questions_are_one_sentence_each() -> None:
    assert all(re.fullmatch(r"[A-Z][^.?!]*\?", each.question) for each in definitions.DEFINITIONS)


def test_definitions_an_unknown_one_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnknownNameError, match="G9"):
        definitions.definition("G9")


def _texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(
        ["git", "ls-files", "tracker", "app", "runners", "docs", "README.md", "CHANGELOG.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.split():
        if name.endswith((".py", ".md", ".toml", ".sql")) and (ROOT / name).exists():
            yield name, (ROOT / name).read_text()


def test_definitions_nothing_says_how_many_there_are() -> None:
    found = {name: A_COUNT.findall(text) for name, text in _texts() if A_COUNT.search(text)}
    assert not found


def test_definitions_no_other_module_names_their_ids() -> None:
    code = {name: AN_ID.findall(text) for name, text in _texts() if name.endswith(".py")}
    found = {name for name, ids in code.items() if ids} - {"tracker/frontier/definitions.py"}
    assert not found


@pytest.mark.parametrize("day", [date.min, date(1, 6, 1), date(2026, 8, 11)])
def test_definitions_the_year_that_ends_on_a_day_begins_within_the_calendar(day: date) -> None:
    window = Window.year_to(day)
    assert window.as_of == day
    assert len(window.days) == min(day.toordinal(), WINDOW_DAYS)
