"""The navigation: every page folder is found by itself, a new one is a folder and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

import app.pages
from app.pages import PageEntry, find_pages
from tests.doubles.app_process import START_S
from tests.doubles.app_visit import MAIN, PAGES

ENTRY = """from app.pages import PageEntry

PAGE = PageEntry("A dummy page", order=25)
"""
SCRIPT = """import streamlit as st

from app.data import queries

st.title("A dummy page", anchor=False)
if not queries.board_tasks():
    st.info("No benchmarks yet: run `tracker bench demo`")
"""


@pytest.fixture
def dummy_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A page folder beside those of the program."""
    folder = tmp_path / "pages" / "dummy_page"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(ENTRY)
    (folder / "page.py").write_text(SCRIPT)
    monkeypatch.setattr(app.pages, "__path__", [*app.pages.__path__, str(folder.parent)])
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, f"app.pages.{folder.name}", raising=False)
    return folder.name


def open_page(name: str) -> AppTest:
    session = AppTest.from_file(str(MAIN), default_timeout=START_S)
    session._page_hash = calc_hash(name)
    session.run()
    assert not session.exception
    return session


def test_navigation_finds_every_page_folder_and_starts_with_the_frontier() -> None:
    found = find_pages()
    assert sorted(page.name for page in found) == PAGES
    assert found[0].name == "frontier"
    assert all(page.script.is_file() for page in found)


def test_navigation_titles_and_orders_are_unique() -> None:
    entries = [page.entry for page in find_pages()]
    assert len({entry.title for entry in entries}) == len({entry.order for entry in entries}) == len(entries)


def test_navigation_takes_a_new_page_from_its_folder_alone(dummy_page: str) -> None:
    found = find_pages()
    names = [page.name for page in found]
    assert names[1:6] == ["models", "benchmarks", "leaderboard", dummy_page, "run_it"]
    assert found[names.index(dummy_page)].entry == PageEntry("A dummy page", order=25)


def test_navigation_opens_a_new_page_on_an_empty_store_under_its_own_address(dummy_page: str) -> None:
    session = open_page(dummy_page)
    assert [title.value for title in session.title] == ["A dummy page"]
    assert "`tracker bench demo`" in session.info[0].value
    (page,) = (page for page in session._registered_pages.values() if page["page_name"] == "A dummy page")
    assert page["url_pathname"] == dummy_page
