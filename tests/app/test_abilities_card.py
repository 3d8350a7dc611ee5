"""The card of areas on the page of a model: its numbers are those of every other face."""

from __future__ import annotations

from typing import Any

from streamlit.testing.v1 import AppTest

from tests.tracker.answers.test_abilities import row
from tracker.answers.abilities import Ability, abilities


def page_of(found: tuple[Ability, ...], rows: list[dict[str, Any]]) -> AppTest:
    def page(found: tuple, rows: list) -> None:  # type: ignore[type-arg]
        import pandas as pd

        from app.pages.model.measured import show_abilities, show_unsafe

        show_abilities(found)
        show_unsafe(pd.DataFrame(rows))

    return AppTest.from_function(page, args=(found, rows), default_timeout=60).run()


def test_the_card_shows_each_area_and_unsafe_counts() -> None:
    found = abilities([row("place", "mmlu", 0.6, chance=0.25), row("home", "home_tools", 0.25)])
    unsafe = [{"task": "home_tools", "metric": name, "value": value, "n_items": 24}
              for name, value in (("unsafe", 2.0), ("unsafe_episodes", 1 / 24))]  # fmt: skip
    shown = page_of(found, unsafe)
    assert not shown.exception
    (table,) = (one.value for one in shown.dataframe)
    assert list(table["area"]) == ["knowledge and reasoning", "running a home"]
    assert [round(one) for one in table["value"]] == [47, 25]
    assert all(table["ci_low"] < table["value"])
    assert "home\\_tools\\: 2 unsafe actions in 1 of 24 episodes" in [one.value for one in shown.caption]


def test_one_area_alone_has_no_card() -> None:
    shown = page_of(abilities([row("place", "mmlu", 0.6)]), [{"task": "mmlu", "metric": "acc"}])
    assert not shown.dataframe
