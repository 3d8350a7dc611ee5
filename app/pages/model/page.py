"""One model: identity, claims, placement, runs with their scores, studies, and its place on the index."""

import streamlit as st

from app.data import model_names, queries
from app.pages.model import agent_history, charts, hub, ladder, measured, published, speed
from app.widgets import (
    cached_chart,
    columns,
    downloads,
    missing_items,
    run_links,
    safe_text,
    start_work,
    url_select,
)
from tracker.records.origins import is_imported_id

st.title("Model", anchor=False)
measured_ids = queries.model_ids()
agents = queries.agent_models()
known = model_names.listed_names(measured_ids, agents)
known += hub.requested_repositories(known, key="model")
name = url_select.select_one("Model", known, key="model", kind="model", hint=hub.HOW_TO_LIST)
model_id = model_names.measured_id(name, measured_ids)
facts = model_names.index_facts(name)
runs = queries.model_runs(model_id)

if runs:
    measured.show_identity(runs)
    published.show_claims(model_id)
    published.show_placement(runs)
    measured.show_abilities(queries.model_abilities(model_id))
    if not is_imported_id(model_id):
        ladder.show_ladders(model_id)
        speed.show_speeds(model_id, is_measured=True)

    st.header("Runs", anchor=False)
    measured.show_runs(columns.run_table(runs), model_id)
    downloads.download_buttons(columns.run_export(runs), what="Runs", name="runs")
    if not runs[0]["path"] and not is_imported_id(model_id):
        start_work.show_bench_form(model_id, key="model")
    run = run_links.choose_run(runs)
    measured.show_outcome(run)
    measured.show_repeatability(queries.run_repeatability(run["run_id"], model_id))
    scores = queries.run_scores(run["run_id"])
    metrics = queries.other_metrics(run["run_id"])
    if not scores.empty:
        missing_items.show_missing([run["run_id"]])
        caption = cached_chart.ChartCaption(
            f"{safe_text.visible(model_id)} on {run['suite']}: scores with 95% intervals",
            run["started_at"].date(),
            cached_chart.source_of([run["origin"] is not None]),
        )
        cached_chart.render(charts.run_chart, scores, alt=charts.run_alt(scores), caption=caption)
        measured.show_completed(scores)
        downloads.download_buttons(scores, what="Scores", name=f"scores-{run['run_id']}")
        run_links.link_to_items(run)
    if not metrics.empty:
        measured.show_unsafe(metrics)
        measured.show_metrics(metrics, run["run_id"])
else:
    hub_id = facts.hub_id if facts else model_names.agent_repository(model_id, agents)
    is_listed = (hub_id or model_id) in model_names.hub_model_ids()
    hub_id = hub_id or (model_id if is_listed else None)
    speed.show_speeds(model_id, is_measured=False)
    measured.show_unmeasured(model_id, is_first=not measured_ids and not is_listed, hub_id=hub_id)
    if hub_id:
        start_work.show_bench_form(hub_id, key="model")
        hub.show_hub_facts(hub_id)
agent_history.show_agent_history(model_id)
if facts:
    published.show_published(facts)
