"""Models that fit a card: their scores, their cost, and the commands to run them."""

import streamlit as st

from app.data import indexed_rows, queries
from app.pages.run_it import charts, over_time, view, what_fits
from app.widgets import downloads, start_work
from tracker.answers.fits import fit_commands
from tracker.answers.leaderboard import exported

st.title("Run it", anchor=False)
tasks = queries.board_tasks()
known = queries.hub_sizes()
if not tasks and known.empty:
    st.info(
        "Nothing measured or ingested yet, so this answers from the catalog of the program: run"
        " `tracker bench demo` to measure a model, `tracker ingest` to list those on the Hub"
    )
memory_gb, context = view.choose_card()
if tasks or not known.empty:
    suite, task = view.choose_score(tasks)
    every = queries.candidates(suite, task)
    found = indexed_rows.card_rows(suite, task, memory_gb=memory_gb, context=context)
    fits = found.fits
    st.caption(view.count_phrase(every, fits, memory_gb=memory_gb, context=context))

    if fits.empty:
        st.info("None of the known models fits; run `tracker ingest` to list more from the Hub")
    else:
        with st.grid(2, min_column_width=330):
            view.show_offers(
                view.with_gib(found.by_memory), cost="needed_gib", title="Memory needed (GiB)", task=task
            )
            view.show_offers(
                found.by_speed, cost=charts.RUN_SPEED, title="Output tokens per second", task=task
            )
            if not found.by_stream.empty:
                view.show_offers(
                    found.by_stream, cost=charts.SERVER_SPEED, title=view.STREAM_TITLE, task=task
                )
        name = view.choose_model(fits)
        st.code(
            fit_commands(fits, name, memory_gb=memory_gb, context=context),
            language="shell",
            wrap_lines=True,
        )
        st.caption(view.NOTE)
        start_work.show_bench_form(name, key="run_it")
        downloads.deferred_download_buttons(
            lambda: exported(fits), what="Models", name=f"fits-{memory_gb:g}gb"
        )
what_fits.show_what_fits(memory_gb, context)
over_time.show_over_time(memory_gb)
