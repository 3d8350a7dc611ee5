"""Epoch's index becomes a vintage: kept once, refitted once, and the basis of every later answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.builders.epoch_october import FIXTURE, October, as_csv, october, read_csv, small_october
from tests.doubles.hub_double import running_hub
from tests.doubles.sources_double import SourcesHub, epoch_zip
from tracker.answers.digest import digest
from tracker.answers.frontier import answer_question, frontier_document, index_document
from tracker.answers.licenses import terms_document
from tracker.answers.outlook import outlook
from tracker.answers.vintages import ingested_vintages, tables_for, vintage_days
from tracker.errors import TrackerError
from tracker.frontier.definitions import HEADLINE
from tracker.frontier.question import Question
from tracker.ingest.run import ingest
from tracker.records.published import IngestOutcome, OutcomeStatus
from tracker.records.vintages import Vintage
from tracker.settings import Settings
from tracker.sources.epoch import parse
from tracker.store import Store, open_snapshot, publish, read_vintage_data, read_vintages

FRIDAY = datetime(2026, 10, 9, 6, tzinfo=UTC)
THURSDAY = date(2026, 10, 8)
NEWEST_RUN = date(2026, 10, 7)  # of `october()`: the day of the data, not of the ingest
SHIPPED = date(2026, 8, 11)
INDEX = "epoch_capabilities_index/eci_scores.csv"
UNDRAWN = 2  # bootstrap draws: enough where intervals do not matter


class Epoch:
    """A home whose only source is a stand-in for Epoch, on a day that the test moves."""

    def __init__(self, settings: Settings, hub: SourcesHub) -> None:
        self.hub = hub
        self.settings = settings.model_copy(update={"source_urls": hub.source_urls, "fixed_now": FRIDAY})

    def ingest(self, body: bytes | October, *, days: int = 0) -> IngestOutcome:
        """The outcome of ingesting this ZIP, some days after Friday."""
        self.hub.documents["/epoch.zip"] = body.zip() if isinstance(body, October) else body
        self.settings = self.settings.model_copy(update={"fixed_now": FRIDAY + timedelta(days=days)})
        (outcome,) = ingest(["epoch"], self.settings)
        return outcome

    def answer(self, **asked: Any) -> dict[str, Any]:
        """The answer of `tracker frontier --json`."""
        return frontier_document(answer_question(Question(**asked), self.settings))

    def vintages(self) -> tuple[Vintage, ...]:
        """Everything stored, accepted or not."""
        with open_snapshot(self.settings) as snapshot:
            return read_vintages(snapshot)

    def n_rows(self) -> int:
        """Published scores and models that are not withdrawn."""
        statement = (
            "select (select count(*) from current_scores where not is_withdrawn)"
            " + (select count(*) from current_models where not is_gone)"
        )
        with open_snapshot(self.settings) as snapshot:
            return int(snapshot.select(statement).rows[0][0])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draws that an earlier test computed; their names say of which content and code."""
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture
def epoch(settings: Settings, drawn: Path) -> Iterator[Epoch]:
    shutil.copytree(drawn, settings.frontier_path)
    with running_hub(SourcesHub()) as running:
        assert isinstance(running, SourcesHub)
        yield Epoch(settings, running)
    shutil.copytree(settings.frontier_path, drawn, dirs_exist_ok=True)


def test_an_ingest_moves_the_frontier_and_the_day_before_answers_as_before(epoch: Epoch) -> None:
    before = epoch.answer(as_of=THURSDAY)
    outcome = epoch.ingest(october())
    assert outcome.status is OutcomeStatus.COMPLETED, outcome.problems
    now = epoch.answer()
    leader = next(
        row for row in read_csv(FIXTURE / "eci_scores_sample.csv") if row["Model"] == "Claude Opus 5.5"
    )
    assert now["best_closed"]["model"] == "Claude Opus 5.5"
    assert float(leader["eci_ci_low"]) <= now["best_closed"]["value"] <= float(leader["eci_ci_high"])
    assert (now["vintage"], now["age_days"], now["is_old"]) == (NEWEST_RUN.isoformat(), 2, False)
    assert epoch.answer(as_of=THURSDAY) == before
    assert before["vintage"] == SHIPPED.isoformat()
    assert epoch.answer(as_of=FRIDAY.date())["best_closed"] == now["best_closed"]
    assert epoch.answer(vintage=SHIPPED)["best_closed"]["model"] == "GPT-5.6 Sol"
    ahead = outlook(Question(), epoch.settings)
    assert (ahead.as_of, ahead.age.age_days) == (NEWEST_RUN, 2)
    assert ahead.catch_up is not None
    assert ahead.catch_up.model == "Claude Opus 5.5"
    tables = tables_for(epoch.settings)
    published = index_document(tables, Question(n_draws=UNDRAWN), epoch.settings)["published"]
    assert published["n"] == len(october().index)
    assert published["mean_abs_error"] < 0.5  # the scores behind October's values are of August here
    (stored,) = epoch.vintages()
    assert stored.refit_mean_error == pytest.approx(published["mean_abs_error"])


@pytest.mark.clock
def test_unchanged_data_makes_no_vintage_and_is_confirmed(epoch: Epoch) -> None:
    epoch.ingest(small_october())
    n_rows = epoch.n_rows()
    outcome = epoch.ingest(small_october(), days=7)
    (stored,) = epoch.vintages()
    assert (stored.ingested_at, stored.confirmed_at) == (FRIDAY, FRIDAY + timedelta(days=7))
    assert (outcome.n_new, outcome.n_changed, outcome.n_gone, epoch.n_rows()) == (0, 0, 0, n_rows)
    answer = epoch.answer()
    assert (answer["age_days"], answer["confirmed_on"]) == (9, "2026-10-16")


@pytest.mark.clock
def test_each_state_is_a_vintage_that_can_be_named_or_dated(epoch: Epoch) -> None:
    epoch.ingest(small_october())
    later = small_october().edited(lambda row: row | ({"eci": "158.9"} if row["Model"] == "Kimi K3" else {}))
    moved = tuple(row | {"Started at": "2026-10-14T10:00:00.000Z"} for row in later.gpqa)
    epoch.ingest(replace(later, gpqa=moved), days=7)
    assert [one.day for one in ingested_vintages(epoch.settings)] == [NEWEST_RUN, date(2026, 10, 14)]
    assert vintage_days(epoch.settings)[-3:] == (SHIPPED, NEWEST_RUN, date(2026, 10, 14))
    assert epoch.answer()["vintage"] == "2026-10-14"
    assert epoch.answer(vintage=NEWEST_RUN)["vintage"] == NEWEST_RUN.isoformat()
    assert epoch.answer(as_of=date(2026, 10, 15))["vintage"] == NEWEST_RUN.isoformat()
    with pytest.raises(TrackerError, match="no vintage `2026-10-01`"):
        epoch.answer(vintage=date(2026, 10, 1))
    with pytest.raises(TrackerError, match="is in the future"):
        epoch.answer(as_of=date(2026, 10, 17))


def test_of_two_vintages_of_one_day_the_later_counts_and_the_first_is_kept(epoch: Epoch) -> None:
    epoch.ingest(small_october())
    changed = small_october().edited(
        lambda row: row | ({"eci": "160.0"} if row["Model"] == "Kimi K3" else {})
    )
    epoch.ingest(changed, days=1)
    assert len({one.digest for one in epoch.vintages()}) == 2
    found = tables_for(epoch.settings).ingested
    assert found is not None
    assert found.value[found.models.index("Kimi K3")] == pytest.approx(160.0)
    earlier = tables_for(epoch.settings, Question(as_of=FRIDAY.date())).ingested
    assert earlier is not None
    assert earlier.value[earlier.models.index("Kimi K3")] == pytest.approx(157.45)


def truncated(whole: October) -> October:
    return whole.only({row["Model"] for row in whole.index[:8]} | {"Claude 3.5 Sonnet", "GPT-5"})


def without_benchmark(whole: October) -> October:
    kept = [row for row in whole.fitted if row["benchmark"] != "GPQA diamond"]
    return replace(whole, fitted=tuple(kept))


DOUBTS: dict[str, tuple[Callable[[October], October], str]] = {
    "half of the models": (truncated, "models are missing from the index"),
    "no labels": (
        lambda whole: whole.edited(lambda row: row | {"Accessibility group": "", "Model accessibility": ""}),
        "0 labels open or closed",
    ),
    "values of a few only": (
        lambda whole: whole.edited(lambda row: row if row["Organization"] == "OpenAI" else row | {"eci": ""}),
        "published values where it had",
    ),
    "a benchmark less": (without_benchmark, "scores on GPQA diamond are missing"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DOUBTS)
def test_a_shrunken_index_is_kept_but_not_used_until_another_day_confirms_it(epoch: Epoch, kind: str) -> None:
    damage, says = DOUBTS[kind]
    epoch.ingest(small_october())
    before, n_rows = epoch.answer(), epoch.n_rows()
    damaged = damage(small_october())
    outcome = epoch.ingest(damaged, days=1)
    assert outcome.status is OutcomeStatus.PARTIAL
    assert says in (outcome.reason or "")
    after = epoch.answer()
    assert after | {"age_days": 0} == before | {"age_days": 0}
    assert epoch.n_rows() == n_rows
    assert [one.is_accepted for one in epoch.vintages()] == [True, False]
    epoch.ingest(damaged, days=2)
    assert [one.is_accepted for one in epoch.vintages()] == [True, True]
    confirmed = epoch.vintages()[-1]
    assert confirmed.ingested_at == FRIDAY + timedelta(days=2)  # on the day before, it was not believed
    assert confirmed.is_refitted or "needs" in (confirmed.reason or "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, f"the ZIP lacks `{INDEX}`"),
        ("Model,index,date\na,1,2026-01-01\n", "no column `eci`"),
        ("Model,eci,date\n", "has no rows"),
        ("Model,eci,date\na,,2026-01-01\n", "no values in the column `eci`"),
    ],
    ids=["no index", "renamed column", "header only", "empty column"],
)  # fmt: skip
def test_a_zip_without_a_usable_index_takes_nothing_away(
    epoch: Epoch, content: str | None, says: str
) -> None:
    epoch.ingest(small_october())
    before, n_rows = epoch.answer(), epoch.n_rows()
    broken = replace(small_october(), without=(INDEX,) if content is None else ())
    outcome = epoch.ingest(replace(broken, more={INDEX: content} if content else {}), days=1)
    assert outcome.status is OutcomeStatus.PARTIAL
    assert says in " ".join(outcome.problems)
    assert epoch.answer() | {"age_days": 0} == before | {"age_days": 0}
    assert epoch.n_rows() == n_rows


def test_published_values_are_the_axis_where_no_index_can_be_fitted(epoch: Epoch) -> None:
    fitted = "epoch_capabilities_index/processed_data_for_eci.csv"
    few = small_october().only({"Claude Opus 5.5", "GPT-6 Astra", "Kimi K3"})
    outcome = epoch.ingest(replace(few, without=(fitted,)))
    assert outcome.status is OutcomeStatus.COMPLETED, outcome.reason
    answer = epoch.answer()
    assert (answer["best_closed"]["model"], answer["best_closed"]["value"]) == ("Claude Opus 5.5", 167.33)
    assert answer["best_closed"]["ci_low"] < 167.33 < answer["best_closed"]["ci_high"]
    assert any("index as published" in note for note in answer["notes"])
    assert (
        index_document(tables_for(epoch.settings), Question(), epoch.settings)["vintage"]
        == SHIPPED.isoformat()
    )


def test_scores_on_too_few_benchmarks_leave_the_published_values(epoch: Epoch) -> None:
    whole = small_october()
    names = sorted({row["benchmark"] for row in whole.fitted})[:3]
    epoch.ingest(replace(whole, fitted=tuple(row for row in whole.fitted if row["benchmark"] in names)))
    (stored,) = epoch.vintages()
    assert not stored.is_refitted
    assert "an index needs 10" in (stored.reason or "")
    assert epoch.answer()["best_closed"]["model"] == "Claude Opus 5.5"


def test_a_refit_that_was_killed_is_made_up_for(epoch: Epoch) -> None:
    epoch.ingest(small_october())
    (stored,) = epoch.vintages()
    unfinished = replace(stored, is_refitted=False, refit_n=None, refit_mean_error=None, refit_max_error=None)
    with Store.open(epoch.settings) as store:
        store.put_vintage(unfinished)
    epoch.ingest(small_october(), days=1)
    (again,) = epoch.vintages()
    assert again == replace(stored, confirmed_at=again.confirmed_at)


def test_until_its_refit_a_vintage_answers_by_its_published_values(epoch: Epoch) -> None:
    epoch.ingest(small_october())
    (stored,) = epoch.vintages()
    with Store.open(epoch.settings) as store:
        store.put_vintage(replace(stored, is_refitted=False, refit_mean_error=None))
    publish(epoch.settings)
    assert epoch.answer()["best_closed"]["value"] == 167.33


def test_a_state_that_the_source_takes_back_is_no_longer_the_answer(epoch: Epoch) -> None:
    right = small_october()
    wrong = right.edited(lambda row: row | ({"eci": "180.0"} if row["Model"] == "Kimi K3" else {}))
    for days, body in enumerate((right, wrong, right)):
        epoch.ingest(body, days=days)
    found = tables_for(epoch.settings).ingested
    assert found is not None
    assert found.value[found.models.index("Kimi K3")] == pytest.approx(157.45)
    believed = tables_for(epoch.settings, Question(as_of=FRIDAY.date() + timedelta(days=1))).ingested
    assert believed is not None
    assert believed.value[believed.models.index("Kimi K3")] == pytest.approx(180.0)


def test_a_doubted_index_is_confirmed_only_by_the_next_ingests(epoch: Epoch) -> None:
    epoch.ingest(small_october())
    damaged = truncated(small_october())
    for days, body in enumerate((damaged, small_october(), damaged), start=1):
        epoch.ingest(body, days=days)
    assert [one.is_accepted for one in epoch.vintages()] == [True, False, False]


def test_an_index_without_open_or_closed_models_is_not_used(epoch: Epoch) -> None:
    closed = {row["Model"] for row in small_october().index if row["Accessibility group"] == "Closed weights"}
    outcome = epoch.ingest(small_october().only(closed))
    assert "no open model in it has a published value" in (outcome.reason or "")
    assert epoch.answer()["vintage"] == SHIPPED.isoformat()


def test_a_model_listed_twice_counts_once() -> None:
    body = small_october()
    twice = replace(body, index=(*body.index, {**body.index[0], "eci": "120.0"}))
    (batch,) = (batch for batch in parse(twice.zip(), today=FRIDAY.date()) if batch.vintage)
    assert batch.vintage is not None
    named = [row.index for row in batch.vintage.models if row.model == body.index[0]["Model"]]
    assert named == [120.0]
    assert any("lists 1 model twice" in why for why in batch.problems)


def test_an_unreadable_file_of_an_undescribed_benchmark_costs_that_benchmark() -> None:
    listed = read_csv(FIXTURE / "benchmark_metadata.csv")
    scicode = [row for row in listed if row["benchmark"] == "SciCode"]
    more = {
        "benchmark_metadata.csv": as_csv(tuple(scicode[0]), scicode),
        "scicode_external.csv": "Model version,Score\rkimi-k3,0.5\n",
    }
    batches = list(parse(replace(small_october(), more=more).zip(), today=FRIDAY.date()))
    assert any(batch.vintage for batch in batches)


def test_data_older_than_the_shipped_tables_do_not_replace_them(epoch: Epoch) -> None:
    outcome = epoch.ingest(epoch_zip("epoch_older"))
    assert outcome.status in (OutcomeStatus.COMPLETED, OutcomeStatus.PARTIAL)
    (stored,) = epoch.vintages()
    assert stored.day < SHIPPED
    assert epoch.answer()["vintage"] == SHIPPED.isoformat()


def test_a_vintage_is_stored_as_it_was_read(epoch: Epoch) -> None:
    epoch.ingest(small_october())
    (read,) = (batch.vintage for batch in parse(small_october().zip(), today=FRIDAY.date()) if batch.vintage)
    with open_snapshot(epoch.settings) as snapshot:
        stored, _ = read_vintage_data(snapshot, read_vintages(snapshot)[0])
    assert {row.model for row in stored.models} == {row.model for row in read.models}
    assert {(row.model, row.benchmark): row.score for row in stored.scores} == {
        (row.model, row.benchmark): row.score for row in read.scores
    }
    kimi = next(row for row in stored.models if row.model == "Kimi K3")
    assert len(kimi.draws) == 500
    assert kimi.access.value == "open"


def test_an_index_without_the_model_that_led_is_doubted(epoch: Epoch) -> None:
    epoch.ingest(small_october())
    others = {row["Model"] for row in small_october().index} - {"Kimi K3"}
    outcome = epoch.ingest(small_october().only(others), days=1)
    assert "the best open model, `Kimi K3`, is missing" in (outcome.reason or "")
    assert epoch.answer()["best_open"]["model"] == "Kimi K3"


def of_kimi(**cells: str) -> October:
    """The ZIP in which these cells of Kimi K3's row of the index are changed."""
    return small_october().edited(lambda row: row | (cells if row["Model"] == "Kimi K3" else {}))


IMPOSSIBLE = {
    "an index of 1e300": (of_kimi(eci="1e300"), "has an impossible index, 1e+300"),
    "the year 1": (of_kimi(date="0001-01-01"), "has an impossible date, `0001-01-01`"),
    "next year": (of_kimi(date="2027-01-01"), "has an impossible date, `2027-01-01`"),
    "scores in percent": (
        replace(
            small_october(),
            fitted=tuple(
                row | {"performance": str(100 * float(row["performance"]))} for row in small_october().fitted
            ),
        ),
        "scores are unusable, such as outside 0..1",
    ),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_impossible_values_in_the_index_are_told_and_not_used(epoch: Epoch, kind: str) -> None:
    body, says = IMPOSSIBLE[kind]
    outcome = epoch.ingest(body)
    assert outcome.status is OutcomeStatus.PARTIAL
    assert says in (outcome.reason or "")
    answer = epoch.answer()
    assert all(50 < answer[best]["value"] < 200 for best in ("best_open", "best_closed"))


def test_an_index_that_cannot_be_refitted_says_so_at_the_ingest(epoch: Epoch) -> None:
    whole = small_october()
    body = replace(whole, fitted=tuple(row for row in whole.fitted if row["benchmark"] != "Winogrande"))
    outcome = epoch.ingest(body)
    assert outcome.status is OutcomeStatus.COMPLETED
    assert "no scores on Winogrande" in outcome.problems[0]


def test_an_interval_that_does_not_hold_its_value_is_not_used() -> None:
    body = of_kimi(eci_ci_low="160.0", eci_ci_high="155.0").zip()
    (vintage,) = (batch.vintage for batch in parse(body, today=FRIDAY.date()) if batch.vintage)
    kimi = next(row for row in vintage.models if row.model == "Kimi K3")
    assert (kimi.index, kimi.ci_low, kimi.ci_high) == (157.45, None, None)


ONE_FILE = {
    "a renamed column": ("Model version,Best score,id\na,0.5,1\n", "no column `Best score (across scorers)`"),
    "percent": (
        "Model version,Best score (across scorers),id\na,95.0,1\nb,90,2\n",
        "2 of 2 scores lie outside 0..1",
    ),
    "header only": ("Model version,Best score (across scorers),id\n", "no rows"),
    "an empty column": ("Model version,Best score (across scorers),id\na,,1\n", "has no values"),
}


@pytest.mark.parametrize("kind", ONE_FILE)
def test_a_damaged_file_costs_that_file_and_nothing_that_was_known(epoch: Epoch, kind: str) -> None:
    content, says = ONE_FILE[kind]
    epoch.ingest(small_october())
    before, n_rows = epoch.answer(), epoch.n_rows()
    outcome = epoch.ingest(replace(small_october(), more={"gpqa_diamond.csv": content}), days=1)
    assert outcome.status is OutcomeStatus.PARTIAL
    assert "gpqa_diamond.csv" in (outcome.reason or "")
    assert says in (outcome.reason or "")
    assert (outcome.n_gone, epoch.n_rows()) == (0, n_rows)
    assert epoch.answer()["best_closed"] == before["best_closed"]


def test_benchmarks_that_the_list_does_not_describe_are_read_from_their_own_files(tmp_path: Path) -> None:
    rows = read_csv(FIXTURE / "benchmark_metadata.csv")
    undescribed = [row for row in rows if row["benchmark"] in ("SciCode", "Vending-Bench 2", "BTF-3")]
    header = ",".join(rows[0])
    listed = "\n".join([header, *(",".join(row.values()) for row in undescribed)]) + "\n"
    body = replace(
        small_october(),
        more={
            "benchmark_metadata.csv": listed,
            "scicode_external.csv": "Model version,Score,id\nkimi-k3,0.5,1\n",
            "vending_bench_2_external.csv": "Model version,Score,id\nkimi-k3,5000.1,1\nother,-3,2\n",
        },
    ).zip()
    batches = list(parse(body, today=FRIDAY.date()))
    found = {(s.name, s.benchmark): (s.value, s.unit) for b in batches for s in b.scores if s.unit != "index"}
    assert found == {
        ("kimi-k3", "SciCode"): (0.5, "fraction"),
        ("kimi-k3", "Vending-Bench 2"): (5000.1, "points"),
        ("other", "Vending-Bench 2"): (-3.0, "points"),
    }
    assert "Epoch: the ZIP lacks a file with scores for BTF-3" in [
        why for batch in batches for why in batch.problems
    ]


def test_the_digest_of_an_ingest_begins_with_the_new_best_and_the_gap(epoch: Epoch) -> None:
    epoch.ingest(october())
    after_ingest = FRIDAY + timedelta(hours=1)
    first = digest(epoch.settings, since=FRIDAY - timedelta(days=7), until=after_ingest).sections[0]
    before, after = epoch.answer(vintage=SHIPPED), epoch.answer()
    assert first.title == "Best on the capability index"
    best = next(change for change in first.changes if change.model == after["best_closed"]["model"])
    assert f"is the best closed model on the index with {after['best_closed']['value']:.1f}" in best.line
    assert "previously `GPT-5.6 Sol`, now " in best.line
    months = [row["definitions"] for row in (after, before)]
    now, then = (next(one["value"] for one in rows if one["id"] == HEADLINE) for rows in months)
    assert first.lines[-1].startswith(f"open models are {now:.1f} months behind closed ones (")
    assert f"previously {then:.1f} months behind closed ones (" in first.lines[-1]
    later = digest(epoch.settings, since=after_ingest, until=after_ingest + timedelta(days=7))
    assert later.sections[0].n == 0


def test_licenses_of_an_ingested_vintage_are_told_from_what_each_row_says(epoch: Epoch) -> None:
    epoch.ingest(october())
    tables = tables_for(epoch.settings)
    document = terms_document(tables)
    assert document["vintage"] == NEWEST_RUN.isoformat()
    counts = document["by_redistribution"]
    assert counts["allowed"] > 0
    assert (
        sum(counts.values())
        == document["n_scores"]
        == sum(row.vintage == NEWEST_RUN for row in tables.scores)
    )
    answer = epoch.answer(redistributable=True)
    assert f"only the {counts['allowed']:,} of {document['n_scores']:,} scores whose license" in " ".join(
        answer["notes"]
    )
