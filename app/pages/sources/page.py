"""Sources and their licenses, benchmarks, known limits, and the formulas."""

import streamlit as st

from app.pages.sources import usage, view

st.title("Sources", anchor=False)
st.header("Ingested here", anchor=False)
view.show_sources()
usage.show_usage()
st.header("Shipped with the program", anchor=False)
view.show_shipped()
st.header("Benchmarks of the index", anchor=False)
view.show_benchmarks()
st.header("Known limits", anchor=False)
view.show_method()
