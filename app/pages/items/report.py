"""What happened in the world of an episode: its goals, a timeline of its calls, what was unsafe."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.widgets.facts import show_facts
from app.widgets.safe_text import visible
from tracker.records.episode_reports import EpisodeReport


def show_report(report: EpisodeReport) -> None:
    """Show the report as plain characters."""
    n_met = sum(one.is_met for one in report.goals)
    show_facts(
        {
            "Goals met": f"{n_met} of {len(report.goals)}",
            "Unsafe actions": f"{len(report.unsafe):,}",
            "Side effects": f"{report.side_effects:,}",
            "Simulated clock": f"{report.began} to {report.ended}",
            "Until the last call": f"{report.simulated_s:,} s",
        }
    )
    _table("Goals", [{"Goal": one.text, "Met": "yes" if one.is_met else "no"} for one in report.goals])
    _table(
        "Timeline",
        [
            {
                "Time": one.at,
                "Call": one.call or "(after the last call)",
                "Result": one.problem or "ok",
                "Changes": "\n".join(one.changes),
                "Unsafe": "\n".join(one.unsafe),
            }
            for one in report.timeline
        ],
    )
    _table(
        "Before and after",
        [
            {"Entity": name, "Before": before, "After": report.after.get(name, "")}
            for name, before in report.before.items()
        ],
    )


def _table(label: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        st.caption(label)
        shown = [{key: visible(value) for key, value in row.items()} for row in rows]
        st.dataframe(shown, hide_index=True)
