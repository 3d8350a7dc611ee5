"""A name that a stranger chose, from the store to every exit: nothing of it is live."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import markdown as markdown_package
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.widgets.downloads import csv_bytes
from tests.builders.some_runs import model, run, store_runs
from tests.doubles.app_visit import visit
from tests.tracker.answers.test_digest import put
from tracker.answers.digest import digest
from tracker.answers.digest_formats import ATOM, atom, document, markdown
from tracker.cli import main
from tracker.records.published import SourceModel, SourceScore
from tracker.settings import Settings

NOW = datetime(2026, 11, 25, tzinfo=UTC)
LIVE = (
    "](http://evil.example/a) ![b](http://evil.example/b.png) <img src=http://evil.example/c> `x` ``y`"
    " www.evil.example @everyone <!channel> :red[r] :material/star: $x^2$ **b** \x1b[31m\u202e"
)
NAME = f"=1+1|org/x{LIVE}"
MODEL = f"org/x{LIVE}"
PAGES = ("model", "items", "compare", "changes")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A hostile model measured here, and one of a source with a score on a hostile benchmark."""
    settings = Settings(home=tmp_path_factory.mktemp("hostile"))
    for number, at in ((1, NOW - timedelta(days=9)), (2, NOW - timedelta(days=1))):
        put(
            settings,
            at,
            number,
            source="epoch",
            models=(SourceModel(f"{NAME} {number}"),),
            scores=(SourceScore(f"{NAME} {number}", f"MMLU {LIVE}", 0.5, unit="fraction"),),
        )
    warned = replace(run(1, of=model(MODEL)), warnings=(f"warned {LIVE}",))
    store_runs(settings, warned, run(2, of=model("acme/atlas-8b")))
    return settings


@pytest.fixture(autouse=True)
def home(hostile: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACKER_HOME", str(hostile.home))
    monkeypatch.setenv("TRACKER_NOW", NOW.isoformat())
    return hostile.home


@pytest.mark.clock
def test_foreign_names_in_a_digest_are_characters(hostile: Settings) -> None:
    found = digest(hostile, since=NOW - timedelta(days=7), until=NOW)
    text = markdown(found)
    assert "evil.example" in text
    html = markdown_package.markdown(text)
    assert re.findall(r'(?:href|src)="([^"]*evil[^"]*)"', html) == []
    assert not re.search(r"<(img|script|strong|em)\b", html.replace("<em>Data", ""))
    assert not {"\x1b", "\u202e"} & set(text)
    feed = ET.fromstring(atom([document(found)]))
    content = feed.findtext(f"{{{ATOM}}}entry/{{{ATOM}}}content") or ""
    assert "evil.example" in content
    assert not re.search(r"<img|(?:href|src)=\"[^\"]*evil", content)


def test_foreign_names_at_the_command_line_act_on_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    main(["query", "select distinct name from published_scores order by name", "--csv"])
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert [row[0][:5] for row in rows[1:]] == ["'=1+1", "'=1+1"]
    main(["query", "select distinct name from published_scores order by name", "--json"])
    out = capsys.readouterr().out
    assert json.loads(out)["rows"][0]["name"] == f"{NAME} 1"
    for argv in (["models"], ["models", "--json"], ["query", "select model_id, warnings from runs"]):
        main(argv)
        out += capsys.readouterr().out
    assert not {"\x1b", "\u202e"} & set(out)


def test_foreign_names_in_a_download_of_the_app_are_no_formulas() -> None:
    frame = pd.DataFrame(
        {"=name": [NAME, None, "-1.5"], "n": [-1, 2, 3], "when": pd.to_datetime(["2026-11-25"] * 3)}
    )
    rows = list(csv.reader(io.StringIO(csv_bytes(frame).decode())))
    assert [row[0][:5] for row in rows] == ["'=nam", "'=1+1", "", "-1.5"]
    assert [row[1] for row in rows[1:]] == ["-1", "2", "3"]
    assert rows[1][2].startswith("2026-11-25")


@pytest.mark.parametrize("page", PAGES)
def test_foreign_names_on_a_page_are_characters(page: str) -> None:
    key = {"model": "model", "items": "items_of"}.get(page)
    session = visit(page, **({key: MODEL} if key else {}))
    rendered = list(markdown_texts(session))
    for text in rendered:
        bare = re.sub(r"\\[^\w\s]", "", text)
        assert not re.search(
            r"\]\([^)]*evil|!\[|<img|:red\[|:material/star|\$x|://evil|www\.evil|@everyone", bare
        )
        assert not {"\x1b", "\u202e"} & set(text)
    if key:
        assert any("evil" in text for text in rendered) or page == "items"


def markdown_texts(session: AppTest) -> Iterator[str]:
    """Every text of the page that Streamlit renders as Markdown."""
    for kind in (
        "markdown",
        "caption",
        "header",
        "subheader",
        "title",
        "info",
        "warning",
        "error",
        "success",
    ):
        for element in session.get(kind):
            yield str(element.value)
    for metric in session.metric:
        yield from (str(metric.value), str(metric.label), str(metric.delta))
    for kind in ("selectbox", "multiselect", "button", "expander", "radio"):
        for element in session.get(kind):
            yield str(element.label)
