"""Scores measured here, ranked by one task at a time, with a link to the models that could not be run."""

from dataclasses import replace

import streamlit as st

from app.data import indexed_rows, measured_models, queries
from app.pages.leaderboard import charts, columns, controls, episodes
from app.widgets import benchmark_links, cached_chart, downloads
from app.widgets.dot_rows import SHOWN_MODELS
from tracker.answers.episodes import LEVELS, episode_board
from tracker.answers.index_place import INDEX_NOTE
from tracker.answers.index_places import with_index
from tracker.answers.leaderboard import (
    RANK_NOTE,
    complete,
    exported,
    labeled_subjects,
    measured,
    narrowed,
    with_claims,
)
from tracker.records.origins import IMPORTED

st.title("Leaderboard", anchor=False)
known = queries.board_tasks()

if not known:
    st.info("No benchmarks yet: run `tracker bench demo`")
else:
    with st.container(horizontal=True, vertical_alignment="bottom", key="board_filters"):
        suite, task, tasks = controls.choose_task(known)
        words = st.text_input("Model contains", key="find", bind="query-params")
        with st.popover("More filters"):
            other_tasks, is_whole, has_claims = controls.choose_columns(tasks, task)
            rows = indexed_rows.ranked_board(suite, task, tuple(other_tasks))
            if has_claims:
                measured_here = queries.ranked_board(suite, task, tuple(other_tasks))
                every = with_claims(measured_here, queries.claims_on(task))
                rows = with_index(every, measured_models.index_places())
            narrowing = controls.choose_narrowing(rows)
    narrowing = replace(narrowing, find=words, fits_gb=controls.choose_tier())
    shown = narrowed(complete(rows, other_tasks) if is_whole else rows, narrowing)
    benchmark_links.show_task_link(task)

    if shown.empty:
        st.info("No models match these filters; run `tracker bench ORG/NAME` to measure another one")
    else:
        ranked = measured(shown)
        if not ranked.empty:
            cached_chart.render(
                charts.task_chart,
                ranked.head(SHOWN_MODELS),
                alt=charts.task_alt(task, ranked),
                caption=cached_chart.ChartCaption(
                    f"Score on {task} ({suite}), 95% intervals",
                    source=cached_chart.source_of(ranked["basis"] == IMPORTED),
                ),
            )
        st.caption(controls.shown_phrase(shown, rows))
        table, config = columns.leaderboard_table(shown, other_tasks)
        chosen = st.dataframe(
            table,
            column_config=config,
            placeholder="–",
            hide_index=True,
            on_select="rerun",
            selection_mode="single-row",
            key="scores",
            alt=f"One row per model, ranked by {task}: score with 95% interval, other tasks, cost and date",
        )
        if chosen.selection.rows:
            row = shown.iloc[chosen.selection.rows[0]]
            st.switch_page("pages/model/page.py", query_params={"model": row["model_id"]})
        st.caption(RANK_NOTE)
        if shown["index"].notna().any():
            st.caption(INDEX_NOTE)
        downloads.download_buttons(exported(shown), what="Scores", name=f"leaderboard-{suite}-{task}")
        if counts := queries.episode_counts(suite):
            at_levels = labeled_subjects(queries.task_scores(suite, [*LEVELS]), narrowing)
            if board := episode_board(ranked, at_levels, counts):
                episodes.show_episodes(board, suite=suite, task=task)

controls.link_to_failures(queries.open_failures())
