"""The Elo boards that were ingested, as axes of the frontier page."""

from __future__ import annotations

from app import queries
from tracker.series import RATING, Series, rating_boards, read_series
from tracker.settings import load_settings

UNIT = RATING


def names() -> list[str]:
    """The boards by the names that `tracker frontier --series` takes, the largest first."""
    return rating_boards(queries.score_series())


def read(name: str) -> Series:
    """The models of one board with their dates.

    Raises:
        TrackerError: it is gone, or has no dated open or closed model.
    """
    return read_series(name, load_settings())
