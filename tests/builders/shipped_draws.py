"""Draw the index of the shipped tables again, and its gaps: `python -m tests.builders.shipped_draws`.

Needed after a change of the shipped scores or of the code that draws or counts; a test says so.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tracker.answers.best_that_fits import CardBudget
from tracker.answers.frontier import answer_question
from tracker.answers.outlook import gap_history
from tracker.frontier.cache import SHIPPED, SHIPPED_GAPS, ship_draws, ship_gaps
from tracker.frontier.definitions import DEFINITIONS
from tracker.frontier.index import IndexFit, fit_index
from tracker.frontier.question import Question, selection
from tracker.frontier.tables import default_folder, load_tables
from tracker.memory_estimate import BITS, MEMORY_GB, STORED_BITS
from tracker.settings import Settings


def shipped_fit() -> IndexFit:
    """The index that `tracker frontier` answers with in an empty home."""
    question = Question()
    return fit_index(selection(load_tables(), question), question.options)


def first_questions() -> list[Question]:
    """What the pages of a new home ask: of all models, and of those that fit a card."""
    budgets = [CardBudget(memory_gb, bits) for memory_gb in MEMORY_GB for bits in (*STORED_BITS, BITS)]
    return [Question(), *(Question(max_params=budget.max_params) for budget in budgets)]


def write_gaps(path: Path) -> None:
    """Write the gaps of `first_questions`, and each definition over time, computed in an empty home."""
    path.unlink(missing_ok=True)  # it would be read instead
    with tempfile.TemporaryDirectory() as empty:
        settings = Settings(home=Path(empty))
        for question in first_questions():
            answer_question(question, settings)
        for rule in DEFINITIONS:
            gap_history(Question(), settings, name=rule.id)
        ship_gaps(settings.frontier_path, path)


if __name__ == "__main__":
    ship_draws(shipped_fit(), default_folder() / SHIPPED)
    write_gaps(default_folder() / SHIPPED_GAPS)
