"""Auto-research: what runs now, the board of agents, one study with its trials, one trial in full."""

import streamlit as st

from app import live_view, queries, research_view, study_view

st.title("Research", anchor=False)
studies = queries.studies()
st.header("Now", anchor=False)
live_view.show_under_way()

if not studies:
    st.info(research_view.EMPTY)
else:
    st.header("Agents", anchor=False)
    research_view.show_board(research_view.choose_group(studies))
    research_view.show_attacks()
    st.header("Studies", anchor=False)
    alive = study_view.living()
    study = study_view.choose_study(studies, alive)
    study_view.show_study(study, alive)
    trials = queries.trials(study["study_id"])
    if not trials:
        st.info("No trial of this study is over yet")
    else:
        study_view.show_trial(study_view.choose_trial(trials, study["study_id"]))
