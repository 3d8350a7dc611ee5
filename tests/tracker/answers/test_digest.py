"""The digest: what two vintages say, in three forms."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.etree import ElementTree as ET

import duckdb
import pytest

from tests.builders.some_runs import (
    STARTED_AT,
    model,
    run,
    store_runs,
)
from tests.builders.some_studies import TPE, result, store_study, study, trial
from tracker.answers.digest import contradiction_lines, digest, outage_lines
from tracker.answers.digest_formats import (
    ATOM,
    atom,
    document,
    keep,
    markdown,
)
from tracker.answers.digest_index import HEADLINE, compared, known_vintage
from tracker.answers.digest_memory import memory_bests
from tracker.answers.digest_records import Digest, DigestChange, section
from tracker.answers.digest_scores import (
    new_score_changes,
    overlap_words,
    record_changes,
    score_change_lines,
)
from tracker.answers.frontier import FrontierAnswer, ModelPoint
from tracker.errors import TrackerError, UnreachableError
from tracker.frontier.gap import Gap
from tracker.records.published import (
    Access,
    Batch,
    IngestOutcome,
    ModelKind,
    OutcomeStatus,
    SourceFacts,
    SourceModel,
    SourceScore,
)
from tracker.records.studies import StudyStatus, Transfer, Verdict
from tracker.settings import Settings
from tracker.store import SourceState, Store, publish, snapshot_id
from tracker.weekly.notify import check_address, send

pytestmark = pytest.mark.clock
FIRST = datetime(2026, 11, 15, tzinfo=UTC)
SECOND = FIRST + timedelta(days=7)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def put(settings: Settings, at: datetime, number: int, *, source: str = "hub-models", **batch: Any) -> None:
    with Store.open(settings) as store:
        store.add_batch(Batch(**batch), source=source, ingest_id=f"{number:04}", seen_at=at)
    publish(settings)


def hub_model(name: str, **more: Any) -> SourceModel:
    return SourceModel(
        name, **{"access": Access.OPEN, "kind": ModelKind.CHAT, "n_params": 8_000_000_000} | more
    )


def measured(model_id: str, value: float, *, gigabytes: int, task: str = "sums") -> dict[str, Any]:
    """A row of query `scores_of_tasks`, with an interval of ten points to each side."""
    ends = {"ci_low": round(value - 0.1, 6), "ci_high": round(value + 0.1, 6)}
    memory = {"peak_memory_bytes": gigabytes * 10**9}
    return {"suite": "quick", "task": task, "value": value, "model_id": model_id} | ends | memory


def score(name: str, value: float, before: float | None = None, **more: Any) -> dict[str, Any]:
    """A row of query `score_changes`."""
    row = {
        "source": "epoch",
        "name": name,
        "model_id": None,
        "benchmark": "gpqa",
        "variant": "",
        "unit": "fraction",
        "value": value,
        "before": before,
        "is_withdrawn": False,
        "reported_by": "third_party",
        "source_url": None,
    }
    ends = dict.fromkeys(("ci_low", "ci_high", "stderr", "before_ci_low", "before_ci_high", "before_stderr"))
    return row | ends | more


def lines(settings: Settings, key: str, since: datetime = FIRST) -> tuple[str, ...]:
    found = digest(settings, since=since, until=NOW)
    return next(section.lines for section in found.sections if section.key == key)


@pytest.fixture
def two_weeks(settings: Settings) -> Settings:
    """A home with two vintages."""
    put(
        settings,
        FIRST,
        1,
        models=tuple(hub_model(f"acme/{n}") for n in ("stays", "gated", "gone", "relicensed")),
    )
    score = SourceScore("acme/stays", "gpqa", 0.50, stderr=0.02)
    closed = SourceScore("gpt-9", "gpqa", 0.60)
    put(
        settings,
        FIRST,
        2,
        source="epoch",
        models=(SourceModel("gpt-9", access=Access.CLOSED),),
        scores=(score, closed),
    )
    changed = (hub_model("acme/gated", gated="manual"), hub_model("acme/relicensed", license="mit"))
    put(settings, SECOND, 3, models=(hub_model("acme/new", downloads=9), *changed), gone=("acme/gone",))
    scores = (SourceScore("acme/stays", "gpqa", 0.65, stderr=0.02), SourceScore("acme/new", "gpqa", 0.4))
    put(settings, SECOND, 4, source="epoch", scores=scores)
    return settings


def test_digest_new_and_changed_models_are_reported(two_weeks: Settings) -> None:
    assert lines(two_weeks, "new_models") == ("`acme/new` (8B, chat)",)
    assert set(lines(two_weeks, "changed_models")) == {
        "`acme/gated` is now gated (manual)",
        "`acme/relicensed` has a new license: none → mit",
        "`acme/gone` was deleted or made private",
    }


def test_digest_a_changed_score_says_whether_the_intervals_overlap(two_weeks: Settings) -> None:
    assert lines(two_weeks, "changed_scores") == (
        "`acme/stays` on gpqa: 50.0% → 65.0%, the intervals do not overlap (epoch)",
    )
    assert lines(two_weeks, "new_scores") == ("`acme/new` on gpqa: 40.0% (epoch, reported by a third party)",)
    near = {"value": 0.5, "before": 0.49, "ci_low": 0.4, "ci_high": 0.6, "stderr": None}
    assert overlap_words(near | {"before_ci_low": None, "before_ci_high": None, "before_stderr": 0.01}) == (
        "the intervals overlap"
    )


def test_digest_a_record_and_open_catching_up_with_closed_are_reported(two_weeks: Settings) -> None:
    (line,) = lines(two_weeks, "frontier")
    assert line == (
        "`acme/stays` is the best open model on gpqa with 65.0%, up from 50.0% (epoch); open models have "
        "caught up with closed ones"
    )


def test_the_digest_of_a_week_without_changes_says_nothing(two_weeks: Settings) -> None:
    quiet = digest(two_weeks, since=SECOND + timedelta(hours=1), until=NOW)
    assert quiet.is_empty
    assert "Nothing changed." in markdown(quiet)


def test_digest_a_section_that_cannot_be_computed_costs_only_itself(two_weeks: Settings) -> None:
    (path,) = two_weeks.snapshots_path.glob(f"*{snapshot_id(two_weeks)}*")
    with duckdb.connect(path) as connection:
        connection.execute("drop table weights")
    (said,) = lines(two_weeks, "new_weights")
    assert said.startswith("this section could not be computed: CatalogException")
    assert lines(two_weeks, "new_models") == ("`acme/new` (8B, chat)",)


def test_digest_a_benchmark_that_was_not_there_before_has_no_records() -> None:
    row = {"source": "s", "benchmark": "b", "access": "open", "value": 0.5, "unit": "fraction", "name": "a/b"}
    assert record_changes([], [row]) == []


def test_digest_a_new_best_of_a_memory_size_is_reported() -> None:
    row = measured("a/b", 0.5, gigabytes=20)
    better = measured("a/c", 0.6, gigabytes=20)
    assert memory_bests([row], [row]) == []
    assert [change.line for change in memory_bests([row], [row, better])] == [
        "`a/c` on quick: sums 60.0% (50.0% to 70.0%), previously `a/b` with 50.0%, in 24 to 80 GB"
    ]


@pytest.mark.parametrize(
    ("completed", "words"),
    [
        (
            {"completed_value": 0.9, "completed_fraction": 0.55},
            ", 90.0% on the 55% that are completed answers",
        ),
        ({"completed_value": 0.55, "completed_fraction": 0.95}, ""),
        ({"completed_value": None, "completed_fraction": 0.0}, ""),
    ],
    ids=["outside the interval", "inside it", "none completed"],
)
def test_digest_a_score_of_completed_answers_is_told_where_it_differs(
    completed: dict[str, Any], words: str
) -> None:
    row = measured("a/b", 0.5, gigabytes=3) | completed
    expected = f"`a/b` on quick: sums 50.0% (40.0% to 60.0%){words}, in 8 to 80 GB"
    assert [change.line for change in memory_bests([], [row])] == [expected]
    claim = row | {
        "measured": 0.5, "verdict": "claimed_higher", "match": "exact", "claimed": 0.95, "reporter": "acme",
        "reported_by": "first_party", "n_items": 99, "source_url": None,
    }  # fmt: skip
    (line,) = contradiction_lines([claim])
    assert line.line.endswith(f"measured here 50.0% (40.0% to 60.0%, n=99){words}")


def test_digest_memory_bests_are_one_line_per_model_with_the_sizes_of_each_task() -> None:
    small = [measured("a/s", 0.1, gigabytes=3), measured("a/s", 0.9, gigabytes=3, task="letters")]
    large = [measured("a/l", 0.6, gigabytes=60), measured("a/l", 0.8, gigabytes=60, task="letters")]
    assert [change.line for change in memory_bests([], [*small, *large])] == [
        "`a/s` on quick: letters 90.0% (80.0% to 100.0%), in 8 to 80 GB; sums 10.0% (0.0% to 20.0%), "
        "in 8 to 48 GB",
        "`a/l` on quick: sums 60.0% (50.0% to 70.0%), in 80 GB",
    ]


def test_digest_tells_no_record_of_a_suite_that_only_shows_that_a_model_runs() -> None:
    assert memory_bests([], [measured("a/b", 0.5, gigabytes=3) | {"suite": "smoke"}]) == []


def test_digest_a_claim_that_was_not_reproduced_is_reported(settings: Settings) -> None:
    put(settings, FIRST, 1, models=(hub_model("acme/atlas-8b"),))
    claim = SourceScore("acme/atlas-8b", "Letters", 0.9, reported_by="first_party", reporter="Acme")
    put(settings, FIRST, 2, source="hub-evals", scores=(claim,))
    with Store.open(settings) as store:
        store.put_benchmark_tasks([("Letters", "count_letters", "close")])
    store_runs(settings, run(1, of=model("acme/atlas-8b")))
    until = STARTED_AT + timedelta(hours=1)
    found = digest(settings, since=FIRST, until=until)
    assert next(s.lines for s in found.sections if s.key == "contradictions") == (
        "`acme/atlas-8b` on count_letters: claimed 90.0% by Acme, measured here 50.0% "
        "(30.0% to 70.0%, n=10); prompts or shots may differ",
    )


def test_digest_outages_and_rewritten_histories_are_reported_and_private_sources_are_not(
    settings: Settings,
) -> None:
    facts = SourceFacts(
        "openrouter", "OpenRouter", "https://openrouter.ai", "terms", "Prices: OpenRouter", is_private=True
    )
    problem = "acme/forced: commit `aaaa` no longer exists; the history was rewritten"
    outcome = IngestOutcome(
        "openrouter", OutcomeStatus.FAILED, reason="no `data`", problems=(problem,), ingest_id="0009"
    )
    put(settings, SECOND, 9, source="openrouter", scores=(SourceScore("a/b", "secret", 0.5),))
    with Store.open(settings) as store:
        store.add_outcome(facts, outcome, started_at=SECOND, state=SourceState())
    publish(settings)
    assert lines(settings, "outages") == (
        "openrouter, 2026-11-22 00:00 UTC: failed: no `data`", problem,
    )  # fmt: skip
    assert lines(settings, "new_scores") == ()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (OutcomeStatus.PARTIAL, "partial"),
        (OutcomeStatus.SKIPPED_UNAVAILABLE, "skipped (unavailable)"),
        (OutcomeStatus.SKIPPED_MISSING_CREDENTIAL, "skipped (missing credential)"),
    ],
)
def test_digest_outcome_label_has_the_words_of_a_sentence(status: OutcomeStatus, words: str) -> None:
    assert status.label == words


def test_digest_lists_an_unreachable_source_and_not_one_without_a_key() -> None:
    row = {"started_at": SECOND, "reason": "no network", "problems": []}
    statuses = {"a": "completed", "b": "skipped_missing_credential", "epoch": "skipped_unavailable"}
    found = outage_lines([row | {"source": name, "status": status} for name, status in statuses.items()])
    assert [change.line for change in found] == [
        "epoch, 2026-11-22 00:00 UTC: skipped (unavailable): no network"
    ]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["failed", "completed"], []),
        (["failed", "partial", "completed"], []),
        (["failed", "completed", "running"], []),
        (["failed", "skipped_missing_credential"], []),
        (["completed", "failed"], ["epoch, 2026-11-22 01:00 UTC: failed: broken"]),
        (["failed", "running"], ["epoch, 2026-11-22 00:00 UTC: failed: broken"]),
        (
            ["completed", "failed", "partial", "failed"],
            ["epoch, 2026-11-22 03:00 UTC: failed: broken (3 ingests since 2026-11-22)"],
        ),
    ],
    ids=str,
)
def test_digest_a_source_that_recovered_is_no_problem(statuses: list[str], expected: list[str]) -> None:
    rows = [
        {
            "source": "epoch",
            "status": status,
            "started_at": SECOND + timedelta(hours=hour),
            "reason": "broken",
            "problems": [],
        }
        for hour, status in enumerate(statuses)
    ]
    for order in (rows, rows[::-1]):
        assert [change.line for change in outage_lines(order)] == expected


@pytest.mark.parametrize(
    ("reported_by", "words"),
    [("first_party", "its developer"), ("third_party", "a third party"), ("unknown", "an unknown party")],
)
def test_digest_names_who_reported_a_new_score(reported_by: str, words: str) -> None:
    (change,) = new_score_changes([score("a/b", 0.4, reported_by=reported_by)])
    assert change.line == f"`a/b` on gpqa: 40.0% (epoch, reported by {words})"


def test_digest_the_three_forms_say_the_same_and_nothing_breaks_out_of_them(two_weeks: Settings) -> None:
    put(two_weeks, SECOND, 10, models=(hub_model("acme/evil", license="<b>\n# x\x00\x1b[2J"),))
    found = digest(two_weeks, since=FIRST, until=NOW)
    text = markdown(found)
    assert text.startswith("# What changed from 2026-11-15 to 2026-11-24\n")
    assert "\n# x" not in text
    assert "\x1b" not in text
    keep(found, two_weeks.digests_path)
    paths = keep(found, two_weeks.digests_path)
    assert [path.name for path in paths] == ["2026-11-24.md", "2026-11-24.json", "feed.xml"]
    assert json.loads(paths[1].read_bytes()) == document(found)
    feed = ET.fromstring(paths[2].read_bytes())
    entries = feed.findall(f"{{{ATOM}}}entry")
    assert len(entries) == 1
    for element in (feed, entries[0]):
        for name in ("id", "title", "updated"):
            found_text = element.findtext(f"{{{ATOM}}}{name}")
            assert found_text
    assert "acme/new" in (entries[0].findtext(f"{{{ATOM}}}content") or "")


def test_a_second_digest_of_a_day_leaves_the_first_as_it_was(two_weeks: Settings) -> None:
    first = digest(two_weeks, since=FIRST, until=NOW)
    paths = keep(first, two_weeks.digests_path)
    later = NOW + timedelta(hours=2)
    second = keep(digest(two_weeks, since=NOW, until=later), two_weeks.digests_path)
    assert second[0].name == "2026-11-24T140000.md"
    assert paths[0].read_text() == markdown(first)
    assert len(ET.fromstring(second[2].read_bytes()).findall(f"{{{ATOM}}}entry")) == 2


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # in apprise's own import
def test_a_digest_is_really_sent(two_weeks: Settings) -> None:
    pytest.importorskip("apprise")
    got: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(json.loads(body))
            self.send_response(200 if len(got) == 1 else 500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"json://127.0.0.1:{server.server_port}/hook"
    text = markdown(digest(two_weeks, since=FIRST, until=NOW))
    try:
        check_address(address)
        send(address, title="What changed", body=text)
        with pytest.raises(UnreachableError, match="could not be sent") as caught:
            send(address + "?secret=1", title="again", body=text)
    finally:
        server.shutdown()
        server.server_close()
    assert (got[0]["title"], got[0]["message"].strip()) == ("What changed", text.strip())
    assert "secret" not in f"{caught.value} {caught.value.hint}"
    with pytest.raises(TrackerError, match="does not accept the `--notify` address") as caught_wrong:
        check_address("nosuchservice://secret-topic")
    assert "secret" not in str(caught_wrong.value)


def test_digest_an_empty_feed_is_a_feed() -> None:
    assert ET.fromstring(atom([])).tag == f"{{{ATOM}}}feed"


def test_digest_notify_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(TrackerError) as caught:
        check_address("ntfy://secret-topic")
    assert "notify" in caught.value.hint
    assert "secret" not in str(caught.value)


def test_digest_counts_of_new_values_are_labelled_as_counts() -> None:
    rows = [score(f"a/m{i}", i / 100, benchmark="MMLU") for i in range(40)] + [score("a/m1", 0.5)]
    assert [change.line for change in new_score_changes(rows)] == [
        "40 new values on MMLU, the highest 39.0% by `a/m39` (epoch)",
        "1 new value on gpqa: 50.0% by `a/m1` (epoch)",
    ]


def test_digest_new_scores_of_a_model_and_its_efforts_are_one_line() -> None:
    rows = [
        score("gpt-9_low", 0.4),
        score("gpt-9_high", 0.6),
        *(score("gpt-9_high", 0.5, benchmark=name) for name in ("b", "c", "d", "e")),
    ]
    assert [change.line for change in new_score_changes(rows)] == [
        "`gpt-9`: new scores: gpqa 60.0% (highest of 2 values), b 50.0%, c 50.0% and 2 more benchmarks "
        "(epoch, reported by a third party)"
    ]


def index_score(name: str, value: float, before: float, half_width: float | None = 3.0) -> dict[str, Any]:
    ends = {} if half_width is None else {"ci_low": value - half_width, "ci_high": value + half_width}
    return score(name, value, before, benchmark="Epoch Capabilities Index", unit="index", **ends)


def test_digest_refits_of_an_index_are_one_sentence_and_a_real_change_is_a_line() -> None:
    refits = [
        index_score(f"m{i}_{effort}", 100.3 + i, 100.0 + i)
        for i in range(10)
        for effort in ("low", "medium", "high")
    ]
    moved = [index_score(f"moved_{effort}", 120.0, 105.0) for effort in ("low", "high")]
    assert [change.line for change in score_change_lines([*refits, *moved])] == [
        "Epoch Capabilities Index: the values of 10 models were refitted (+0.3 to +0.3, median +0.3), within "
        "their intervals or as a rescale of all values moves them (epoch)",
        "`moved` on Epoch Capabilities Index: 105.0 → 120.0, intervals unknown (epoch)",
    ]


@pytest.mark.parametrize("half_width", [None, 0.01])
def test_digest_a_rescale_of_all_values_is_one_sentence(half_width: float | None) -> None:
    """A shift and stretch, whatever the intervals; one value that does not follow it is a line."""
    rows = [index_score(f"m{i}", 5.0 + 1.1 * (80.0 + 3 * i), 80.0 + 3 * i, half_width) for i in range(20)]
    odd = index_score("odd", 150.0, 100.0, half_width)
    said = [change.line for change in score_change_lines([*rows, odd])]
    assert [line.partition(" ")[0] for line in said] == ["Epoch", "`odd`"]
    assert "20 models" in said[0]


def test_digest_a_few_values_without_intervals_are_no_rescale() -> None:
    assert len(score_change_lines([index_score("a", 101.0, 100.0, None)])) == 1
    assert "100.0 → 101.0" in score_change_lines([index_score("a", 101.0, 100.0, None)])[0].line


def test_digest_changes_beyond_their_intervals_come_first() -> None:
    near = score("a/near", 0.9, 0.1)
    clear = score("a/clear", 0.6, 0.5, stderr=0.001, before_stderr=0.001)
    gone = score("a/gone", 0.5, 0.5, is_withdrawn=True)
    assert [change.model for change in score_change_lines([gone, near, clear])] == [
        "a/clear",
        "a/near",
        "a/gone",
    ]


def record(name: str, value: float, benchmark: str = "gpqa", **more: Any) -> dict[str, Any]:
    row = {"source": "s", "benchmark": benchmark, "access": "open", "value": value, "unit": "fraction"}
    return row | {"name": name} | more


def test_digest_records_of_one_model_are_one_line() -> None:
    names = [f"b{i}" for i in range(5)]
    before = [record("a/old", 0.4, name) for name in names]
    (change,) = record_changes(before, [record("a/new", 0.5, name) for name in names])
    assert change.line == (
        "`a/new` is the best open model on 5 benchmarks: b0 50.0% (previously `a/old` with 40.0%), "
        "b1 50.0% (previously `a/old` with 40.0%), b2 50.0% (previously `a/old` with 40.0%) and 2 more "
        "benchmarks (s)"
    )
    assert change.url == "https://huggingface.co/a/new"


def test_digest_a_better_rating_of_the_leader_is_a_refit_and_no_record() -> None:
    before = [record("gpt-9_low", 1500.0, unit="rating")]
    assert record_changes(before, [record("gpt-9_high", 1503.0, unit="rating")]) == []
    assert len(record_changes(before, [record("gpt-10", 1503.0, unit="rating")])) == 1


def test_digest_a_score_that_came_back_or_has_another_key_is_no_news(settings: Settings) -> None:
    names = ("a/back", "a/rekeyed", "a/lost")
    scores = {name: SourceScore(name, "gpqa", 0.4) for name in names}
    put(settings, FIRST, 1, source="epoch", scores=tuple(scores.values()))
    with Store.open(settings) as store:
        keys = {score.key for score in scores.values()}
        store.withdraw(keys, source="epoch", ingest_id="0002", seen_at=SECOND, missing_since={})
    later = SECOND + timedelta(hours=1)
    put(settings, later, 3, source="epoch", scores=(scores["a/back"], scores["a/rekeyed"]))
    with duckdb.connect(str(settings.db_path)) as connection:
        connection.execute(
            "update published_scores set key = 'other' where name = 'a/rekeyed' and not is_withdrawn"
            " and ingest_id = '0003'"
        )
    with Store.open(settings) as store:
        store.add_batch(Batch(models=(SourceModel("a/x"),)), source="x", ingest_id="0004", seen_at=later)
    publish(settings)
    assert lines(settings, "new_scores") == ()
    assert lines(settings, "changed_scores") == ("`a/lost` on gpqa: 40.0% was withdrawn (epoch)",)


def test_digest_a_model_that_changed_twice_is_one_line(settings: Settings) -> None:
    put(settings, FIRST, 1, models=(hub_model("acme/twice"), hub_model("acme/back")))
    put(settings, SECOND, 2, models=(hub_model("acme/twice", gated="auto"), hub_model("acme/new")))
    changed = (hub_model("acme/twice", gated="auto", license="mit"), hub_model("acme/back", gated="auto"))
    put(settings, SECOND + timedelta(hours=1), 3, models=(*changed, hub_model("acme/new", license="mit")))
    put(settings, SECOND + timedelta(hours=2), 4, models=(hub_model("acme/back"),), gone=("acme/new",))
    assert lines(settings, "changed_models") == (
        "`acme/new` was deleted or made private",
        "`acme/twice` is now gated (auto); has a new license: none → mit",
    )
    assert lines(settings, "new_models") == ()


def test_digest_sections_begin_with_records_and_end_with_problems(two_weeks: Settings) -> None:
    keys = [one.key for one in digest(two_weeks, since=FIRST, until=NOW).sections]
    assert keys[:3] == ["index", "frontier", "memory"]
    assert keys[-1] == "outages"


def test_digest_a_completed_study_is_told_with_its_line_its_transfer_and_its_speed(
    settings: Settings,
) -> None:
    done = replace(
        study(1),
        result=replace(result(0.08), transfer=Transfer(gain_bpb=0.05, gain_ci_low=0.01, gain_ci_high=0.09)),
        ngram_bpb=2.4,
    )
    store_study(settings, done)
    cheat = study(2, agent=TPE)
    caught = trial(cheat, 0, Verdict.CAUGHT, confirmation=(), reason="not_causal")
    store_study(settings, cheat, (caught,))
    store_study(settings, study(3, gain=None, status=StudyStatus.PAUSED))
    assert lines(settings, "research") == (
        "`acme/atlas-8b` on cpu/params, 4 trials: +0.0800 bpb (+0.0600 to +0.1000); 2.520 bpb on test, an"
        " n-gram table 2.400; at four times the size +0.0500 bpb; 27 tokens/s",
        "`tpe` on cpu/params, 4 trials: caught faking a score; the gain does not count",
    )


def published_index(name: str, value: float) -> SourceScore:
    return SourceScore(name, "Epoch Capabilities Index", value, unit="index")


def test_digest_records_of_a_published_index_are_told_without_a_vintage(settings: Settings) -> None:
    """As in a store that an older version filled."""
    models = (SourceModel("Open 1", access=Access.OPEN), SourceModel("Open 2", access=Access.OPEN))
    put(
        settings,
        FIRST,
        1,
        source="epoch",
        models=models,
        scores=(published_index("Open 1", 150.0),),
    )
    put(settings, SECOND, 2, source="epoch", scores=(published_index("Open 2", 175.0),))
    assert lines(settings, "index") == (
        "`Open 2` is the best open model on Epoch Capabilities Index with 175.0, previously `Open 1` with "
        "150.0 (epoch)",
    )
    assert lines(settings, "frontier") == ()


def test_digest_markdown_shows_foreign_text_as_its_characters() -> None:
    hostile = "MMLU ![b](http://evil.example/b.png) www.evil.example @everyone <img src=x> **b** _i_"
    changes = (
        DigestChange(f" on {hostile}: 50.0%", "org/`x` [a](http://evil.example)", "https://example.org/a"),
        DigestChange("1 value", url="javascript:alert(1)"),
        DigestChange(" (8B)", "acme/count_letters", "https://huggingface.co/acme/count_letters"),
    )
    found = Digest(FIRST, NOW, (section("s", "S", changes),), ())
    said = [line for line in markdown(found).splitlines() if line.startswith("- ")]
    assert said == [
        "- [`` org/`x` [a](http://evil.example) ``](https://example.org/a) on MMLU "
        "`![b](http://evil.example/b.png)` `www.evil.example` `@everyone` "
        "\\<img src=x\\> \\*\\*b\\*\\* \\_i\\_: 50.0%",
        "- 1 value",
        "- [`acme/count_letters`](https://huggingface.co/acme/count_letters) (8B)",
    ]
    (entry,) = ET.fromstring(atom([document(found)])).findall(f"{{{ATOM}}}entry")
    content = entry.findtext(f"{{{ATOM}}}content") or ""
    assert '<a href="https://example.org/a">' in content
    assert "<img" not in content
    assert "javascript" not in content


def test_digest_feed_reads_digests_of_older_versions() -> None:
    old = {
        "since": "2026-11-01T00:00:00+00:00",
        "until": "2026-11-08T00:00:00+00:00",
        "sections": [{"key": "new_scores", "title": "New scores", "lines": ["MMLU: 7 (epoch)"], "n": 9}],
        "attributions": [],
    }
    content = ET.fromstring(atom([old])).findtext(f"{{{ATOM}}}entry/{{{ATOM}}}content") or ""
    assert content == "<h3>New scores (9)</h3><ul><li>MMLU: 7 (epoch)</li><li>and 8 more</li></ul>"


DAYS = (date(2026, 4, 29), date(2026, 8, 11))


def point(model: str, value: float, access: str) -> ModelPoint:
    return ModelPoint(
        model=model,
        organization="Acme",
        access=access,
        released=DAYS[0],
        value=value,
        ci_low=value - 1,
        ci_high=value + 2,
        n_params=None,
        is_record=True,
    )


def frontier_of(day: date, best: dict[str, tuple[str, float]], months: float | None) -> FrontierAnswer:
    points = {access: point(model, value, access) for access, (model, value) in best.items()}
    low, high = (None, None) if months is None else (months - 1, months + 1)
    gap = Gap(HEADLINE, "months", months, low, high, n=1, n_censored=0)
    return FrontierAnswer(
        axis="index",
        unit="index",
        as_of=day,
        since=DAYS[0],
        vintage=day,
        points=(*points.values(), point("Closed 1", 158.5, "closed")),
        best_open=points["open"],
        best_closed=points["closed"],
        gaps=(gap,),
        intervals="given",
    )


def test_digest_a_new_best_on_the_index_comes_with_the_gap_before_and_after() -> None:
    before = frontier_of(DAYS[0], {"open": ("Open 1", 150.0), "closed": ("Closed 1", 158.0)}, 4.4)
    after = frontier_of(DAYS[1], {"open": ("Open 1", 150.2), "closed": ("Closed 2", 167.3)}, 9.1)
    best, gap = compared(before, after, {"Closed 2": "acme/closed-2"})
    assert best == DigestChange(
        " is the best closed model on the index with 167.3 (166.3 to 169.3), released 2026-04-29; previously "
        "`Closed 1`, now 158.5",
        "Closed 2",
        "https://huggingface.co/acme/closed-2",
    )
    assert gap.line == (
        "open models are 9.1 months behind closed ones (8.1 to 10.1), previously 4.4 months behind closed "
        f"ones (3.4 to 5.4) ({HEADLINE}; data of 2026-08-11, previously 2026-04-29)"
    )


@pytest.mark.parametrize(
    ("months", "words"),
    [(-2.0, "2.0 months ahead of closed ones (1.0 to 3.0)"), (None, "behind by an unknown time")],
)
def test_digest_a_gap_that_is_negative_or_unknown_is_said_in_words(months: float | None, words: str) -> None:
    best = {"open": ("Open 1", 150.0), "closed": ("Closed 1", 158.0)}
    (gap,) = compared(frontier_of(DAYS[0], best, 4.4), frontier_of(DAYS[1], best, months), {})
    assert f"open models are {words}, previously" in gap.line


def test_digest_compares_the_index_only_where_new_data_were_known(settings: Settings) -> None:
    days = [datetime(2026, 8, day, tzinfo=UTC) for day in (10, 11, 30)]
    assert [known_vintage(settings, day) for day in days] == [DAYS[0], DAYS[1], DAYS[1]]
    assert known_vintage(settings, datetime(2020, 1, 1, tzinfo=UTC)) is None


def test_digest_an_incomplete_source_says_how_many_entries_were_left_out() -> None:
    row = {
        "source": "epoch",
        "status": "partial",
        "started_at": SECOND,
        "reason": "HLE: 40 of 90 scores are missing",
        "problems": ["one", "two"],
        "n_problems": 1209,
    }
    (change,) = outage_lines([row])
    assert "HLE: 40 of 90 scores are missing; 1,209 entries left out" in change.line
