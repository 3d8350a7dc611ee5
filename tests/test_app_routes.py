"""What programs get from the server: tables as JSON, the feed, and whether it is well."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app import api, frontier_data, routes
from app.digests import live_document
from app.server import ADDRESS
from tests.app_process import START_S, served
from tests.store_builder import CANDIDATES, TASKS, build_store
from tracker.digest import Digest
from tracker.digest_forms import FEED_ID, atom
from tracker.frontier.question import Question
from tracker.settings import Settings
from tracker.store import publish

ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("small")).home


@pytest.fixture
def client(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("TRACKER_HOME", str(home))
    server = Starlette(routes=routes.ROUTES, middleware=[routes.only_for(ADDRESS)])
    with TestClient(server, base_url=f"http://{ADDRESS}") as asking:
        yield asking


@pytest.mark.parametrize("name", list(api.TABLES))
def test_every_table_is_one_document_of_plain_values(client: TestClient, name: str) -> None:
    answer = client.get(f"/api/{name}.json")
    assert answer.status_code == 200
    document = answer.json()
    assert (document["schema_version"], document["table"]) == (routes.SCHEMA_VERSION, name)
    assert document["rows"]


@pytest.mark.parametrize("name", list(api.TABLES))
def test_every_table_answers_on_an_empty_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: TestClient, name: str
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    assert client.get(f"/api/{name}.json").status_code == 200


def test_the_index_lists_every_table(client: TestClient) -> None:
    assert client.get("/api").json()["tables"] == [f"/api/{name}.json" for name in api.TABLES]


def test_the_leaderboard_has_a_row_per_model_and_task_with_its_rank(client: TestClient) -> None:
    rows = client.get("/api/leaderboard.json?suite=quick").json()["rows"]
    assert len(rows) == len(CANDIDATES) * len(TASKS)
    assert all({"model_id", "task", "score", "ci_low", "ci_high", "rank"} <= set(row) for row in rows)
    one = client.get("/api/leaderboard.json?suite=quick&task=sort_words").json()["rows"]
    assert {row["task"] for row in one} == {"sort_words"}


def test_the_frontier_has_the_six_definitions_and_takes_filters(client: TestClient) -> None:
    whole = client.get("/api/frontier.json").json()["rows"]
    assert [row["id"] for row in whole["definitions"]] == ["G1", "G2", "G3", "G4", "G5", "G6"]
    small = client.get("/api/frontier.json?fits_gb=24").json()["rows"]
    assert small["best_open"]["model"] != whole["best_open"]["model"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/leaderboard.json?suite=nope", "no suite is called `nope`"),
        ("/api/frontier.json?vintage=tomorrow", "tomorrow"),
        ("/api/frontier.json?axis=nope", "no benchmark is called `nope`"),
        ("/api/frontier.json?without=nobody", "no model on this axis is called `nobody`"),
        *(
            (
                f"/api/frontier.json?fits_gb={memory}",
                f"fits_gb must be a number of gigabytes above 0 and up to 1,000,000, got '{memory}'",
            )
            for memory in ("inf", "nan", "-24", "0", "1e308", "much")
        ),
        ("/api/changes.json?days=-1", "days must be from 1 to 3660, got -1"),
        ("/api/changes.json?days=%3Cb%3E", "<b>"),
    ],
)
def test_a_wrong_question_gets_one_sentence(client: TestClient, path: str, words: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_the_frontier_says_whether_it_has_intervals_yet(client: TestClient) -> None:
    def said(query: str) -> str:
        return str(client.get(f"/api/frontier.json?{query}").json()["rows"]["intervals"])

    frontier_data._desk.clear()
    assert said("vintage=2026-04-29") == "being computed"
    assert said("axis=GPQA%20diamond") == "given"
    frontier_data.drawn(Question(vintage=date(2026, 4, 29)), wait_s=120.0)
    assert said("vintage=2026-04-29") == "given"


def test_an_unknown_table_is_not_found_and_the_known_ones_are_named(client: TestClient) -> None:
    answer = client.get("/api/passwords.json")
    assert (answer.status_code, "leaderboard" in answer.json()["hint"]) == (404, True)


@pytest.mark.parametrize("path", ["/api/runs.json", "/feed.atom", "/health"])
def test_nothing_can_be_written(client: TestClient, path: str) -> None:
    assert client.post(path, content=b"x").status_code == 405


def test_a_foreign_name_for_this_machine_is_refused(client: TestClient) -> None:
    assert client.get("/api", headers={"Host": "rebound.example"}).status_code == 400


def test_the_feed_has_an_entry_with_what_changed_this_week(client: TestClient) -> None:
    answer = client.get("/feed.atom")
    assert answer.headers["content-type"].startswith("application/atom+xml")
    entries = ET.fromstring(answer.content).findall(f"{ATOM}entry")
    assert any("fjord/kelp-1b" in (entry.findtext(f"{ATOM}content") or "") for entry in entries)


def test_the_entry_of_a_week_stays_one_and_is_new_when_results_were_published() -> None:
    monday = datetime(2026, 11, 23, tzinfo=UTC)
    published = monday + timedelta(days=1)

    def entry(now: datetime, published: datetime | None) -> tuple[str | None, ...]:
        week = Digest(now - timedelta(days=7), now, (), ())
        (one,) = ET.fromstring(atom([live_document(week, published=published)])).findall(f"{ATOM}entry")
        return one.findtext(f"{ATOM}id"), one.findtext(f"{ATOM}updated")

    first = entry(published + timedelta(hours=1), published)
    assert first == (f"{FEED_ID}:2026-W48", published.isoformat())
    assert entry(published + timedelta(days=2), published) == first
    later = published + timedelta(days=3)
    assert entry(later, later) == (first[0], later.isoformat())
    assert entry(monday + timedelta(days=7), later)[0] == f"{FEED_ID}:2026-W49"
    assert entry(monday, None)[1] == monday.isoformat()


def test_nothing_in_the_feed_is_dated_ahead(client: TestClient) -> None:
    feed = ET.fromstring(client.get("/feed.atom").content)
    dates = [datetime.fromisoformat(element.text or "") for element in feed.iter(f"{ATOM}updated")]
    assert max(dates) <= datetime.now(UTC)
    assert f"{datetime.now(UTC):%G-W%V}" in (feed.findtext(f"{ATOM}entry/{ATOM}id") or "")


def test_health_names_the_snapshot_and_says_when_it_cannot_be_read(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/health").json()["status"] == "ok"
    settings = Settings(home=tmp_path)
    name = publish(settings)
    (settings.snapshots_path / f"{name}.duckdb").write_bytes(b"no database" * 1000)
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    assert client.get("/api/runs.json").status_code == client.get("/feed.atom").status_code == 503
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["hint"]) == (503, "`tracker store publish` makes a new one")


@pytest.mark.timeout(120)
def test_the_server_itself_answers_them(home: Path) -> None:
    with served(home) as (_, line):
        address = line.removeprefix("dashboard: ").strip()
        with urllib.request.urlopen(f"{address}/api/models.json", timeout=START_S) as answer:
            assert answer.headers["content-type"] == "application/json"
        foreign = urllib.request.Request(f"{address}/api", headers={"Host": "rebound.example"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(foreign, timeout=START_S)
