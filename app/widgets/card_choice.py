"""The memory of the reader's card: in the link, else as this browser remembers it, else a common one."""

from __future__ import annotations

import streamlit as st

from tracker.memory_estimate import MEMORY_GB

DEFAULT = "24 GB"
CARDS = {f"{gigabytes} GB": float(gigabytes) for gigabytes in MEMORY_GB}
KEY = "card"  # of the choice in the link
COOKIE = "tracker_card"  # written by `app/http/page.js` when a link has a card


def choose_memory(*, is_wide: bool = False) -> float:
    """The memory of the card in gigabytes; `is_wide` shows all choices at once."""
    first = remembered()
    if is_wide:
        chosen = st.segmented_control(
            "GPU memory", list(CARDS), default=first, required=True, key=KEY, bind="query-params", wrap=True
        )
    else:
        names = list(CARDS)
        chosen = st.selectbox("My card", names, index=names.index(first), key=KEY, bind="query-params")
    return CARDS[chosen or first]


def remembered() -> str:
    """The card that this browser chose last; the default if it never did."""
    kept = str(st.context.cookies.get(COOKIE, "")).replace("+", " ").replace("%20", " ")
    return kept if kept in CARDS else DEFAULT
