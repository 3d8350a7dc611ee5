"""Every page on an empty, a small and a large store, as a visitor's session runs it; the server itself."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from app.server import config_options, free_port
from tests.app_process import START_S, served
from tests.app_visit import MAIN, PAGES, said, visit
from tests.large_store import Size, build_large_store
from tests.store_builder import CANDIDATES, HOSTILE, LONG, ODD_ID, build_store
from tracker.codec import load_json
from tracker.errors import TrackerError
from tracker.items import RUN_FILE
from tracker.records import Run
from tracker.settings import Settings
from tracker.store import Store, publish

TINY = CANDIDATES[0].model.model_id
WITHOUT_A_CHART = ("runs.py", "changes.py", "sources.py")  # tables and words


@pytest.fixture(scope="module")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("small")).home


@pytest.fixture(scope="module")
def large_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = Size(n_models=1500, n_items=40_000)
    return build_large_store(tmp_path_factory.mktemp("large"), size).home


@pytest.fixture
def small(small_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACKER_HOME", str(small_home))
    return small_home


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_on_an_empty_store_which_command_fills_it(page: str) -> None:
    assert "`tracker " in said(visit(page))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_on_a_small_store(page: str) -> None:
    session = visit(page)
    assert len(session.title) == 1
    assert session.get("vega_lite_chart") or page in WITHOUT_A_CHART or page == "items.py"
    assert session.get("download_button")


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_on_a_large_store(
    large_home: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(large_home))
    session = visit(page)
    assert len(session.title) == 1
    assert not session.error


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("page", PAGES)
def test_a_permalink_with_nonsense_opens_the_page_as_it_is_and_says_what_it_left_out(page: str) -> None:
    names = (
        "suite",
        "task",
        "model",
        "items_of",
        "of_run",
        "item",
        "of_task",
        "answers",
        "definition",
        "fits",
    )
    nonsense = dict.fromkeys(names, "'; drop table runs; --")
    session = visit(page, **nonsense, compare=["<b>nobody</b>"], page="-7")
    assert "nothing for a part of the link" in session.info[0].value
    assert r"\<b\>nobody" in session.info[0].value
    assert len(session.title) == 1


@pytest.mark.usefixtures("small")
def test_a_permalink_that_is_understood_is_not_remarked_on() -> None:
    session = visit("leaderboard.py", suite="quick", task="sort_words", find="ACME", claimed="true")
    assert not session.info


@pytest.mark.usefixtures("small")
def test_the_model_page_tells_identity_and_runs_newest_first() -> None:
    session = visit("model.py", model=TINY)
    assert [block.value for block in session.code][:2] == [TINY, CANDIDATES[0].model.revision]
    assert {"134.5 M", "apache-2.0", "Q4_1"} <= {text.value for text in session.text}
    runs = visit("model.py", model="acme/atlas-2-8b").dataframe[1].value
    assert list(runs["status"]) == ["interrupted", "complete"]


@pytest.mark.usefixtures("small")
def test_the_model_page_says_whether_a_claim_held_up() -> None:
    claims = visit("model.py", model="acme/atlas-2-8b").dataframe[0].value
    verdicts = dict(zip(claims["task"], claims["verdict"], strict=True))
    assert verdicts == {"count_letters": "claim is higher than measured", "sort_words": "agrees"}


@pytest.mark.usefixtures("small")
def test_a_model_that_is_only_on_the_index_has_its_published_scores_with_their_sources() -> None:
    session = visit("model.py", model="Kimi K3")
    assert session.code[0].value == "tracker bench moonshotai/Kimi-K3"
    assert "How uneven it is" in [header.value for header in session.subheader]
    scores = session.dataframe[0].value
    assert scores["source_url"].str.startswith("http").all()


@pytest.mark.usefixtures("small")
def test_a_failed_run_is_shown_with_its_reason_and_what_helps() -> None:
    session = visit("model.py", model="delta/colossus-405b")
    assert "needs 812 GB of memory" in session.error[0].value
    assert "`tracker fit MODEL`" in said(session)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("page", "key"), [("model.py", "model"), ("items.py", "items_of")])
def test_a_model_id_with_odd_characters_opens_and_stays_what_it_is(page: str, key: str) -> None:
    session = visit(page, **{key: ODD_ID})
    assert session.selectbox(key=key).value == ODD_ID


@pytest.mark.usefixtures("small")
def test_items_are_filtered_and_paged() -> None:
    session = visit("items.py", items_of=TINY, answers="Truncated", of_task="count_letters")
    items = session.dataframe[0].value
    assert set(items["task"]) == {"count_letters"}
    assert all("truncated" in verdict for verdict in items["verdict"])
    second = visit("items.py", items_of=TINY, page="2")
    assert second.dataframe[0].value["doc_id"].iloc[0] == 25


@pytest.mark.usefixtures("small")
def test_what_was_chosen_gives_way_when_it_is_no_longer_there() -> None:
    """Another model has other runs; a narrower filter has other items and fewer pages."""
    run_id = "20261120T080000-000000"
    session = visit("items.py", items_of=TINY, of_run=run_id, item="count_letters 3")
    session.selectbox(key="items_of").set_value("acme/atlas-2-8b").run()
    assert session.selectbox(key="of_run").value == "20261120T150000-000001"
    session = visit("items.py", items_of=TINY, page="15")
    session.selectbox(key="of_task").set_value("odd_one_out").run()
    assert not session.exception
    assert len(session.dataframe[0].value) > 0
    session.segmented_control(key="answers").set_value("Unparsed").run()
    assert "No item of this run is like that" in said(session)


@pytest.mark.usefixtures("small")
def test_an_item_is_shown_as_the_characters_that_it_is() -> None:
    session = visit("items.py", items_of=TINY, item="count_letters 0")
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\x07", "\\x07")
    shown = shown.replace("\u202e", "\\u202e").replace("\u202c", "\\u202c")
    assert [block.value.strip("\n") for block in session.code] == [shown] * 5
    assert not any("<script>" in block.value for block in session.markdown)
    assert not any("<script>" in element.proto.body for element in session.get("html"))


@pytest.mark.usefixtures("small")
def test_of_a_ten_megabyte_answer_the_beginning_is_sent() -> None:
    session = visit("items.py", items_of=TINY, item="count_letters 1")
    assert max(len(block.value) for block in session.code) < 21_000
    assert f"The first 20,000 of {len(LONG):,} characters" in said(session)


@pytest.mark.usefixtures("small")
def test_a_multiple_choice_item_shows_its_choices_with_log_probabilities() -> None:
    session = visit("items.py", items_of=TINY, of_task="next_in_series", item="next_in_series 0")
    table = session.dataframe[1].value
    assert list(table["choice"]) == ["north", "east", "south", "west"]
    assert (table["log_prob"] < 0).all()
    assert (table["is_target"].sum(), table["is_chosen"].sum()) == (1, 1)


@pytest.mark.usefixtures("small")
def test_a_run_that_reused_items_shows_them() -> None:
    name = "borealis/nimbus-4b-thinking"
    runs = visit("model.py", model=name).dataframe[1].value
    smoke = runs[runs["suite"] == "smoke"].iloc[0]
    assert smoke["n_reused_items"] == smoke["n_items"] == 120
    session = visit("items.py", items_of=name, of_run=smoke["run_id"])
    assert "120 items" in said(session)


def test_a_snapshot_that_is_replaced_while_a_page_is_open_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = build_store(tmp_path)
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    session = visit("leaderboard.py", task="sort_words")
    assert len(session.dataframe[0].value) == len(CANDIDATES)
    run = load_json(Run, next(settings.items_path.glob(f"*/{RUN_FILE}")).read_bytes(), where="run")
    with Store.open(settings) as store:
        store.add_run(
            replace(run, run_id="20261201T000000-000000", model=replace(run.model, model_id="new/one"))
        )
    publish(settings)
    session.run()
    assert "new/one" in set(session.dataframe[0].value["label"])


@pytest.mark.parametrize("page", [page for page in PAGES if page != "frontier.py"])
def test_a_snapshot_that_is_no_database_is_said_in_one_sentence(empty: Path, page: str) -> None:
    settings = Settings(home=empty)
    publish(settings)
    (snapshot,) = settings.snapshots_path.glob("*.duckdb")
    snapshot.write_bytes(b"no database" * 1000)
    session = visit(page)
    assert "cannot be read" in session.error[0].value
    assert "tracker store publish" in said(session)


def test_a_database_from_a_newer_version_is_said_with_what_helps(empty: Path) -> None:
    settings = Settings(home=empty)
    publish(settings)
    (snapshot,) = settings.snapshots_path.glob("*.duckdb")
    with duckdb.connect(snapshot) as connection:
        connection.execute("insert into migrations values (9999, 'of the future', now())")
    session = visit("leaderboard.py")
    assert "written by a newer version" in session.error[0].value
    assert "upgrade tracker" in said(session)


def test_the_server_is_for_this_machine_only_and_reports_nothing() -> None:
    options = config_options()
    assert options["server.address"] == "127.0.0.1"
    assert options["browser.gatherUsageStats"] is False
    assert options["client.showErrorLinks"] is False
    for theme in ("light", "dark"):
        assert len(options[f"theme.{theme}.chartCategoricalColors"]) == 8
        assert options[f"theme.{theme}.chartCategoricalColors"][-1] == options[f"theme.{theme}.textColor"]


def test_a_taken_port_is_refused_when_asked_for_and_passed_over_otherwise() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TrackerError, match=f"port {port} cannot be used: another program listens on it"):
            free_port(port)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first = free_port(None)
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert free_port(None) > first


@pytest.mark.timeout(120)
def test_the_command_prints_the_address_answers_its_health_and_ends_cleanly_on_ctrl_c(tmp_path: Path) -> None:
    port = free_port(None)
    with served(tmp_path, "--json", "--port", str(port)) as (process, line):
        address = json.loads(line)
        assert address["url"] == f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(address["health"], timeout=START_S) as answer:
            assert answer.read() == b"ok"
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=START_S)
    assert (process.returncode, rest, complaints) == (0, "", "stopped\n")


def test_a_page_is_a_file_and_a_line_in_main() -> None:
    text = MAIN.read_text()
    assert all(f'"app_pages/{page}"' in text for page in PAGES)
