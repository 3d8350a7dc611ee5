"""The rule that decides what an answer may take away, by itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import pytest

from tracker.ingest.guard import Judgment, is_much, judge, refusal
from tracker.records.published import Access, Batch, SourceModel, SourceScore
from tracker.store import KnownRows
from tracker.store.known_rows import MODEL_FIELDS, SCORE_FIELDS

MONDAY, TUESDAY, NEXT_WEEK = date(2026, 11, 23), date(2026, 11, 24), date(2026, 12, 1)


def scores(
    n: int, benchmark: str = "GPQA", *, start: int = 0, value: float = 0.5, **more: Any
) -> tuple[SourceScore, ...]:
    return tuple(SourceScore(f"m-{k}", benchmark, value, **more) for k in range(start, start + n))


def models(n: int, **more: Any) -> tuple[SourceModel, ...]:
    return tuple(SourceModel(f"m-{k}", **more) for k in range(n))


def stored(batch: Batch, since: dict[str, date] | None = None) -> KnownRows:
    """What the store has after this batch."""

    def row(record: Any, names: Iterable[str]) -> dict[str, Any]:
        return {name: getattr(record, name) for name in names}

    return KnownRows(
        models={m.key: row(m, MODEL_FIELDS) for m in batch.models},
        scores={s.key: row(s, SCORE_FIELDS) for s in batch.scores},
        missing_since=since or {},
    )


def after(before: Batch, now: Batch, *, today: date = MONDAY, **more: Any) -> Judgment:
    since = more.pop("since", None)
    return judge(now, stored(before, since), is_complete=True, today=today, **more)


@pytest.mark.parametrize(
    ("n_lost", "n_known", "much"),
    [
        (1, 1, False),
        (2, 2, False),
        (1, 3, False),
        (3, 3, True),
        (2, 10, False),
        (3, 14, True),
        (3, 15, False),
        (20, 100, False),
        (21, 100, True),
        (29, 5000, False),
        (30, 5000, True),
    ],
)
def test_more_than_a_fifth_or_thirty_rows_are_much_and_one_or_two_never(
    n_lost: int, n_known: int, much: bool
) -> None:
    assert is_much(n_lost, n_known) is much


def test_a_few_rows_that_go_are_withdrawn_at_once() -> None:
    before = Batch(scores=scores(20))
    verdict = after(before, Batch(scores=scores(18)))
    assert verdict.reasons == ()
    assert verdict.withdrawn == {score.key for score in before.scores[18:]}


def test_a_shrunken_benchmark_stops_every_withdrawal_and_stores_what_is_new() -> None:
    before = Batch(scores=(*scores(20), *scores(50, "HLE")))
    now = Batch(scores=(*scores(5), *scores(48, "HLE"), *scores(1, "HLE", start=90)))
    verdict = after(before, now)
    assert verdict.reasons == ("GPQA: 15 of 20 scores are missing",)
    assert verdict.withdrawn == frozenset()
    assert len(verdict.batch.scores) == 54
    assert set(verdict.missing_since.values()) == {MONDAY}
    assert len(verdict.missing_since) == 17


def test_many_small_losses_add_up_for_the_source() -> None:
    names = [f"benchmark {n}" for n in range(20)]
    before = Batch(scores=tuple(s for name in names for s in scores(20, name)))
    now = Batch(scores=tuple(s for name in names for s in scores(18, name)))
    assert after(before, now).reasons == ("the source: 40 of 400 scores are missing",)


def test_variants_of_a_score_count_once() -> None:
    def board(n: int) -> tuple[SourceScore, ...]:
        return tuple(s for v in range(27) for s in scores(n, variant=str(v)))

    verdict = after(Batch(scores=board(30)), Batch(scores=board(28)))
    assert verdict.reasons == ()
    assert len(verdict.withdrawn) == 2 * 27


def test_the_same_answer_confirms_on_another_day_and_not_on_the_same() -> None:
    before, now = Batch(scores=scores(20)), Batch(scores=scores(5))
    since = after(before, now).missing_since
    again = after(before, now, since=since)
    assert (again.withdrawn, bool(again.reasons), again.missing_since) == (frozenset(), True, since)
    later = after(before, now, since=since, today=TUESDAY)
    assert (len(later.withdrawn), later.reasons, later.missing_since) == (15, (), {})


def test_an_answer_that_goes_on_shrinking_confirms_nothing() -> None:
    before = Batch(scores=scores(160))
    since = after(before, Batch(scores=scores(11))).missing_since
    worse = after(before, Batch(scores=scores(1)), since=since, today=TUESDAY)
    assert worse.withdrawn == frozenset()
    assert worse.reasons == ("GPQA: 159 of 160 scores are missing",)


def test_a_large_list_that_turns_over_every_week_loses_last_weeks_rows() -> None:
    before = Batch(models=models(5000))
    since = after(before, Batch(models=models(4960))).missing_since
    assert len(since) == 40
    later = after(before, Batch(models=models(4920)), since=since, today=NEXT_WEEK)
    assert len(later.withdrawn) == 40
    assert later.reasons == ("the source: 80 of 5,000 models are missing",)
    assert set(later.missing_since.values()) == {NEXT_WEEK}


def test_rows_that_come_back_are_no_longer_waited_for() -> None:
    before = Batch(scores=scores(20))
    since = after(before, Batch(scores=scores(5))).missing_since
    back = after(before, before, since=since, today=TUESDAY)
    assert (back.reasons, back.withdrawn, back.missing_since) == ((), frozenset(), {})


def test_an_emptied_column_keeps_its_known_values_whatever_the_day() -> None:
    before = Batch(models=models(40, access=Access.CLOSED, max_context=8))
    now = Batch(models=models(40, max_context=9))
    for today, since in ((MONDAY, None), (TUESDAY, {})):
        verdict = after(before, now, today=today, since=since)
        assert verdict.reasons == ("40 of 40 rows have lost their open or closed label",)
        assert {(m.access, m.max_context) for m in verdict.batch.models} == {(Access.CLOSED, 9)}
        assert not verdict.can_repeat


def test_one_model_that_loses_its_label_has_lost_it() -> None:
    before = Batch(models=models(40, access=Access.CLOSED))
    now = Batch(models=(*before.models[1:], SourceModel("m-0")))
    verdict = after(before, now)
    assert verdict.reasons == ()
    assert verdict.batch.models[-1].access is Access.UNKNOWN


def test_a_column_of_one_benchmark_is_enough() -> None:
    on = date(2026, 1, 1)
    before = Batch(scores=(*scores(10, evaluated_on=on), *scores(90, "HLE", evaluated_on=on)))
    now = Batch(scores=(*scores(10), *scores(90, "HLE", evaluated_on=on)))
    verdict = after(before, now)
    assert verdict.reasons == ("GPQA: 10 of 10 rows have lost their date",)
    assert {score.evaluated_on for score in verdict.batch.scores} == {on}


@pytest.mark.parametrize(
    ("factor", "says"),
    [
        (0.01, "values are 1/100 of what they were, fractions instead of percent"),
        (0.001, "values are 1/1,000 of what they were"),
        (0.0, "values are 0 times what they were"),
    ],
)
def test_values_in_another_unit_are_not_written(factor: float, says: str) -> None:
    before = Batch(scores=scores(10, value=0.5))
    now = Batch(scores=(*scores(10, value=0.5 * factor), *scores(1, "HLE")))
    verdict = after(before, now)
    assert verdict.reasons == (f"GPQA: {says}",)
    assert [score.benchmark for score in verdict.batch.scores] == ["HLE"]
    assert verdict.withdrawn == frozenset()


def test_percent_is_named_as_the_cause_and_its_few_valid_values_are_not_believed() -> None:
    before = Batch(scores=scores(10, value=0.005))
    problems = [f"m-{n} on GPQA: the score must be in 0..1, got {40.0 + n}" for n in range(9)]
    verdict = after(before, Batch(scores=scores(1, value=0.5), problems=tuple(problems)))
    assert verdict.reasons == ("GPQA: 9 values are not in 0..1 but percent instead of fractions (44)",)
    assert verdict.batch.scores == ()
    assert verdict.withdrawn == frozenset()


def test_news_is_not_mistaken_for_a_unit() -> None:
    before = Batch(scores=scores(10, value=0.1))
    now = Batch(scores=scores(10, value=0.9))
    assert after(before, now).reasons == ()


def test_accept_takes_the_answer_as_it_is() -> None:
    before = Batch(models=models(40, access=Access.OPEN), scores=scores(20, value=0.5))
    now = Batch(models=models(40), scores=scores(5, value=0.005))
    verdict = after(before, now, accept=True)
    assert verdict.reasons == ()
    assert len(verdict.withdrawn) == 15
    assert {m.access for m in verdict.batch.models} == {Access.UNKNOWN}


def test_an_incomplete_answer_withdraws_nothing_and_forgets_nothing() -> None:
    before = Batch(scores=scores(20))
    since = after(before, Batch(scores=scores(5))).missing_since
    verdict = judge(Batch(scores=scores(3)), stored(before, dict(since)), is_complete=False, today=TUESDAY)
    assert (verdict.withdrawn, verdict.missing_since) == (frozenset(), since)


def test_a_hidden_benchmark_is_not_missing() -> None:
    before = Batch(scores=(*scores(20), *scores(20, "HLE")))
    verdict = after(before, Batch(scores=scores(20), unread=("HLE",)))
    assert (verdict.reasons, verdict.withdrawn) == ((), frozenset())


def test_the_refusal_says_what_to_do() -> None:
    reasons = [f"b{n}: 9 of 9 scores are missing" for n in range(5)]
    text = refusal(reasons, "epoch", can_repeat=True)
    assert text.startswith("b0: 9 of 9 scores are missing; b1")
    assert "(and 2 more)" in text
    assert "`tracker ingest epoch --accept`" in text
    assert "another day" in text
    assert "another day" not in refusal(reasons, "epoch", can_repeat=False)
