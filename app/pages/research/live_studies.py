"""The running studies, refreshed every few seconds, each with a stop button that asks for confirmation."""

from __future__ import annotations

import streamlit as st

from app.data import queries, running_studies
from app.data.running_studies import UnderWay
from app.widgets import refresh, safe_text
from tracker.errors import TrackerError
from tracker.settings import load_settings
from tracker.wording import counted

LOOK_EVERY_S = 2.0  # a trial takes at least seconds
LAST_TRIALS = 5  # the table below has all
ASKED = "asked_to_stop"  # the study whose stop awaits confirmation
NOTHING_RUNS = "No study is running. Start one with `tracker research run --agent demo --tier cpu`"


@st.fragment(run_every=LOOK_EVERY_S)
def show_live_studies() -> None:
    """Show each study that a process is working on."""
    with refresh.errors_shown():
        found = queries.studies_under_way()
        if not found:
            st.caption(NOTHING_RUNS)
        for study in found:
            with st.container(border=True):
                _show(study)


def _show(study: UnderWay) -> None:
    st.subheader(
        safe_text.escaped(f"{study.agent}, {study.tier}/{study.track}, seed {study.seed}"), anchor=False
    )
    st.progress(
        min(study.n_done / study.n_trials, 1.0), text=f"{study.n_done} of {counted(study.n_trials, 'trial')}"
    )
    elapsed_s = (queries.now() - study.started_at).total_seconds()
    n_placebos = len(study.trials) - study.n_done
    st.caption(
        safe_text.escaped(
            f"{safe_text.bpb(study.gain_bpb)} bits per byte saved so far · {counted(n_placebos, 'placebo')} ·"
            f" started {safe_text.duration(elapsed_s)} ago · study {study.study_id}"
        )
    )
    for trial in reversed(study.trials[-LAST_TRIALS:]):
        st.text(
            safe_text.visible(
                f"{trial.ended_at:%H:%M:%S} UTC  {trial.verdict}: {safe_text.clipped(trial.what, 200)}"
            )
        )
    _show_button(study)


def _show_button(study: UnderWay) -> None:
    key = study.study_id
    if study.is_stopping:
        st.caption("Stopping…")
    elif st.session_state.get(ASKED) == key:
        st.warning(
            f"Stop this study? Finished trials are kept; resume later with `tracker research resume {key}`."
        )
        with st.container(horizontal=True):
            is_sure = st.button("Stop", key=f"stop_{key}", type="primary")
            st.button("Keep it running", key=f"keep_{key}", on_click=_ask, args=(None,))
        if is_sure:
            _stop(key)
    else:
        st.button("Stop this study", key=f"ask_{key}", on_click=_ask, args=(key,))


def _ask(study_id: str | None) -> None:
    st.session_state[ASKED] = study_id


def _stop(study_id: str) -> None:
    """Request the stop; a failure is shown without hiding the other studies."""
    _ask(None)
    try:
        running_studies.ask_to_stop(load_settings(), study_id)
    except TrackerError as error:
        st.error(safe_text.escaped(str(error)))
    else:
        st.caption("Stopping…")
