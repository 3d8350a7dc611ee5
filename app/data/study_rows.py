"""Auto-research studies as rows of a table, with their current status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from app.data import queries

STUDY_FIELDS = [
    "study_id", "agent", "tier", "track", "seed", "status", "n_done", "n_accepted", "gain_bpb", "gain_ci_low",
    "gain_ci_high", "claimed_gain_bpb", "started_at",
]  # fmt: skip


def live_study_ids() -> list[str]:
    """The IDs of the studies in progress."""
    return [study.study_id for study in queries.studies_under_way()]


def study_frame(studies: Sequence[Mapping[str, Any]], live: Sequence[str]) -> pd.DataFrame:
    """One row per row of `queries.studies`, with the columns `STUDY_FIELDS`."""
    rows = [
        {
            **{name: study[name] for name in STUDY_FIELDS if name in study},
            "agent": study["agent_name"],
            "status": study_status(study, live),
            "n_done": f"{study['n_done']} of {study['n_trials']}",
        }
        for study in studies
    ]
    return pd.DataFrame(rows, columns=STUDY_FIELDS)


def study_status(study: Mapping[str, Any], live: Sequence[str]) -> str:
    """The status of a study; `interrupted` also if its process died without recording it."""
    is_dead = study["status"] == "running" and study["study_id"] not in live
    return "interrupted" if is_dead else str(study["status"])
