"""How far open models are behind closed ones: the headline, both frontiers, the lag on each benchmark."""

import streamlit as st

from app.data import gap_histories, measured_models
from app.pages.frontier import cards, filters, measured, model_links, over_time, view
from app.widgets import safe_text
from app.widgets.intervals import await_intervals
from tracker.frontier.tables import ATTRIBUTION

top = st.container(gap="xsmall")
with st.container(horizontal=True, vertical_alignment="bottom", key="frontier_filters"):
    definition = filters.choose_definition()
    question, board, bits = filters.choose_question()
filters.show_active_filters(question, bits)
found = view.answer_or_warn(question, board)

if found is None:
    top.title("Frontier", anchor=False)
else:
    with top:
        st.title(safe_text.escaped(view.headline(found, definition)), anchor=False)
        view.show_age(found, definition)
        view.link_to_benchmark(question)
    if not found.has_intervals and not board:
        await_intervals(question)
    cards.show_cards(found, definition)
    here = None if board else measured_models.measured(question)
    history = None if board else gap_histories.over_time(question, definition)
    view.show_models(found, definition, here, over_time.catch_up(history))
    measured.show_summary(question, here, is_on_board=board is not None)
    view.offer_models(found)
    model_links.show_model_box(found)
    if board is None:
        st.header("The gap over time", anchor=False)
        over_time.show_over_time(question, definition, history)
    st.header("All definitions of the gap", anchor=False)
    view.show_definitions(found)
    measured.show_measured(here)
    if not board:
        measured.await_places(question, here)
    st.header("Lag by benchmark", anchor=False)
    view.show_lags(question, is_of_board=board is not None)
st.caption(safe_text.with_commands(" ".join(ATTRIBUTION)))
