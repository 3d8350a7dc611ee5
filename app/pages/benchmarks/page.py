"""The published benchmarks: all of them with who leads and by how many months, or everything about one."""

import streamlit as st

from app.data import benchmarks
from app.pages.benchmarks import every, one
from app.widgets import safe_text
from tracker.frontier.tables import ATTRIBUTION

ALL = "All benchmarks"

top = st.container()
rows = benchmarks.summaries()
chosen = st.selectbox(
    "Benchmark", [ALL, *(row.benchmark for row in rows)], key=benchmarks.PARAMETER, bind="query-params"
)
with top:
    st.title(safe_text.escaped("Benchmarks" if chosen == ALL else chosen), anchor=False)
if chosen == ALL:
    every.show_all(rows)
else:
    one.show_benchmark(benchmarks.page(chosen))
st.caption(safe_text.with_commands(" ".join(ATTRIBUTION)))
