"""Two to four models on the items that all of them answered."""

import streamlit as st

from app.data import queries
from app.pages.compare import rows, view

st.title("Compare", anchor=False)
measured = queries.model_ids()

if len(measured) < rows.LEAST:
    st.info(
        "A comparison needs two measured models: run `tracker bench demo` for one and `tracker bench"
        " ORG/NAME` for another"
    )
else:
    models = view.choose_models(measured)
    if len(models) < rows.LEAST:
        st.info("Choose at least two models")
    else:
        shared = view.shared_items(models)
        if shared.items.empty:
            st.info(view.EMPTY)
        else:
            view.show_scores(shared)
            view.show_solved(shared)
