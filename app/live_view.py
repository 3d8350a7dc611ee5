"""The studies under way, shown anew every few seconds, each with a stop button that asks before it acts."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from app import live, queries, studying, text
from app.studying import UnderWay
from tracker.errors import TrackerError
from tracker.settings import load_settings

LOOK_EVERY_S = 2.0  # a trial takes seconds at the least
LAST_TRIALS = 5  # a screen is for what happens now; the table below has all
ASKED = "asked_to_stop"  # whether the reader is asked to confirm, and for which study
NOTHING_RUNS = "No study is running: `tracker research run --agent demo --tier cpu` starts one"


@st.fragment(run_every=LOOK_EVERY_S)
def show_under_way() -> None:
    """Show each study that a process works on."""
    with live.problems_said():
        found = queries.studies_under_way()
        if not found:
            st.caption(NOTHING_RUNS)
        for study in found:
            with st.container(border=True):
                _show(study)


def _show(study: UnderWay) -> None:
    st.subheader(text.escaped(f"{study.agent}, {study.tier}/{study.track}, seed {study.seed}"), anchor=False)
    st.progress(min(study.n_done / study.n_trials, 1.0), text=f"{study.n_done} of {study.n_trials} trials")
    elapsed_s = (datetime.now(UTC) - study.started_at).total_seconds()
    n_placebos = len(study.trials) - study.n_done
    st.caption(
        text.escaped(
            f"{text.bpb(study.gain_bpb)} bits per byte saved so far, placebos: {n_placebos},"
            f" begun {text.duration(elapsed_s)} ago; study {study.study_id}"
        )
    )
    for trial in reversed(study.trials[-LAST_TRIALS:]):
        st.text(
            text.visible(f"{trial.ended_at:%H:%M:%S} UTC  {trial.verdict}: {text.clipped(trial.what, 200)}")
        )
    _show_button(study)


def _show_button(study: UnderWay) -> None:
    key = study.study_id
    if study.is_stopping:
        st.caption("It is told to stop, and ends within seconds")
    elif st.session_state.get(ASKED) == key:
        st.warning(
            f"Stop this study? What is finished is kept; `tracker research resume {key}` goes on with it."
        )
        with st.container(horizontal=True):
            is_sure = st.button("Yes, stop it", key=f"stop_{key}", type="primary")
            st.button("Keep it running", key=f"keep_{key}", on_click=_ask, args=(None,))
        if is_sure:
            _stop(key)
    else:
        st.button("Stop this study", key=f"ask_{key}", on_click=_ask, args=(key,))


def _ask(study_id: str | None) -> None:
    st.session_state[ASKED] = study_id


def _stop(study_id: str) -> None:
    """Press it; that it cannot be pressed any more hides no other study."""
    _ask(None)
    try:
        studying.ask_to_stop(load_settings(), study_id)
    except TrackerError as error:
        st.error(text.escaped(str(error)))
    else:
        st.caption("It is told to stop")
