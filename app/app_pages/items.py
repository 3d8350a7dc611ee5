"""Every item of one run: what was asked, answered and read out of it, and what would have been right."""

import streamlit as st

from app import choosing, item_view, model_view, queries

st.title("Items", anchor=False)
measured = queries.model_ids()

if not measured:
    st.info("Nothing benchmarked yet: run `tracker bench demo`, then come back")
else:
    with st.container(horizontal=True, key="run_filters"):
        model_id = choosing.one("Model", measured, key="items_of")
        runs = queries.model_runs(model_id)
        run = model_view.choose_run(runs, key="of_run")
    scores = queries.run_scores(run["run_id"])
    if scores.empty:
        st.info("This run has no scored items; the page of the model says why")
    else:
        item_view.show_items(run["run_id"], scores)
    model_view.link_to_model(run)
