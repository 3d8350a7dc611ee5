"""Numbers of things in sentences."""

from __future__ import annotations

import pytest

from tracker.wording import agreeing, counted


@pytest.mark.parametrize(
    ("n", "said"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (1200, "1,200 runs")], ids=str
)
def test_wording_a_noun_agrees_with_its_number(n: int, said: str) -> None:
    assert counted(n, "run") == said


def test_wording_knows_irregular_plurals_and_verbs() -> None:
    assert (counted(1, "study", "studies"), counted(3, "study", "studies")) == ("1 study", "3 studies")
    assert [agreeing(n, "is", "are") for n in (0, 1, 2)] == ["are", "is", "are"]
