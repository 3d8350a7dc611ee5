"""Auto-research: live studies, the agent leaderboard, one study with its trials, one trial in full."""

import streamlit as st

from app.data import queries, study_rows
from app.pages.research import agents, live_studies, study

st.title("Research", anchor=False)
studies = queries.studies()
st.header("Running now", anchor=False)
live_studies.show_live_studies()

if not studies:
    st.info(agents.EMPTY)
else:
    st.header("Agents", anchor=False)
    agents.show_agents(agents.choose_group(studies))
    agents.show_over_tasks()
    agents.show_attacks()
    st.header("Studies", anchor=False)
    live = study_rows.live_study_ids()
    chosen = study.choose_study(studies, live)
    study.show_study(chosen, live)
    trials = queries.trials(chosen["study_id"])
    if not trials:
        st.info("This study has no finished trial yet")
    else:
        study.show_trial(study.choose_trial(trials, chosen["study_id"]))
