"""Work from the page of runs: change the queue, run it, and how the commands started here ended.

Shown only where the server allows it (`tracker app --allow-write`).
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from app.data import work
from app.widgets import refresh, safe_text, start_work

LOOK_EVERY_S = 2.0
MINUTES = 600  # of `tracker weekly`
POINTS = 100.0
ABOVE = 1.0  # the first of the queue by so many points
NAME, SUITE, MINUTES_KEY = "queue_add", "queue_suite", "queue_minutes"
JOB, PRIORITY = "queue_job", "queue_priority"
PARKED = "A parked model stays out until it is moved again; the next refresh may add a removed one."


@st.fragment(run_every=LOOK_EVERY_S)
def show_started() -> None:
    """Show the commands started from pages of this server, and why one failed; looks every few seconds."""
    if not work.is_allowed():
        return
    with refresh.errors_shown():
        for one in work.allowed_work().started():
            said = safe_text.escaped(f"{one.command}, started {one.started_at:%H:%M:%S} UTC")
            if one.exit_code is None:
                st.caption(f"{said}: running")
            elif one.exit_code == 0:
                st.caption(f"{said}: done")
            else:
                st.error(f"{said}: ended with exit code {one.exit_code}")
                st.code(safe_text.visible(one.error), language=None, wrap_lines=True)


def show_queue_controls(waiting: pd.DataFrame) -> None:
    """Offer to add a model, and to move, park or remove one of `waiting`, the rows of `queries.jobs`."""
    if not work.is_allowed():
        return
    with st.container(border=True):
        st.subheader("Change the queue", anchor=False)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.text_input("Model to add", placeholder="org/name", key=NAME, width=280)
            start_work.choose_suite(key=SUITE)
            _button("Add", _add)
            st.number_input("Minutes", min_value=1, value=MINUTES, key=MINUTES_KEY, width=120)
            _button("Measure the queue", _run_queue)
        if not waiting.empty:
            _show_moves(waiting)
        start_work.show_outcome()


def _show_moves(waiting: pd.DataFrame) -> None:
    """The buttons for one job of the queue."""
    jobs = list(zip(waiting["model_id"], waiting["suite"], strict=True))
    top = float(waiting["rank"].max()) + ABOVE
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Model of the queue", jobs, format_func=lambda job: f"{job[0]} ({job[1]})", key=JOB, width=280
        )
        st.number_input("Priority", value=POINTS, step=10.0, key=PRIORITY, width=160)
        _button("Run first", lambda: _move(top))
        _button("Set priority", lambda: _move(float(st.session_state[PRIORITY])))
        _button("Park", _park)
        _button("Remove", _remove)
    st.caption(PARKED)


def _button(label: str, do: Callable[[], str]) -> None:
    st.button(label, key=f"queue_{label}", on_click=start_work.attempt, args=(do,))


# what the buttons do: the fields are read when pressed, since they may have changed after the page was drawn


def _add() -> str:
    name = str(st.session_state[NAME]).strip()
    work.allowed_work().queue_model(name, suite=st.session_state[SUITE], priority=None)
    return f"{name}: added to the queue"


def _run_queue() -> str:
    minutes = float(st.session_state[MINUTES_KEY])
    work.allowed_work().start_queue(suite=st.session_state[SUITE], minutes=minutes)
    return "Started"


def _move(points: float) -> str:
    model_id, suite = st.session_state[JOB]
    work.allowed_work().queue_model(model_id, suite=suite, priority=points)
    return f"{model_id}: {points:g} points"


def _park() -> str:
    model_id, suite = st.session_state[JOB]
    work.allowed_work().park_model(model_id, suite=suite)
    return f"{model_id}: parked"


def _remove() -> str:
    model_id, suite = st.session_state[JOB]
    work.allowed_work().remove_model(model_id, suite=suite)
    return f"{model_id}: removed"
