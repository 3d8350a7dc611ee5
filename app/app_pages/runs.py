"""Work: what is running, what waits, what failed, and every run that there was."""

import streamlit as st

from app import queries, runs_view

st.title("Runs", anchor=False)
st.header("Now", anchor=False)
runs_view.show_running()
st.header("Next", anchor=False)
runs_view.show_queue()
st.header("Could not be run", anchor=False)
runs_view.show_failures()
st.header("All runs", anchor=False)
runs = queries.latest_runs()
if not runs:
    st.info("Nothing benchmarked yet: run `tracker bench demo`, then come back")
else:
    runs_view.show_all(runs)
