"""The digest: what two vintages say, in three forms."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.some_runs import STARTED_AT, model, run, store_runs
from tracker.digest import crossings, digest, memory_bests, overlap_words
from tracker.digest_forms import ATOM, atom, document, keep, markdown
from tracker.errors import TrackerError, UnreachableError
from tracker.ingested import (
    Access,
    Batch,
    IngestOutcome,
    ModelKind,
    OutcomeStatus,
    SourceFacts,
    SourceModel,
    SourceScore,
)
from tracker.notify import check_address, send
from tracker.settings import Settings
from tracker.store import SourceState, Store, publish

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


def test_new_and_changed_models_are_told(two_weeks: Settings) -> None:
    assert lines(two_weeks, "new_models") == ("`acme/new` (8B, chat)",)
    assert set(lines(two_weeks, "changed_models")) == {
        "`acme/gated` is now gated (manual)",
        "`acme/relicensed` licence: none → mit",
        "`acme/gone` was deleted or made private",
    }


def test_a_changed_score_says_whether_the_intervals_overlap(two_weeks: Settings) -> None:
    assert lines(two_weeks, "changed_scores") == (
        "`acme/stays` on gpqa: 50.0% → 65.0%, the intervals are apart (epoch)",
    )
    assert lines(two_weeks, "new_scores") == ("`acme/new` on gpqa: 40.0% (epoch, third_party)",)
    near = {"value": 0.5, "before": 0.49, "ci_low": 0.4, "ci_high": 0.6, "stderr": None}
    assert overlap_words(near | {"before_ci_low": None, "before_ci_high": None, "before_stderr": 0.01}) == (
        "the intervals overlap"
    )


def test_a_record_and_open_catching_up_with_closed_are_told(two_weeks: Settings) -> None:
    (line,) = lines(two_weeks, "frontier")
    assert line == (
        "gpqa: best open is `acme/stays` with 65.0%, before `acme/stays` with 50.0% (epoch); "
        "open has caught up with closed"
    )


def test_the_digest_of_a_week_without_changes_says_nothing(two_weeks: Settings) -> None:
    quiet = digest(two_weeks, since=SECOND + timedelta(hours=1), until=NOW)
    assert quiet.is_empty
    assert "Nothing." in markdown(quiet)


def test_a_benchmark_that_was_not_there_before_has_no_records() -> None:
    row = {"source": "s", "benchmark": "b", "access": "open", "value": 0.5, "unit": "fraction", "name": "a/b"}
    assert crossings([], [row]) == []


def test_a_new_best_of_a_memory_size_is_told() -> None:
    row = {"suite": "quick", "peak_memory_bytes": 20_000_000_000, "mean_centered": 0.5, "model_id": "a/b"}
    better = row | {"mean_centered": 0.6, "model_id": "a/c"}
    assert memory_bests([row], [row]) == []
    assert memory_bests([row], [row, better])[0] == "quick, 24 GB: `a/c` with 60.0%, before `a/b` with 50.0%"


def test_a_claim_that_was_not_reproduced_is_told(settings: Settings) -> None:
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


def test_outages_and_rewritten_histories_are_told_and_private_sources_are_not(settings: Settings) -> None:
    facts = SourceFacts(
        "openrouter", "OpenRouter", "https://openrouter.ai", "terms", "Prices: OpenRouter", is_private=True
    )
    problem = "acme/forced: commit aaaa is gone, the history was rewritten"
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


def test_the_three_forms_say_the_same_and_nothing_breaks_out_of_them(two_weeks: Settings) -> None:
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
    with pytest.raises(TrackerError, match="does not know this address") as caught_wrong:
        check_address("nosuchservice://secret-topic")
    assert "secret" not in str(caught_wrong.value)


def test_an_empty_feed_is_a_feed() -> None:
    assert ET.fromstring(atom([])).tag == f"{{{ATOM}}}feed"


def test_notify_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(TrackerError) as caught:
        check_address("ntfy://secret-topic")
    assert "notify" in caught.value.hint
    assert "secret" not in str(caught.value)
