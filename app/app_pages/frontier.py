"""How far open models are behind closed ones: the headline, both frontiers, the lag on each benchmark."""

import streamlit as st

from app import downloads, drawing, frontier_charts, frontier_data, frontier_view, queries, tables, text
from tracker.frontier.tables import ATTRIBUTION

st.title("Frontier", anchor=False)
with st.container(horizontal=True, vertical_alignment="bottom", key="frontier_filters"):
    definition = frontier_view.choose_definition()
    question, board = frontier_view.choose_question()
frontier_view.say_filters(question)
if board:
    found = frontier_data.on_board(board, question, queries.snapshot())
else:
    found = frontier_data.frontier(question)
if not found.has_intervals and not board:
    frontier_view.await_intervals(question)

frontier_view.show_headline(found, definition)
st.caption(frontier_data.ASKS[definition])
for note in found.notes:
    st.caption(text.escaped(note))
standing = found.gap("G3").value
drawing.show(
    frontier_charts.frontier_chart,
    found.points,
    unit=found.unit,
    as_of=found.as_of,
    standing=standing if definition == "G3" else None,
    alt=frontier_charts.frontier_alt(found),
)
best = found.best("open")["model"]
st.page_link(
    "app_pages/model.py", label=f"What is behind it: {text.escaped(best)}", query_params={"model": best}
)

st.header("Six ways to say it", anchor=False)
st.dataframe(
    frontier_view.definitions(found),
    column_config=tables.DEFINITIONS,
    hide_index=True,
    alt="The gap by each of the six definitions, with 90 % intervals",
)

st.header("Benchmark by benchmark", anchor=False)
all_lags = frontier_data.benchmark_lags(question.vintage)
shown = all_lags[~all_lags["is_stale"]]
st.caption(
    "A filled dot: the items are private. Left out: "
    f"{len(all_lags) - len(shown)} benchmarks on which no open model of the last 14 months has a score."
)
drawing.show(frontier_charts.lag_chart, shown, alt=frontier_charts.lag_alt(shown))
downloads.buttons(found.points, what="Models", name="frontier-models")
downloads.buttons(all_lags, what="Lags", name="frontier-lags")
st.caption(text.escaped(" ".join(ATTRIBUTION)))
