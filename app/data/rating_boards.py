"""The ingested rating boards, as axes of the frontier page."""

from __future__ import annotations

from app.data import queries
from tracker.answers.rating_series import rating_boards


def names() -> list[str]:
    """The boards by the names that `tracker frontier --series` accepts, largest first."""
    return rating_boards(queries.score_series())
