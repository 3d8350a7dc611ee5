"""The entry point of the dashboard: its pages, and what holds on each of them."""

from pathlib import Path

import streamlit as st
from altair.utils.schemapi import disable_debug_mode

from app import links, live, text
from tracker.errors import StoreError, TrackerError

ICON = Path(__file__).parent / "icon.svg"  # a local file: a built-in icon would be fetched from the network

# Streamlit writes a chosen option in white on the accent colour, which cannot be read on the light one of the
# dark theme; in the colour of text it can be read on both
CHIPS = """<style>
[data-testid=stMultiSelectTagsContainer] [data-tag] {
    background: transparent; border: 1px solid currentColor;
}
[data-testid=stMultiSelectTagsContainer] [data-tag], [data-testid=stMultiSelectTagsContainer] [data-tag] * {
    color: inherit;
}
</style>"""

PAGES = [
    st.Page("app_pages/frontier.py", title="Frontier", url_path="frontier", default=True),
    st.Page("app_pages/leaderboard.py", title="Leaderboard", url_path="leaderboard"),
    st.Page("app_pages/run_it.py", title="Run it", url_path="run_it"),
    st.Page("app_pages/model.py", title="Model", url_path="model"),
    st.Page("app_pages/compare.py", title="Compare", url_path="compare"),
    st.Page("app_pages/items.py", title="Items", url_path="items"),
    st.Page("app_pages/research.py", title="Research", url_path="research"),
    st.Page("app_pages/runs.py", title="Runs", url_path="runs"),
    st.Page("app_pages/changes.py", title="What changed", url_path="changes"),
    st.Page("app_pages/sources.py", title="Sources and method", url_path="sources"),
]

# a chart is checked against the schema of Vega-Lite by its test; doing it again takes most of a page's time
disable_debug_mode()
st.set_page_config(page_title="Open-weight tracker", page_icon=str(ICON), layout="wide")
st.logo(str(ICON), size="small")
st.html(CHIPS)
page = st.navigation(PAGES, position="top")
notice, wanted = st.container(), links.asked()
try:
    live.watch_snapshot()
    page.run()
    links.say_ignored(notice, wanted, page=page.url_path)
except TrackerError as error:
    is_of_store = isinstance(error, StoreError)
    title = "The store cannot be read" if is_of_store else "This page cannot be shown"
    st.error(text.escaped(str(error)), title=title)
    if error.hint:
        st.caption(text.escaped(error.hint))
