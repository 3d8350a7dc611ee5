"""Where the numbers come from, under which licence, how they are computed, and what they do not say."""

import streamlit as st

from app import sources_view

st.title("Sources and method", anchor=False)
st.header("Asked by this machine", anchor=False)
sources_view.show_sources()
st.header("Shipped with the program", anchor=False)
sources_view.show_shipped()
st.header("Benchmarks of the index", anchor=False)
sources_view.show_benchmarks()
st.header("Known limits", anchor=False)
sources_view.show_method()
