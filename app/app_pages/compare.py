"""Two to four models on the items that all of them answered."""

import streamlit as st

from app import compare_view, comparing, queries

st.title("Compare", anchor=False)
measured = queries.model_ids()

if len(measured) < comparing.LEAST:
    st.info("Two models are needed: `tracker bench demo` measures one, `tracker bench ORG/NAME` another")
else:
    models = compare_view.choose_models(measured)
    if len(models) < comparing.LEAST:
        st.info("Choose two models or more")
    else:
        shared = compare_view.shared_items(models)
        if shared.items.empty:
            st.info(compare_view.EMPTY)
        else:
            compare_view.show_scores(shared)
            compare_view.show_solved(shared)
