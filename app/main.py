"""The entry point of the dashboard: its navigation, and what every page shares."""

from pathlib import Path

import streamlit as st
from altair.utils.schemapi import disable_debug_mode

from app.pages import find_pages
from app.widgets import home_line, how_to_read, permalinks, refresh, safe_text, search_box
from tracker.errors import StoreError, TrackerError

ICON = Path(__file__).parent / "icon.svg"  # a local file: a built-in icon would be fetched from the network

# Streamlit writes a chosen option in white on the accent color, which is unreadable on the light accent of
# the dark theme; the color of text is readable on both
CHIPS = """<style>
[data-testid=stMultiSelectTagsContainer] [data-tag] {
    background: transparent; border: 1px solid currentColor;
}
[data-testid=stMultiSelectTagsContainer] [data-tag], [data-testid=stMultiSelectTagsContainer] [data-tag] * {
    color: inherit;
}
</style>"""

# a chart is checked against the schema of Vega-Lite by its test; checking again takes most of a page's time
disable_debug_mode()
st.set_page_config(page_title="Open-weight tracker", page_icon=str(ICON), layout="wide")
st.logo(str(ICON), size="small")
st.html(CHIPS)
page = st.navigation(
    [
        st.Page(found.script, title=found.entry.title, url_path=found.name, default=place == 0)
        for place, found in enumerate(find_pages())
    ],
    position="top",
)
permalinks.rename_old_parameters()
notice, requested = st.container(), permalinks.requested_parameters(page.url_path)
try:
    refresh.watch_snapshot()
    search_box.show_search()
    page.run()
    how_to_read.show_help(page.url_path)
    permalinks.report_ignored(notice, requested, page=page.url_path)
except TrackerError as error:
    is_of_store = isinstance(error, StoreError)
    title = "Cannot read the store" if is_of_store else "Cannot show this page"
    st.error(safe_text.escaped(str(error)), title=title)
    if error.hint:
        st.caption(safe_text.escaped(error.hint))
home_line.show_home()
