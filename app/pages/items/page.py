"""Every item of one run: the prompt, the answer, what was extracted from it, and the target."""

import streamlit as st

from app.data import queries
from app.pages.items import view
from app.widgets import missing_items, run_links, safe_text, url_select
from tracker.records.origins import origin_note

HINT = "`tracker bench ORG/NAME` measures one"

st.title("Items", anchor=False)
measured = queries.model_ids()

if not measured:
    st.info("No benchmarks yet: run `tracker bench demo`")
else:
    with st.container(horizontal=True, key="run_filters"):
        model_id = url_select.select_one("Model", measured, key="items_of", kind="measured model", hint=HINT)
        runs = queries.model_runs(model_id)
        run = run_links.choose_run(runs, key="of_run")
    if note := origin_note(run):
        st.warning(safe_text.escaped(note))
    scores = queries.run_scores(run["run_id"])
    if scores.empty:
        st.info("This run has no scored items; the model's page shows why")
    else:
        missing_items.show_missing([run["run_id"]])
        view.show_items(run, scores)
    run_links.link_to_model(run)
