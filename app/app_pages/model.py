"""One model: what it is, its runs, the scores of one run, and the items behind them."""

import streamlit as st

from app import charts, downloads, item_view, model_view, queries, tables

st.title("Model")
known = queries.model_ids()

if not known:
    st.info("Nothing benchmarked yet: run `tracker bench demo`, then come back")
else:
    model_id = st.selectbox("Model", known, key="model", bind="query-params")
    runs = queries.model_runs(model_id)
    model_view.show_identity(runs)

    st.header("Runs", anchor=False)
    table = tables.runs(runs)
    model_view.show_runs(table, model_id)
    downloads.buttons(table, what="Runs", name="runs")

    run = model_view.choose_run(runs)
    model_view.show_outcome(run)
    scores = queries.run_scores(run["run_id"])
    if not scores.empty:
        st.header("Scores of this run", anchor=False)
        st.altair_chart(charts.run_chart(scores), alt=charts.run_alt(scores))
        st.header("Its items", anchor=False)
        item_view.show_items(run["run_id"], scores)
