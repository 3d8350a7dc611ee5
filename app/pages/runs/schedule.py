"""The schedule: the timer of `tracker weekly` with its next start and budget, its last digest, the ingest."""

from __future__ import annotations

import streamlit as st

from app.data import queries, schedules
from app.widgets import refresh, safe_text
from app.widgets.facts import show_facts
from tracker.answers.weekly_timer import LastDigest, WeeklySchedule, budget_text
from tracker.settings import load_settings

HOW = "`tracker schedule status` shows the same; `tracker schedule install` installs or changes the timer."
NO_TIMER = "No weekly timer is installed for this user."
WHEN = "%d %b %Y, %H:%M UTC"
SHOWN_CHANGES = 4  # kinds of changes of the last digest


def show_schedule() -> None:
    """Show the timer, the last digest, when every source was last complete, and what is overdue."""
    with refresh.errors_shown():
        _show(schedules.weekly(queries.snapshot()))


def _show(found: WeeklySchedule) -> None:
    timer = found.timer
    if timer.kind is None:
        st.caption(NO_TIMER)
    else:
        show_facts(
            {
                "Next start": "not known" if timer.next_at is None else timer.next_at.strftime(WHEN),
                "Weekly budget": budget_text(timer),
                "Timer": timer.kind,
            }
        )
        if timer.home is not None and timer.home != load_settings().home.resolve():
            st.warning(safe_text.escaped(f"The timer serves another home: {timer.home}"))
        if timer.next_at is None:
            st.caption(safe_text.escaped(timer.detail))
    if found.last_digest is not None:
        _show_digest(found.last_digest)
    if found.sources:
        overdue = [row["title"] or row["source"] for row in found.sources if row["is_overdue"]]
        complete = [row["completed_at"] for row in found.sources if row["completed_at"] is not None]
        said = max(complete).strftime(WHEN) if complete else "never"
        late = f" Overdue: {', '.join(overdue)}." if overdue else " Every source is in time."
        st.caption(safe_text.escaped(f"Last complete ingest: {said}.{late}"))
    st.caption(HOW)


def _show_digest(last: LastDigest) -> None:
    """The newest saved digest in one line, with a link to what changed."""
    shown = [f"{title.lower()}: {n:,}" for title, n in list(last.changes.items())[:SHOWN_CHANGES]]
    more = len(last.changes) - SHOWN_CHANGES
    shown += [f"{more} more kinds"] if more > 0 else []
    said = "; ".join(shown) or "nothing changed"
    st.caption(safe_text.escaped(f"Last weekly digest, {last.until_at.strftime(WHEN)}: {said}."))
    st.page_link("pages/changes/page.py", label="What changed")
