"""Draw the index of the shipped tables again: `python -m tests.builders.shipped_draws`.

Needed after a change of the shipped scores or of the code that draws; a test says so.
"""

from __future__ import annotations

from tracker.frontier.cache import SHIPPED, ship_draws
from tracker.frontier.index import IndexFit, fit_index
from tracker.frontier.question import Question, selection
from tracker.frontier.tables import default_folder, load_tables


def shipped_fit() -> IndexFit:
    """The index that `tracker frontier` answers with in an empty home."""
    question = Question()
    return fit_index(selection(load_tables(), question), question.options)


if __name__ == "__main__":
    ship_draws(shipped_fit(), default_folder() / SHIPPED)
