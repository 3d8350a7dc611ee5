"""Buttons that hand over what a page shows, as CSV and as Parquet; the file is made when it is asked for."""

from __future__ import annotations

import io
from collections.abc import Callable

import pandas as pd
import streamlit as st


def buttons(frame: pd.DataFrame, *, what: str, name: str) -> None:
    """Two buttons for `frame`, which holds `what`; `name` is the file's without its ending."""
    buttons_for(lambda: frame, what=what, name=name)


def buttons_for(read: Callable[[], pd.DataFrame], *, what: str, name: str) -> None:
    """Two buttons for a frame that is read only when one of them is pressed."""
    with st.container(horizontal=True):
        st.download_button(
            f"{what} as CSV",
            lambda: read().to_csv(index=False).encode(),
            file_name=f"{name}.csv",
            mime="text/csv",
            key=f"{what}_csv",
            on_click="ignore",
        )
        st.download_button(
            f"{what} as Parquet",
            lambda: parquet(read()),
            file_name=f"{name}.parquet",
            mime="application/vnd.apache.parquet",
            key=f"{what}_parquet",
            on_click="ignore",
        )


def parquet(frame: pd.DataFrame) -> bytes:
    """`frame` as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()
