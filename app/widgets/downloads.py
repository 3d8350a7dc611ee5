"""Download buttons for CSV and Parquet; the file is made when the button is pressed."""

from __future__ import annotations

import io
from collections.abc import Callable

import pandas as pd
import streamlit as st

from tracker.foreign_text import csv_cell


def download_buttons(frame: pd.DataFrame, *, what: str, name: str) -> None:
    """Two buttons for `frame`; `what` labels them, `name` is the file name without its suffix."""
    deferred_download_buttons(lambda: frame, what=what, name=name)


def deferred_download_buttons(read: Callable[[], pd.DataFrame], *, what: str, name: str) -> None:
    """Two buttons for a frame that is read only when one of them is pressed."""
    with st.container(horizontal=True):
        st.download_button(
            f"{what} as CSV",
            lambda: csv_bytes(read()),
            file_name=f"{name}.csv",
            mime="text/csv",
            key=f"{what}_csv",
            on_click="ignore",
        )
        st.download_button(
            f"{what} as Parquet",
            lambda: parquet_bytes(read()),
            file_name=f"{name}.parquet",
            mime="application/vnd.apache.parquet",
            key=f"{what}_parquet",
            on_click="ignore",
        )


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """`frame` as the bytes of a CSV file; a text that a spreadsheet would compute begins with `'`."""
    safe = frame.rename(columns=csv_cell)
    for place, kind in enumerate(safe.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            safe.isetitem(place, safe.iloc[:, place].map(csv_cell, na_action="ignore"))
    return str(safe.to_csv(index=False)).encode()


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """`frame` as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()
