"""What was measured here: ranked by one task at a time, with what could not be run below."""

from dataclasses import replace

import streamlit as st

from app import board, board_view, charts, downloads, drawing, queries, tables

st.title("Leaderboard", anchor=False)
known = queries.board_tasks()

if not known:
    st.info("Nothing benchmarked yet: run `tracker bench demo`, then come back")
else:
    with st.container(horizontal=True, vertical_alignment="bottom", key="board_filters"):
        suite, task, tasks = board_view.choose_task(known)
        words = st.text_input("Model contains", key="find", bind="query-params")
        with st.popover("More filters"):
            columns, is_whole, has_claims = board_view.choose_columns(tasks, task)
            rows = queries.ranked_board(suite, task, tuple(columns))
            rows = board.with_claims(rows, queries.claims_on(task)) if has_claims else rows
            narrowing = board_view.choose_narrowing(rows)
    narrowing = replace(narrowing, find=words, fits_gb=board_view.choose_tier())
    shown = board.narrowed(board.complete(rows, columns) if is_whole else rows, narrowing)

    if shown.empty:
        st.info("No model passes these filters; `tracker bench ORG/NAME` measures another one")
    else:
        measured = board.measured(shown)
        if not measured.empty:
            drawing.show(
                charts.task_chart, measured.head(charts.SHOWN_MODELS), alt=charts.task_alt(task, measured)
            )
        st.caption(board_view.say_shown(shown, rows))
        table, config = tables.leaderboard(shown, columns)
        chosen = st.dataframe(
            table,
            column_config=config,
            placeholder="–",
            hide_index=True,
            on_select="rerun",
            selection_mode="single-row",
            key="scores",
            alt=f"One row per model, ranked by {task}: score with 95 % interval, other tasks, cost and date",
        )
        if chosen.selection.rows:
            row = shown.iloc[chosen.selection.rows[0]]
            st.switch_page("app_pages/model.py", query_params={"model": row["model_id"]})
        st.caption(board_view.RANK_NOTE)
        downloads.buttons(board.exported(shown), what="Scores", name=f"leaderboard-{suite}-{task}")

board_view.link_to_failures(queries.open_failures())
