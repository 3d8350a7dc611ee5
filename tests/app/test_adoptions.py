"""Which snapshot a server shows while a bench publishes every second."""

from __future__ import annotations

from app.data.queries import ADOPT_EVERY_S, AT_ONCE, Adoptions


def test_adoptions_show_a_new_snapshot_at_once_after_a_quiet_time() -> None:
    found = Adoptions()
    assert [found.shown(f"s{n}", ADOPT_EVERY_S * (n + 1)) for n in range(5)] == [f"s{n}" for n in range(5)]


def test_adoptions_of_a_snapshot_each_second_are_few_and_the_last_one_is_shown_in_the_end() -> None:
    found = Adoptions()
    shown = [found.shown(f"s{n}", 1000.0 + n) for n in range(61)]
    assert shown[:AT_ONCE] == [f"s{n}" for n in range(AT_ONCE)]
    assert len(set(shown)) <= AT_ONCE + 60 / ADOPT_EVERY_S
    assert found.shown("s60", 1060.0 + ADOPT_EVERY_S) == "s60"


def test_adoptions_show_what_a_visitor_changed_at_once() -> None:
    found = Adoptions()
    shown = [found.shown(f"s{n}", 1000.0 + n) for n in range(10)]
    assert shown[-1] != "s9"
    found.show_next()
    assert found.shown("own change", 1010.0) == "own change"
