"""Ingestion against stand-ins that speak the real protocols: what is kept, what is new, what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import huggingface_hub
import pytest
import stamina
from huggingface_hub import constants

from tests.builders.some_runs import model, run, store_runs
from tests.doubles.hub_double import running_hub
from tests.doubles.sources_double import (
    HTML,
    SourcesHub,
    entry,
    epoch_zip,
    recorded,
    response,
)
from tracker.ingest.run import exit_code, ingest
from tracker.records.published import IngestOutcome, OutcomeStatus
from tracker.settings import Settings
from tracker.sources import fetch as fetching
from tracker.store import open_snapshot, publish, rebuild

WEEK = timedelta(days=7)
LIST = "/api/models"
OLD = "2026-01-05T00:00:00.000Z"


@pytest.fixture
def hub(home: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourcesHub]:
    """All sources on one port, and no waiting between attempts."""
    with running_hub(SourcesHub()) as running, stamina.set_testing(True, attempts=3):
        assert isinstance(running, SourcesHub)
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "no-token"))
        running.put(entry("acme/atlas-8b"), entry("acme/atlas-70b", "2026-11-21T00:00:00.000Z"))
        yield running
        huggingface_hub.close_session()


@pytest.fixture
def there(settings: Settings, hub: SourcesHub) -> Settings:
    """The settings of a home whose sources are the stand-ins."""
    return settings.model_copy(update={"source_urls": hub.source_urls, "hub_page": 2})


def only(outcomes: tuple[IngestOutcome, ...]) -> IngestOutcome:
    (outcome,) = outcomes
    return outcome


def hub_models(there: Settings, **more: Any) -> IngestOutcome:
    return only(ingest(["hub-models"], there, **more))


def rows(there: Settings, query: str, **params: Any) -> list[dict[str, Any]]:
    with open_snapshot(there) as snapshot:
        return snapshot.query(query, **params)


def sql(there: Settings, statement: str) -> list[tuple[Any, ...]]:
    with open_snapshot(there) as snapshot:
        return snapshot.select(statement).rows


EVER = datetime(2020, 1, 1, tzinfo=UTC)


def test_all_sources_are_ingested_and_a_second_time_changes_nothing(there: Settings) -> None:
    first = {o.source: o for o in ingest([], there, since=EVER)}
    assert {name: o.status.value for name, o in first.items()} == {
        "hub-models": "completed",
        "hub-evals": "completed",
        "epoch": "partial",  # two files that it names are not there
        "lmarena": "completed",
        "models-dev": "completed",
        "openrouter": "completed",
        "openrouter-usage": "completed",
        "every-eval-ever": "failed",  # the stand-in has no record
        "artificial-analysis": "skipped_missing_credential",
    }
    before = (
        sql(there, "select count(*) from model_snapshots"),
        sql(there, "select count(*) from published_scores"),
    )
    second = {o.source: o for o in ingest([], there, since=EVER)}
    after = (
        sql(there, "select count(*) from model_snapshots"),
        sql(there, "select count(*) from published_scores"),
    )
    assert before == after
    assert [(o.n_new, o.n_changed, o.n_gone) for o in second.values()] == [(0, 0, 0)] * len(second)
    assert all(o.n_seen == first[name].n_seen for name, o in second.items())


def test_unchanged_answers_are_neither_sent_nor_kept_again(there: Settings, hub: SourcesHub) -> None:
    ingest(["models-dev"], there)
    files = sorted((there.raw_path / "models-dev").iterdir())
    ingest(["models-dev"], there)
    assert sorted((there.raw_path / "models-dev").iterdir()) == files
    assert len([f for f in files if f.suffix == ".zst"]) == 1
    ((hashes,),) = sql(there, "select raw_sha256 from ingests order by ingest_id desc limit 1")
    assert [f"{sha}.zst" for sha in hashes] == [f.name for f in files if f.suffix == ".zst"]


def test_a_weekly_run_asks_only_for_what_moved(there: Settings, hub: SourcesHub) -> None:
    hub.put(*(entry(f"acme/old-{n}", OLD, trendingScore=0) for n in range(30)))
    hub_models(there, since=EVER)
    hub.list_calls = 0
    hub.put(entry("acme/new-1b", "2026-11-23T00:00:00.000Z"))
    outcome = hub_models(there)
    moved = [line for line in hub.requests if "sort=lastModified" in line and "text-generation" in line]
    assert (outcome.status, outcome.n_new) == (OutcomeStatus.COMPLETED, 1)
    assert len(moved) == 16 + 2  # 32 models by twos, then only until the watermark


def test_nothing_is_overwritten_and_popularity_alone_is_no_change(there: Settings, hub: SourcesHub) -> None:
    hub_models(there, since=EVER)
    hub.put(
        entry("acme/atlas-8b", downloads=5000),
        entry("acme/atlas-70b", "2026-11-22T00:00:00.000Z", gated="manual"),
    )
    outcome = hub_models(there)
    assert (outcome.n_new, outcome.n_changed) == (0, 1)
    kept = sql(there, "select name, gated, downloads from model_snapshots order by name, seen_at")
    assert kept == [
        ("acme/atlas-70b", None, 100_000), ("acme/atlas-70b", "manual", 100_000),
        ("acme/atlas-8b", None, 100_000), ("acme/atlas-8b", None, 5000),
    ]  # fmt: skip


def test_what_a_source_withdraws_is_marked_and_kept(there: Settings, hub: SourcesHub) -> None:
    ingest(["hub-evals"], there)
    hub.boards["Idavidrein/gpqa"] = hub.boards["Idavidrein/gpqa"][1:]
    outcome = only(ingest(["hub-evals"], there))
    assert outcome.n_gone == 1
    ((name, value),) = sql(there, "select name, value from current_scores where is_withdrawn")
    assert (name, value) == ("deepseek-ai/DeepSeek-R1-0528", pytest.approx(0.81))


def test_a_list_that_breaks_off_goes_on_there_next_time(there: Settings, hub: SourcesHub) -> None:
    hub.put(*(entry(f"acme/m-{n:02}", f"2026-10-{n + 1:02}T00:00:00.000Z") for n in range(20)))
    answer, calls = hub._list, []

    def cut(query: dict[str, list[str]]) -> Any:
        calls.append(query)
        return (503, {"Content-Type": "text/html"}, b"<html>") if len(calls) >= 20 else answer(query)

    hub._list = cut  # type: ignore[method-assign]
    first = hub_models(there, since=EVER)
    assert (first.status, first.n_seen > 0) == (OutcomeStatus.PARTIAL, True)
    hub._list = answer  # type: ignore[method-assign]
    asked = len(hub.requests)
    second = hub_models(there)
    assert second.status is OutcomeStatus.COMPLETED
    assert "cursor=" in hub.requests[asked]
    assert len(rows(there, "known_models")) == 22


def test_ingest_starts_over_after_its_saved_cursor_expired(there: Settings, hub: SourcesHub) -> None:
    hub.put(*(entry(f"acme/m-{n}", trendingScore=n) for n in range(6)))
    asked = 0

    def cut(method: str, target: str, headers: dict[str, str], path: str) -> Any:
        nonlocal asked
        asked += "/api/models?" in target
        down = (503, {}, b""), (400, {}, b'{"error": "invalid cursor"}')
        return down[asked > 9] if "cursor=" in target and asked > 2 else answer(method, target, headers, path)

    answer, hub._answer = hub._answer, cut  # type: ignore[method-assign]
    assert hub_models(there, since=EVER).status is OutcomeStatus.PARTIAL
    asked = 9
    assert hub_models(there).status is not OutcomeStatus.COMPLETED  # every cursor is refused
    hub._answer = answer  # type: ignore[method-assign]
    assert hub_models(there).status is OutcomeStatus.COMPLETED
    assert len(rows(there, "known_models")) == 8


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        (HTML, "failed", "did not return JSON"),
        ((200, {}, b'[{"_id":"66944f1fe0c5c2e493a804f5","id":"meta-lla'), "failed", "did not return JSON"),
        ((200, {}, b"[]"), "failed", "no model"),
        ((200, {}, b'{"models": []}'), "failed", "expected a list"),
        ((200, {}, b'[{"name": "x"}]'), "failed", "has no name"),
        ((503, {}, b"<html>"), "skipped_unavailable", "down"),
        ((401, {}, b"{}"), "failed", "refuses the access token"),
        ((404, {}, b"{}"), "failed", "404"),
    ],
    ids=["html", "truncated", "empty", "another layout", "no names", "down", "bad token", "gone"],
)
def test_an_answer_that_cannot_be_right_says_which(
    there: Settings, hub: SourcesHub, answer: Any, status: str, says: str
) -> None:
    hub.answers[LIST] = [answer] * 9
    outcome = hub_models(there)
    assert outcome.status.value == status
    assert says in (outcome.reason or "")
    assert exit_code([outcome]) == 4


def test_one_source_that_is_down_takes_no_other_along(there: Settings, hub: SourcesHub) -> None:
    hub.answers["/epoch.zip"] = [HTML]
    outcomes = {o.source: o.status.value for o in ingest(["epoch", "models-dev"], there)}
    assert outcomes == {"epoch": "failed", "models-dev": "completed"}


def test_without_any_network_every_source_is_unavailable(
    there: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    urls = dict.fromkeys(there.source_urls, "http://127.0.0.1:9/x")
    outcomes = ingest([], there.model_copy(update={"source_urls": urls}))
    keyed = {"artificial-analysis": "skipped_missing_credential"}
    assert {o.source: o.status.value for o in outcomes} == {
        o.source: keyed.get(o.source, "skipped_unavailable") for o in outcomes
    }
    assert all("cannot be reached" in (o.reason or "") for o in outcomes if o.source not in keyed)


def test_an_empty_answer_where_there_was_data_is_a_failure_and_keeps_the_data(
    there: Settings, hub: SourcesHub
) -> None:
    ingest(["openrouter"], there)
    hub.documents["/openrouter.json"] = b'{"data": []}'
    outcome = only(ingest(["openrouter"], there))
    assert (outcome.status.value, outcome.reason) == (
        "failed",
        "the source returned no records, although 35 records are stored from it",
    )
    assert sql(there, "select count(*) from current_models where not is_gone") == [(35,)]


def test_a_page_that_comes_again_ends_the_walk(there: Settings, hub: SourcesHub) -> None:
    hub.put(*(entry(f"acme/m-{n}") for n in range(8)))
    hub.next_page_loops = True
    outcome = hub_models(there, since=EVER)
    assert outcome.status is OutcomeStatus.FAILED
    assert "repeats itself" in (outcome.reason or "")
    assert len(hub.requests) < 10


def test_the_rate_limit_is_waited_for_as_long_as_its_headers_say(there: Settings, hub: SourcesHub) -> None:
    limited = response("error_429_retry_after_only__api_models")
    hub.answers[LIST] = [limited, limited]
    assert hub_models(there).status is OutcomeStatus.COMPLETED
    limit = {"ratelimit": '"api";r=0;t=55', "retry-after": "3"}
    assert fetching._asked_wait_s(limit) == 56
    assert fetching._asked_wait_s({"retry-after": "2"}) == 2


def test_two_ids_that_differ_in_case_are_one_model(there: Settings, hub: SourcesHub) -> None:
    hub.put(entry("Acme/Atlas-8B", "2026-11-22T00:00:00.000Z"))
    outcome = hub_models(there, since=EVER)
    assert outcome.n_seen == 2
    assert len(rows(there, "known_models")) == 2


def test_a_time_in_the_future_does_not_hide_what_moves_later(there: Settings, hub: SourcesHub) -> None:
    hub.put(entry("acme/skewed", "2031-01-01T00:00:00.000Z"))
    hub_models(there, since=EVER)
    hub.put(entry("acme/next", "2026-11-22T00:00:00.000Z"))
    assert hub_models(there).n_new == 1


def test_an_answer_or_entry_that_is_far_too_large_is_refused(
    there: Settings, hub: SourcesHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put(entry("acme/huge", tags=["safetensors", "x" * 1_100_000]))
    outcome = hub_models(there, since=EVER)
    assert outcome.status is OutcomeStatus.COMPLETED
    assert any("acme/huge" in problem for problem in outcome.problems)
    assert len(rows(there, "known_models")) == 2
    monkeypatch.setattr(fetching, "MAX_BYTES", 1_000_000)
    hub.documents["/openrouter.json"] = b"[" + b" " * 1_100_000 + b"]"
    assert "is larger than" in (only(ingest(["openrouter"], there)).reason or "")


def test_what_became_of_a_measured_model_is_found_out(there: Settings, hub: SourcesHub) -> None:
    there = there.model_copy(update={"hub_page": 1000})
    hub.put(entry("acme/gone"), entry("acme/old-name"), entry("acme/forced"))
    hub_models(there, since=EVER)
    store_runs(
        there,
        run(1, of=model("acme/gone")),
        run(2, of=model("acme/old-name")),
        run(3, of=model("acme/forced")),
    )
    hub.drop("acme/gone")
    hub.drop("acme/old-name")
    hub.put(entry("acme/new-name", "2026-11-22T00:00:00.000Z"))
    hub.renamed["acme/old-name"] = "acme/new-name"
    outcome = hub_models(there)
    assert outcome.n_gone == 2
    assert any("acme/forced: commit `" in problem for problem in outcome.problems)
    ended = sql(there, "select name, renamed_to from current_models where is_gone order by name")
    assert ended == [("acme/gone", None), ("acme/old-name", "acme/new-name")]


def test_a_key_that_is_wrong_stands_in_no_message_and_no_file(there: Settings, hub: SourcesHub) -> None:
    key = "aa_secret_0123456789"
    hub.answers["/aa.json"] = [(401, {}, f'{{"error": "bad key {key}"}}'.encode())]
    secret = there.model_copy(update={"artificial_analysis_key": key})
    outcome = only(ingest(["artificial-analysis"], secret))
    assert outcome.status is OutcomeStatus.FAILED
    assert key not in repr(outcome) + repr(secret)
    kept = [path.read_bytes() for path in there.home.rglob("*") if path.is_file()]
    assert all(key.encode() not in content for content in kept)


def test_a_wrong_hub_token_is_named_and_never_shown(
    there: Settings, hub: SourcesHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrongwrong")
    hub.answers[LIST] = [(401, {"X-Error-Message": "Invalid credentials"}, b"{}")]
    outcome = hub_models(there)
    assert "refuses the access token" in (outcome.reason or "")
    assert all(b"hf_wrong" not in p.read_bytes() for p in there.home.rglob("*") if p.is_file())


def test_a_token_is_not_sent_to_an_address_that_is_not_the_hubs(
    hub: SourcesHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_goodgoodgoodgoodgoodgood")
    assert "authorization" in fetching._hub_headers(f"{hub.url}/api/models")
    assert "authorization" not in fetching._hub_headers("http://127.0.0.1:1/api/models?cursor=x")


def test_a_source_that_takes_too_long_is_stopped(there: Settings) -> None:
    hurried = there.model_copy(update={"source_timeout_s": 1e-9})
    outcome = only(ingest(["models-dev"], hurried))
    reason = "the source took longer than its limit of 0 s"
    assert (outcome.status.value, outcome.reason) == ("failed", reason)


def test_records_are_asked_for_once(there: Settings, hub: SourcesHub) -> None:
    from tests.tracker.sources.test_sources import RECORD

    hub.records["flat/objects/aa/bb/1.json"] = RECORD
    first = only(ingest(["every-eval-ever"], there))
    hub.records["flat/objects/aa/bb/2.json"] = RECORD | {"model_info": {"id": "acme/atlas-70b"}}
    second = only(ingest(["every-eval-ever"], there))
    asked = [line for line in hub.requests if "/flat/objects/" in line]
    assert (first.n_new, second.n_new, len(asked)) == (1, 1, 2)


def test_claims_in_repositories_are_read_page_by_page(there: Settings, hub: SourcesHub) -> None:
    claims = recorded("api_models__llama__evalResults")["evalResults"]
    for n in range(5):
        tags = ["safetensors", "eval-results"]
        hub.put(entry(f"acme/claims-{n}", tags=tags, evalResults=claims))
    outcome = only(ingest(["hub-evals"], there))
    assert outcome.status is OutcomeStatus.COMPLETED
    assert outcome.n_seen == 12 + 5 * 2
    assert sum("broken.yaml" in problem for problem in outcome.problems) == 5


@pytest.mark.parametrize(("token", "status"), [("", "completed"), ("hf_" + "good" * 6, "partial")])
def test_a_board_that_is_closed_to_us_is_named_and_its_scores_stay(
    there: Settings, hub: SourcesHub, monkeypatch: pytest.MonkeyPatch, token: str, status: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    ingest(["hub-evals"], there)
    gated = (401, {"X-Error-Code": "GatedRepo"}, b"{}")
    hub.answers["/api/datasets/Idavidrein/gpqa/leaderboard"] = [gated]
    hub.put(
        entry(
            "acme/a",
            tags=["eval-results"],
            evalResults=recorded("api_models__llama__evalResults")["evalResults"],
        )
    )
    outcome = only(ingest(["hub-evals"], there))
    assert (outcome.status.value, outcome.n_gone) == (status, 0)
    assert "Idavidrein/gpqa" in outcome.problems[0]


@pytest.mark.clock
def test_a_second_vintage_keeps_the_first(there: Settings, hub: SourcesHub) -> None:
    ingest(["epoch"], there)
    hub.documents["/epoch.zip"] = epoch_zip("epoch_older")
    ingest(["epoch"], there)
    found = sql(there, "select count(distinct ingest_id) from published_scores")
    assert found == [(2,)]


def test_recorded_list_of_the_hub_has_every_field_that_is_asked_for() -> None:
    assert recorded("api_datasets__list_benchmark_official")[0]["id"] == "cais/hle"


def test_a_rebuild_keeps_what_the_sources_said(there: Settings) -> None:
    ingest(["openrouter"], there)
    before = sql(there, "select * from model_snapshots order by all")
    there.db_path.write_bytes(b"broken")
    assert rebuild(there).ingests_from is not None
    publish(there)
    assert sql(there, "select * from model_snapshots order by all") == before
