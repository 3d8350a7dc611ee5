"""Work: running benches, the queue, failures, and all runs."""

import streamlit as st

from app.data import queries
from app.pages.runs import controls, schedule, view

st.title("Runs", anchor=False)
st.header("Running now", anchor=False)
view.show_running()
controls.show_started()
st.header("Queue", anchor=False)
view.show_queue()
st.header("Schedule", anchor=False)
schedule.show_schedule()
st.header("Failures", anchor=False)
view.show_failures()
st.header("All runs", anchor=False)
runs = queries.latest_runs()
if not runs:
    st.info("No benchmarks yet: run `tracker bench demo`")
else:
    view.show_all_runs(runs)
