"""All models with a place on the index: open and closed, with size, memory, price, license."""

import streamlit as st

from app.data import frontier_views, listed_models
from app.pages.models import view
from app.widgets import safe_text
from app.widgets.intervals import await_intervals
from tracker.frontier.question import Question
from tracker.frontier.tables import ATTRIBUTION

st.title("Models", anchor=False)
found = frontier_views.frontier(Question())
if not found.has_intervals:
    await_intervals(Question())
frame = listed_models.frame(listed_models.listed_models())
st.caption(
    f"Index of the {found.age.text}. Licenses and contexts come from the Hub: `tracker ingest` fetches them,"
    " `tracker bench ORG/NAME` measures a model here."
)
shown = view.choose_filter(frame)
if shown.empty:
    st.info("No models match these filters")
else:
    view.show_chart(shown)
    view.show_table(shown, frame)
st.caption(safe_text.with_commands(" ".join(ATTRIBUTION)))
