"""The memory of the reader's card: kept in the address, else a common one."""

from __future__ import annotations

import streamlit as st

from tracker.memory_estimate import MEMORY_GB

DEFAULT = "24 GB"
CARDS = {f"{gigabytes} GB": float(gigabytes) for gigabytes in MEMORY_GB}
KEY = "card"  # of the choice in the link


def choose_memory(*, is_wide: bool = False) -> float:
    """The memory of the card in gigabytes; `is_wide` shows all choices at once."""
    if is_wide:
        chosen = st.segmented_control(
            "GPU memory", list(CARDS), default=DEFAULT, required=True, key=KEY, bind="query-params", wrap=True
        )
    else:
        names = list(CARDS)
        chosen = st.selectbox("My card", names, index=names.index(DEFAULT), key=KEY, bind="query-params")
    return CARDS[chosen or DEFAULT]
