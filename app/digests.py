"""What changed in a span of days, and the feed of the digests that were kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from app import queries
from tracker.digest import SHOWN, Digest, digest
from tracker.digest_forms import atom, document, kept
from tracker.settings import load_settings

KEPT_DIGESTS = 16


def changed(days: int, *, most: int | None = SHOWN) -> Digest:
    """What changed in so many days until now, as the newest snapshot has it; read anew once an hour.

    Of each kind of change the first lines, or all where `most` is None.
    """
    now = datetime.now(UTC)
    until = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return replace(_digest(queries.snapshot(), days, until, most), until=now)


@st.cache_resource(max_entries=KEPT_DIGESTS, show_spinner=False)
def _digest(snapshot: str, days: int, until: datetime, most: int | None) -> Digest:
    return digest(load_settings(), since=until - timedelta(days=days), until=until, most=most)


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
    live = live_document(changed(days), published=queries.published())
    return atom([*kept(load_settings().digests_path), live])


def live_document(found: Digest, *, published: datetime | None) -> dict[str, Any]:
    """What changed until now as a document of the feed: one a week, new to a reader with each publication."""
    year, week, weekday = found.until.isocalendar()
    monday = found.until.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=weekday - 1)
    updated = monday if published is None else min(max(published, monday), found.until)
    return document(found) | {"id": f"{year}-W{week:02}", "updated": updated.isoformat()}
