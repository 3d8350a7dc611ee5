"""Start a bench from a page; nothing is shown unless the server allows it (`tracker app --allow-write`)."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app.data import queries, work
from app.widgets import safe_text
from tracker.errors import TrackerError

FIRST_SUITE = "quick"
DONE, REFUSED = "work_done", "work_refused"  # what the last press of a button did, until the next one


def show_bench_form(model_id: str, *, key: str) -> None:
    """Offer to measure this model: suite, limit, and the button."""
    if not work.is_allowed():
        return
    with st.container(border=True):
        st.subheader(safe_text.escaped(f"Measure {model_id}"), anchor=False)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            choose_suite(key=f"{key}_suite")
            st.number_input(
                "Items of each task (0: all)", min_value=0, step=10, key=f"{key}_limit", width=200
            )

            def start() -> str:
                suite, limit = st.session_state[f"{key}_suite"], int(st.session_state[f"{key}_limit"])
                work.allowed_work().start_bench(model_id, suite=suite, limit=limit or None)
                return "Started"

            st.button("Start", type="primary", key=f"{key}_start", on_click=attempt, args=(start,))
        st.caption(
            "Downloads the weights if they are not here. All answers are kept; the same again resumes it."
        )
        show_outcome()
        if st.session_state.get(DONE):
            st.page_link("pages/runs/page.py", label="Runs shows its progress")


def choose_suite(*, key: str) -> str:
    """The suite that the reader picks; not part of the link."""
    names = work.suites()
    return st.selectbox("Suite", names, index=names.index(FIRST_SUITE), key=key, width=200)


def attempt(do: Callable[[], str]) -> None:
    """Do it, for the callback of a button; `show_outcome` then shows the text that it returns, or why not."""
    st.session_state.update({DONE: "", REFUSED: None})
    try:
        st.session_state[DONE] = do()
    except TrackerError as error:
        st.session_state[REFUSED] = error
    else:
        queries.show_own_change()


def show_outcome() -> None:
    """Say what the last press of a button did."""
    error: TrackerError | None = st.session_state.get(REFUSED)
    if error is not None:
        st.error(safe_text.escaped(str(error)))
        if error.hint:
            st.caption(safe_text.escaped(error.hint))
    elif done := st.session_state.get(DONE):
        st.success(safe_text.escaped(done))
