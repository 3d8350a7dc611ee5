"""Digests of the last days for the page and the JSON route, and the Atom feed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from app.data import queries
from app.data.background import Background
from tracker.answers.digest import digest
from tracker.answers.digest_formats import atom, document, kept
from tracker.answers.digest_records import SHOWN, Digest
from tracker.settings import load_settings

KEPT_DIGESTS = 16
WAIT_S = 0.3  # a digest that is already computed takes less


def recent_digest(days: int, *, most: int | None = SHOWN) -> Digest:
    """The digest of the last `days` from the newest snapshot, computed again every hour.

    Each section has its first `most` lines, or all of them if `most` is None.
    """
    now = queries.now()
    until = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return replace(_digest(queries.snapshot(), days, until, most), until=now)


@st.cache_resource(max_entries=KEPT_DIGESTS, show_spinner=False)
def _digest(snapshot: str, days: int, until: datetime, most: int | None) -> Digest:
    return digest(load_settings(), since=until - timedelta(days=days), until=until, most=most)


def week(days: int, *, wait_s: float = WAIT_S) -> Digest | None:
    """The digest of the last `days` for the first screen; None while a thread computes it.

    The effect of new data on the gap takes seconds the first time.
    """
    hour = queries.now().replace(minute=0, second=0, microsecond=0)
    return _background().ready((queries.snapshot(), hour, days), lambda: recent_digest(days), wait_s=wait_s)


@st.cache_resource(show_spinner=False)
def _background() -> Background[Digest]:
    return Background(kept=KEPT_DIGESTS)


def change_rows(found: Digest) -> pd.DataFrame:
    """One row per change: its section and text, and the model and the address that it has, if any."""
    rows = [
        {
            "section": section.key,
            "title": section.title,
            "change": change.line,
            "model": change.model,
            "url": change.url,
        }
        for section in found.sections
        for change in section.changes
    ]
    return pd.DataFrame(rows, columns=["section", "title", "change", "model", "url"])


def atom_feed(days: int) -> bytes:
    """The Atom feed: every saved digest, and one of the last `days`."""
    live = live_document(recent_digest(days), published=queries.published())
    return atom([*kept(load_settings().digests_path), live])


def live_document(found: Digest, *, published: datetime | None) -> dict[str, Any]:
    """The recent digest as an entry of the feed: one per week, updated whenever a snapshot is published."""
    year, week, weekday = found.until.isocalendar()
    monday = found.until.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=weekday - 1)
    updated = monday if published is None else min(max(published, monday), found.until)
    return document(found) | {"id": f"{year}-W{week:02}", "updated": updated.isoformat()}
