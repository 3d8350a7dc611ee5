"""Two to four models: on the items that all answered here, and by published scores."""

import streamlit as st

from app.data import published_comparisons, queries
from app.pages.compare import published, rows, view
from tracker.records.origins import is_imported_id

st.title("Compare", anchor=False)
measured = queries.model_ids()
models = view.choose_models(measured, published_comparisons.names())
if len(models) < rows.LEAST:
    st.info("Choose at least two models")
elif set(models) <= set(measured):
    shared = view.shared_items(models)
    if shared.items.empty:
        st.info(view.EMPTY_IMPORTED if any(map(is_imported_id, models)) else view.EMPTY)
    else:
        view.show_scores(shared)
        view.show_solved(shared)
    published.show_published(models)
else:
    if not_here := published_comparisons.not_measured(models):
        st.caption(view.not_measured(not_here))
    published.show_published(models)
