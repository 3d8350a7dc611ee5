"""Finding things: the search box, the text of items, the answers of several models, the help on each page."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.data import queries, search_entries
from app.pages import find_pages
from app.widgets import how_to_read
from app.widgets.safe_text import escaped
from app.widgets.search_box import KEY
from tests.builders.store_builder import CANDIDATES, NOW, build_store
from tests.doubles.app_visit import said, visit

pytestmark = pytest.mark.clock
FIRST, SECOND = "acme/atlas-2-8b", "borealis/nimbus-4b-thinking"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("searched")).home


@pytest.fixture(autouse=True)
def small(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(home))
    monkeypatch.setenv("TRACKER_NOW", NOW.isoformat())


def test_the_box_finds_pages_benchmarks_and_models_measured_or_published() -> None:
    labels = set(search_entries.entries())
    assert {f"Page: {page.entry.title}" for page in find_pages()} < labels
    assert {"Benchmark: GPQA diamond", "Model: GPT-5.6 Sol"} < labels
    assert {f"Model: {one.model.model_id}" for one in CANDIDATES[:3]} < labels
    assert {f"Items: {one.model.model_id}" for one in CANDIDATES[:3]} < labels


def test_a_choice_in_the_box_opens_the_benchmark_and_empties_the_box() -> None:
    session = visit("runs")
    session.selectbox(key=KEY).set_value("Benchmark: GPQA diamond").run()
    assert session.title[0].value == "GPQA diamond"
    assert session.selectbox(key=KEY).value is None


def test_items_are_searched_by_their_text_in_any_case() -> None:
    (run,) = [run for run in queries.model_runs(FIRST) if run["status"] == "complete"][:1]
    every = queries.items(run["run_id"], task=None, only=None, words=None)
    word = every["response"].iloc[0].split()[0].upper()
    texts = every[["prompt", "response", "thinking", "extracted", "target"]].fillna("").agg(" ".join, axis=1)
    expected = int(texts.str.casefold().str.contains(word.casefold(), regex=False).sum())
    found = queries.items_page(run["run_id"], task=None, only=None, words=word, page=1)
    assert found[0]["n_matching"] == expected > 0
    assert visit("items", items_of=FIRST, text="no such text").info[0].value == "No items match these filters"


def test_the_answers_of_two_models_to_one_item_stand_side_by_side() -> None:
    session = visit("items", items_of=FIRST, of_task="sort_words", item="sort_words 0", beside=SECOND)
    assert escaped(SECOND) in [one.value for one in session.subheader]
    other = queries.item(queries.runs_of_task("sort_words")[SECOND], task="sort_words", doc_id=0)
    assert other is not None
    assert other["response"].strip() in [block.value.strip() for block in session.code]


@pytest.mark.parametrize("page", [page.name for page in find_pages()])
def test_every_page_says_how_it_is_read(page: str) -> None:
    name = "" if page == "frontier" else page
    said_of_page, terms = how_to_read.PAGES[name]
    assert said_of_page
    assert set(terms) <= set(how_to_read.GLOSSARY)


def test_the_help_stands_on_the_page() -> None:
    assert how_to_read.GLOSSARY["Unparsed"] in said(visit("items"))
