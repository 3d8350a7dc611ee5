"""The routes for programs: tables as JSON, the feed, and the health check."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.data import frontier_views, gap_histories
from app.data.digests import live_document
from app.http import api, routes
from tests.builders.ladders import store_ladder
from tests.builders.store_builder import (
    CANDIDATES,
    NOW,
    TASKS,
    build_store,
)
from tests.doubles.app_process import DRAWN_S, START_S, served
from tracker.answers.digest_formats import FEED_ID, atom
from tracker.answers.digest_records import Digest
from tracker.cli import main
from tracker.frontier.definitions import HEADLINE
from tracker.frontier.question import Question
from tracker.settings import Settings
from tracker.store import publish

ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = build_store(tmp_path_factory.mktemp("small"))
    store_ladder(settings, *(one.model.model_id for one in CANDIDATES[:3]))
    return settings.home


@pytest.fixture
def client(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("TRACKER_HOME", str(home))
    monkeypatch.setenv("TRACKER_NOW", NOW.isoformat())
    with TestClient(Starlette(routes=routes.ROUTES)) as asking:
        yield asking


@pytest.mark.parametrize("name", list(api.TABLES))
def test_json_route_is_one_document_of_plain_values(client: TestClient, name: str) -> None:
    answer = client.get(f"/api/{name}.json")
    assert answer.status_code == 200
    document = answer.json()
    assert (document["schema_version"], document["table"]) == (routes.SCHEMA_VERSION, name)
    assert document["rows"]


def test_json_route_of_one_model_is_what_show_prints(
    client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    model = CANDIDATES[0].model.model_id
    rows = client.get("/api/models.json", params={"model": model}).json()["rows"]
    main(["show", model, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert rows == {name: told[name] for name in rows}
    assert {"scores", "repeatability", "against"} <= rows["runs"][0].keys()
    refused = client.get("/api/models.json", params={"model": "nobody/knows"})
    assert (refused.status_code, "nobody/knows" in refused.text) == (400, True)


@pytest.mark.parametrize("name", list(api.TABLES))
def test_json_route_answers_on_an_empty_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: TestClient, name: str
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    assert client.get(f"/api/{name}.json").status_code == 200


def test_json_route_index_lists_every_table(client: TestClient) -> None:
    assert client.get("/api").json()["tables"] == [f"/api/{name}.json" for name in api.TABLES]


def test_llms_text_names_every_table_with_its_parameters(client: TestClient) -> None:
    answer = client.get("/llms.txt")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    for name, table in api.TABLES.items():
        assert f"[{name}](/api/{name}.json)" in answer.text
        assert ", ".join(table.parameters) in answer.text


def test_json_route_leaderboard_has_a_ranked_row_per_model_and_task(client: TestClient) -> None:
    rows = client.get("/api/leaderboard.json?suite=quick").json()["rows"]
    assert len(rows) == len(CANDIDATES) * len(TASKS)
    assert all({"model_id", "task", "score", "ci_low", "ci_high", "rank"} <= set(row) for row in rows)
    one = client.get("/api/leaderboard.json?suite=quick&task=sort_words").json()["rows"]
    assert {row["task"] for row in one} == {"sort_words"}


def test_json_route_frontier_has_every_definition_and_takes_filters(client: TestClient) -> None:
    whole = client.get("/api/frontier.json").json()["rows"]
    assert [row["id"] for row in whole["definitions"]] == ["G1", "G2", "G3", "G4", "G5", "G6", "G7"]
    small = client.get("/api/frontier.json?fits_gb=24").json()["rows"]
    assert small["best_open"]["model"] != whole["best_open"]["model"]


def test_json_route_over_time_ends_with_the_gap_of_today(client: TestClient) -> None:
    assert frontier_views.drawn(Question(), wait_s=DRAWN_S) is not None
    assert gap_histories.over_time(Question(), HEADLINE, wait_s=DRAWN_S) is not None
    found = client.get("/api/frontier-over-time.json").json()["rows"]
    today = client.get("/api/frontier.json").json()["rows"]
    (headline,) = (row for row in today["definitions"] if row["id"] == today["headline"])
    last = found["history"]["months"][-1]
    assert (found["status"], last["as_of"]) == ("given", today["as_of"])
    assert (last["value"], last["ci_low"]) == pytest.approx((headline["value"], headline["ci_low"]))
    assert found["outlook"]["catch_up"]["model"] == today["best_closed"]["model"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/frontier-over-time.json?definition=G9", "no definition is called `G9`"),
        ("/api/leaderboard.json?suite=nope", "no suite is called `nope`"),
        (
            "/api/frontier.json?vintage=tomorrow",
            "`vintage` must be a date such as 2026-04-29, got `tomorrow`",
        ),
        ("/api/frontier.json?axis=nope", "no benchmark is called `nope`"),
        ("/api/frontier.json?without=nobody", "no model on this axis is called `nobody`"),
        *(
            (
                f"/api/frontier.json?fits_gb={memory}",
                f"`fits_gb` must be a number of GB above 0 and at most 1,000,000, got `{memory}`",
            )
            for memory in ("inf", "nan", "-24", "0", "1e308", "much")
        ),
        ("/api/changes.json?days=-1", "`days` must be from 1 to 3,660, got -1"),
        ("/api/changes.json?days=%3Cb%3E", "`days` must be a whole number, got `<b>`"),
        ("/api/fits.json?context=4k", "`context` must be a whole number, got `4k`"),
        ("/api/fits.json?gb=24G", "`gb` must be a number of GB above 0 and at most 1,000,000, got `24G`"),
        ("/api/frontier.json?redistributable=yes", "`redistributable` must be one of false, true; got `yes`"),
        ("/api/frontier.json?axis=CritPt&redistributable=true", "no benchmark is called `CritPt`"),
        ("/api/frontier.json?only=open", "`only` must be one of private, public; got `open`"),
        ("/api/pareto.json?cost=joy", "`cost` must be one of params, price, memory, time, speed; got `joy`"),
        ("/api/frontier.json?bits=4", "`bits` needs `fits_gb`"),
        ("/api/frontier.json?fit_gb=24", "no parameter is called `fit_gb`"),
        ("/api/frontier.json?without=a&without=b", "`without` is given twice"),
        ("/api/runs.json?model=a", "no parameter is called `model`"),
        ("/api/placement.json?run_id=../../elsewhere", "no run with scores is called `../../elsewhere`"),
        ("/api/compare.json?first=", "`first` is empty"),
        ("/api/what-fits.json?license=%20", "`license` is empty"),
        ("/api/compare.json?first=nobody/knows", "no model is called `nobody/knows`"),
        ("/api/compare.json?published=true&suite=quick", "`published` cannot be combined with `suite`"),
        ("/api/ladders.json?model=nobody/knows", "no model is called `nobody/knows`"),
        ("/api/pareto.json?cost=price&task=x", "`task` cannot be combined with `cost=price`"),
        ("/api/placement.json?run_id=%00", "no run with scores is called `\x00`"),
    ],
)
def test_json_route_answers_a_wrong_question_with_one_sentence(
    client: TestClient, path: str, words: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_json_route_frontier_states_whether_intervals_are_ready(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontier_views, "WAIT_S", 0.0)

    def said(query: str) -> str:
        return str(client.get(f"/api/frontier.json?{query}").json()["rows"]["intervals"])

    frontier_views._background.clear()
    assert said("vintage=2026-04-29") == "being computed"
    assert said("axis=GPQA%20diamond") == "given"
    assert frontier_views.drawn(Question(vintage=date(2026, 4, 29)), wait_s=DRAWN_S) is not None
    assert said("vintage=2026-04-29") == "given"


def test_page_is_the_document_of_streamlit_with_the_script_for_the_history(client: TestClient) -> None:
    for path in ("/", "/leaderboard"):
        document = client.get(path).text
        script = document.index(routes.HISTORY.read_text())
        assert document.index("</title>") < script < document.index('<script type="module"')


def test_json_route_compare_takes_the_newest_models_that_share_a_suite(client: TestClient) -> None:
    rows = client.get("/api/compare.json").json()["rows"]
    assert rows["tasks"]


def test_json_routes_name_a_model_as_the_command_line_does(client: TestClient) -> None:
    first, second = (one.model.model_id for one in CANDIDATES[:2])
    whole = client.get("/api/compare.json", params={"first": first, "second": second}).json()
    short = {"first": first.rpartition("/")[2].upper(), "second": second.rpartition("/")[2]}
    assert client.get("/api/compare.json", params=short).json() == whole
    found = [
        [row["ladder_id"] for row in client.get("/api/ladders.json", params={"model": name}).json()["rows"]]
        for name in (first, short["first"])
    ]
    assert found[0] == found[1] != []


def test_json_route_over_time_tells_what_helps(client: TestClient) -> None:
    assert gap_histories.over_time(Question(benchmark="nope"), HEADLINE, wait_s=DRAWN_S) is not None
    answer = client.get("/api/frontier-over-time.json?axis=nope")
    assert (answer.status_code, answer.json()["hint"][:6]) == (400, "known:")


def test_json_route_unknown_table_lists_the_known_ones(client: TestClient) -> None:
    answer = client.get("/api/passwords.json")
    assert (answer.status_code, "leaderboard" in answer.json()["hint"]) == (404, True)


@pytest.mark.parametrize("path", ["/api/runs.json", "/feed.atom", "/health"])
def test_json_route_refuses_writes(client: TestClient, path: str) -> None:
    assert client.post(path, content=b"x").status_code == 405


@pytest.mark.clock
def test_feed_has_an_entry_for_this_week(client: TestClient) -> None:
    answer = client.get("/feed.atom")
    assert answer.headers["content-type"].startswith("application/atom+xml")
    entries = ET.fromstring(answer.content).findall(f"{ATOM}entry")
    assert any("fjord/kelp-1b" in (entry.findtext(f"{ATOM}content") or "") for entry in entries)


@pytest.mark.clock
def test_feed_entry_of_a_week_is_one_and_updated_by_publication() -> None:
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


@pytest.mark.clock
def test_feed_has_no_future_date(client: TestClient) -> None:
    feed = ET.fromstring(client.get("/feed.atom").content)
    dates = [datetime.fromisoformat(element.text or "") for element in feed.iter(f"{ATOM}updated")]
    assert max(dates) <= NOW
    assert f"{NOW:%G-W%V}" in (feed.findtext(f"{ATOM}entry/{ATOM}id") or "")


def test_health_route_names_the_snapshot_and_reports_an_unreadable_one(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/health").json()["status"] == "ok"
    settings = Settings(home=tmp_path)
    name = publish(settings)
    (settings.snapshots_path / f"{name}.duckdb").write_bytes(b"no database" * 1000)
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    assert client.get("/api/runs.json").status_code == client.get("/feed.atom").status_code == 503
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["hint"]) == (503, "`tracker store publish` creates a new one")


@pytest.mark.timeout(120)
def test_json_route_is_served_by_the_real_server(home: Path) -> None:
    with served(home) as (_, line):
        address = line.removeprefix("dashboard: ").strip()
        with urllib.request.urlopen(f"{address}/api/models.json", timeout=START_S) as answer:
            assert answer.headers["content-type"] == "application/json"
        foreign = urllib.request.Request(f"{address}/api", headers={"Host": "rebound.example"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(foreign, timeout=START_S)
