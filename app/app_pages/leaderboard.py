"""What was measured here: one chart per task, one row per model and task, and what could not be run."""

import streamlit as st

from app import charts, downloads, queries, rows, tables

st.title("Leaderboard")
st.caption(
    "What this machine has measured, item by item. Bars are 95 % intervals, grey ticks the score of guessing."
)
scores = queries.leaderboard()
failed = queries.open_failures()

if scores.empty:
    st.info("Nothing benchmarked yet: run `tracker bench demo`, then come back")
else:
    with st.container(horizontal=True, key="filters"):
        suite = st.selectbox("Suite", rows.distinct(scores, "suite"), key="suite", bind="query-params")
        of_suite = rows.with_ranks(rows.with_labels(rows.only(scores, suite=suite)))
        tasks = [rows.ALL, *rows.distinct(of_suite, "task")]
        task = st.selectbox("Task", tasks, key="task", bind="query-params")
        words = st.text_input("Model contains", key="find", bind="query-params")
    ranked = rows.only(of_suite, task=task, find=words)

    if ranked.empty:
        st.info("No model here has such a name")
    else:
        with st.grid(min_column_width=340, gap=("small", "medium")):
            for name, group in ranked.groupby("task", sort=False):
                with st.container():
                    st.header(name, anchor=False)
                    st.altair_chart(charts.task_chart(group), alt=charts.task_alt(name, group))
        st.caption(rows.RANK_NOTE)
        st.header("All scores", anchor=False)
        chosen = st.dataframe(
            tables.leaderboard(ranked),
            column_config=tables.LEADERBOARD,
            hide_index=True,
            on_select="rerun",
            selection_mode="single-row",
            key="scores",
            alt="One row per model and task: rank, score with 95 % interval, chance, cost, engine and date",
        )
        if chosen.selection.rows:
            row = ranked.iloc[chosen.selection.rows[0]]
            st.switch_page(
                "app_pages/model.py", query_params={"model": row["model_id"], "run": row["run_id"]}
            )
        downloads.buttons(rows.exported(ranked), what="Scores", name=f"leaderboard-{suite}")

if not failed.empty:
    st.header("Could not be run", anchor=False)
    st.dataframe(tables.failures(failed), column_config=tables.FAILURES, hide_index=True, alt="Failed runs")
