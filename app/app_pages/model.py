"""One model: what it is, where it stands, whether its claims held up, its runs and their scores."""

import streamlit as st

from app import (
    charts,
    choosing,
    downloads,
    drawing,
    hub_view,
    model_view,
    queries,
    standing_view,
    study_view,
    tables,
)

st.title("Model", anchor=False)
measured = queries.model_ids()
agents = queries.agent_models()
known = standing_view.names(measured, agents)
known += hub_view.asked_for(known, key="model")
name = choosing.one("Model", known, key="model")
model_id = standing_view.measured_as(name, measured)
facts = standing_view.on_index(name)
runs = queries.model_runs(model_id)

if runs:
    model_view.show_identity(runs)
    standing_view.show_claims(model_id)
    standing_view.show_placement(runs)

    st.header("Runs", anchor=False)
    table = tables.runs(runs)
    model_view.show_runs(table, model_id)
    downloads.buttons(table, what="Runs", name="runs")
    run = model_view.choose_run(runs)
    model_view.show_outcome(run)
    scores = queries.run_scores(run["run_id"])
    if not scores.empty:
        drawing.show(charts.run_chart, scores, alt=charts.run_alt(scores))
        downloads.buttons(scores, what="Scores", name=f"scores-{run['run_id']}")
        model_view.link_to_items(run)
else:
    hub_id = facts.hub_id if facts else standing_view.repository_of(model_id, agents)
    is_listed = (hub_id or model_id) in hub_view.known_ids()
    hub_id = hub_id or (model_id if is_listed else None)
    model_view.say_unmeasured(model_id, is_first=not measured and not is_listed, hub_id=hub_id)
    if hub_id:
        hub_view.show(hub_id)
study_view.show_history(model_id)
if facts:
    standing_view.show_published(facts)
