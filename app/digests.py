"""What changed in a span of days, and the feed of the digests that were kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import streamlit as st

from app import queries
from tracker.digest import Digest, digest
from tracker.digest_forms import atom, document, kept
from tracker.settings import load_settings

KEPT_DIGESTS = 16


def changed(days: int) -> Digest:
    """What changed in so many days until this hour, as the newest snapshot has it."""
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return _digest(queries.snapshot(), days, until)


@st.cache_resource(max_entries=KEPT_DIGESTS, show_spinner=False)
def _digest(snapshot: str, days: int, until: datetime) -> Digest:
    return digest(load_settings(), since=until - timedelta(days=days), until=until)


def lines(found: Digest) -> pd.DataFrame:
    """One row per change: `section title change`."""
    rows = [
        {"section": section.key, "title": section.title, "change": line}
        for section in found.sections
        for line in section.lines
    ]
    return pd.DataFrame(rows, columns=["section", "title", "change"])


def feed(days: int) -> bytes:
    """The Atom feed: the digests that were kept, and what changed in the last `days`."""
    return atom([*kept(load_settings().digests_path), document(changed(days))])
