"""How far open models are behind closed ones: the headline, both frontiers, the lag on each benchmark."""

import streamlit as st

from app import frontier_filters, frontier_view, model_links, text
from tracker.frontier.tables import ATTRIBUTION

st.title("Frontier", anchor=False)
with st.container(horizontal=True, vertical_alignment="bottom", key="frontier_filters"):
    definition = frontier_filters.choose_definition()
    question, board = frontier_filters.choose_question()
frontier_filters.say_filters(question)
found = frontier_view.answer(question, board)

if found is not None:
    if not found.has_intervals and not board:
        frontier_view.await_intervals(question)
    frontier_view.show_headline(found, definition)
    frontier_view.show_models(found, definition)
    model_links.show(found)
    st.header("Six ways to say it", anchor=False)
    frontier_view.show_definitions(found)
    st.header("Benchmark by benchmark", anchor=False)
    frontier_view.show_lags(question, is_of_board=board is not None)
st.caption(text.escaped(" ".join(ATTRIBUTION)))
