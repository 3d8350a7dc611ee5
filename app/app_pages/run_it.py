"""I have this card: which models fit, what they reached, what they cost, and what to type."""

import streamlit as st

from app import board, downloads, fitting, fitting_view, queries

st.title("Run it", anchor=False)
tasks = queries.board_tasks()
known = queries.hub_sizes()
if not tasks and known.empty:
    st.info(
        "No model is known yet: `tracker bench demo` measures one, `tracker ingest` lists those of the Hub"
    )
else:
    memory_gb, context = fitting_view.choose_card()
    suite, task = fitting_view.choose_score(tasks)
    every = queries.candidates(suite, task)
    fits = fitting.fitting(every, memory_gb=memory_gb, context=context)
    st.caption(fitting_view.say_fits(every, fits, memory_gb=memory_gb, context=context))

    if fits.empty:
        st.info("No model that is known here fits; `tracker ingest` lists those of the Hub")
    else:
        by_memory = fitting.offers(fits, cost=fits[f"needs {context}"], context=context)
        by_speed = fitting.offers(fits, cost=-fitting.speed(fits), context=context)
        with st.grid(2, min_column_width=330):
            fitting_view.show_offers(by_memory, cost="needed_gb", title="GB of memory needed", task=task)
            fitting_view.show_offers(
                by_speed, cost="tokens_per_s", title="output tokens per second", task=task
            )
        name = fitting_view.choose_model(fits)
        st.code(
            fitting.commands(fits, name, memory_gb=memory_gb, context=context),
            language="shell",
            wrap_lines=True,
        )
        st.caption(fitting_view.NOTE)
        downloads.buttons(board.exported(fits), what="Models", name=f"fits-{memory_gb:g}gb")
