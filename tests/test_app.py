"""Every page on an empty and on a small store, as a visitor's session runs it, and the server itself."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.server import config_options, free_port
from tests.app_process import START_S, served
from tests.store_builder import CANDIDATES, HOSTILE, LONG, ODD_ID, TASKS, build_store
from tracker.codec import load_json
from tracker.errors import TrackerError
from tracker.items import RUN_FILE
from tracker.records import Run
from tracker.settings import Settings
from tracker.store import Store, publish

MAIN = Path(__file__).parent.parent / "app" / "main.py"
PAGES = sorted(path.name for path in (MAIN.parent / "app_pages").glob("*.py") if path.stem != "__init__")
TINY = CANDIDATES[0].model.model_id


@pytest.fixture(scope="module")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("small")).home


@pytest.fixture
def small(small_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACKER_HOME", str(small_home))
    return small_home


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    return tmp_path


def visit(page: str = "leaderboard.py", /, **params: str) -> AppTest:
    """The page as a link with these parameters opens it."""
    session = AppTest.from_file(str(MAIN), default_timeout=START_S)
    for key, value in params.items():
        session.query_params[key] = value
    session.switch_page(f"app_pages/{page}")
    session.run()
    assert not session.exception
    return session


def said(session: AppTest) -> str:
    """Everything that the page says in words."""
    kinds = (session.title, session.caption, session.info, session.warning, session.error, session.text)
    return "\n".join(element.value for kind in kinds for element in kind)


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_on_an_empty_store_which_command_fills_it(page: str) -> None:
    session = visit(page)
    assert "`tracker bench demo`" in session.info[0].value


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_on_a_small_store(page: str) -> None:
    session = visit(page)
    assert len(session.title) == 1
    assert len(session.get("vega_lite_chart")) >= 1


@pytest.mark.usefixtures("small")
def test_the_leaderboard_has_a_row_per_model_and_task_and_a_chart_per_task() -> None:
    session = visit()
    table = session.dataframe[0].value
    assert len(table) == len(CANDIDATES) * len(TASKS)
    assert [header.value for header in session.header][: len(TASKS)] == list(TASKS)
    assert len(session.get("vega_lite_chart")) == len(TASKS)
    assert set(table["label"]) == {candidate.model.model_id for candidate in CANDIDATES}


@pytest.mark.usefixtures("small")
def test_a_permalink_brings_back_its_filters() -> None:
    session = visit(suite="quick", task="sort_words", find="ACME")
    assert set(session.dataframe[0].value["task"]) == {"sort_words"}
    assert set(session.dataframe[0].value["label"]) == {"acme/atlas-2-8b", "acme/tiny-135m-instruct"}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("page", PAGES)
def test_a_permalink_with_nonsense_opens_the_page_as_it_is(page: str) -> None:
    nonsense = dict.fromkeys(
        ("suite", "task", "model", "run", "item", "of_task", "answers"), "'; drop table runs; --"
    )
    session = visit(page, **nonsense, page="-7")
    assert len(session.get("vega_lite_chart")) >= 1


@pytest.mark.usefixtures("small")
def test_a_name_that_no_model_has_is_said() -> None:
    assert "No model here has such a name" in said(visit(find="nobody"))


@pytest.mark.usefixtures("small")
def test_failed_runs_stand_on_the_leaderboard_with_their_reason_and_what_helps() -> None:
    table = visit().dataframe[1].value
    assert list(table["model_id"]) == ["delta/closed-door-7b", "delta/colossus-405b"]
    assert list(table["reason"]) == ["gated", "does_not_fit"]
    assert all(table["hint"])


@pytest.mark.usefixtures("small")
def test_the_model_page_tells_identity_and_runs_newest_first() -> None:
    session = visit("model.py", model=TINY)
    assert [block.value for block in session.code][:2] == [TINY, CANDIDATES[0].model.revision]
    assert {"134.5 M", "apache-2.0", "Q4_1"} <= {text.value for text in session.text}
    runs = visit("model.py", model="acme/atlas-2-8b").dataframe[0].value
    assert list(runs["status"]) == ["interrupted", "complete"]


@pytest.mark.usefixtures("small")
def test_a_failed_run_is_shown_with_its_reason_and_what_helps() -> None:
    session = visit("model.py", model="delta/colossus-405b")
    assert "needs 812 GB of memory" in session.error[0].value
    assert "`tracker fit MODEL`" in said(session)


@pytest.mark.usefixtures("small")
def test_a_model_id_with_odd_characters_opens_and_stays_what_it_is() -> None:
    session = visit("model.py", model=ODD_ID)
    assert session.selectbox(key="model").value == ODD_ID
    assert session.code[0].value == ODD_ID


@pytest.mark.usefixtures("small")
def test_items_are_filtered_and_paged() -> None:
    session = visit("model.py", model=TINY, answers="Truncated", of_task="count_letters")
    items = session.dataframe[1].value
    assert set(items["task"]) == {"count_letters"}
    assert all("truncated" in verdict for verdict in items["verdict"])
    second = visit("model.py", model=TINY, page="2")
    assert second.dataframe[1].value["doc_id"].iloc[0] == 25


@pytest.mark.usefixtures("small")
def test_what_was_chosen_gives_way_when_it_is_no_longer_there() -> None:
    """Another model has other runs; a narrower filter has other items and fewer pages."""
    session = visit("model.py", model=TINY, run="20261120T080000-000000", item="count_letters 3")
    session.selectbox(key="model").set_value("acme/atlas-2-8b").run()
    assert session.selectbox(key="run").value == "20261120T150000-000001"
    session = AppTest.from_file(str(MAIN), default_timeout=START_S)
    for key, value in {"model": TINY, "page": "15"}.items():
        session.query_params[key] = value
    session.switch_page("app_pages/model.py").run()
    session.selectbox(key="of_task").set_value("odd_one_out").run()
    assert not session.exception
    assert len(session.dataframe[1].value) > 0
    session.segmented_control(key="answers").set_value("Unparsed").run()
    assert "No item of this run is like that" in said(session)


@pytest.mark.usefixtures("small")
def test_an_item_is_shown_as_the_characters_that_it_is() -> None:
    session = visit("model.py", model=TINY, item="count_letters 0")
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\x07", "\\x07")
    shown = shown.replace("\u202e", "\\u202e").replace("\u202c", "\\u202c")
    assert [block.value.strip("\n") for block in session.code[2:]] == [shown] * 5
    assert not any("<script>" in block.value for block in session.markdown)
    assert not session.get("html")


@pytest.mark.usefixtures("small")
def test_of_a_ten_megabyte_answer_the_beginning_is_sent() -> None:
    session = visit("model.py", model=TINY, item="count_letters 1")
    assert max(len(block.value) for block in session.code) < 21_000
    assert f"The first 20,000 of {len(LONG):,} characters" in said(session)


@pytest.mark.usefixtures("small")
def test_a_multiple_choice_item_shows_its_choices_with_log_probabilities() -> None:
    session = visit("model.py", model=TINY, of_task="next_in_series", item="next_in_series 0")
    table = session.dataframe[2].value
    assert list(table["choice"]) == ["north", "east", "south", "west"]
    assert (table["log_prob"] < 0).all()
    assert (table["is_target"].sum(), table["is_chosen"].sum()) == (1, 1)


@pytest.mark.usefixtures("small")
def test_a_run_that_reused_items_shows_them() -> None:
    runs = visit("model.py", model="borealis/nimbus-4b-thinking").dataframe[0].value
    smoke = runs[runs["suite"] == "smoke"].iloc[0]
    assert smoke["n_reused_items"] == smoke["n_items"] == 120
    session = visit("model.py", model="borealis/nimbus-4b-thinking", run=smoke["run_id"])
    assert "120 items" in said(session)


def test_a_snapshot_that_is_replaced_while_a_page_is_open_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = build_store(tmp_path)
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    session = visit(task="sort_words")
    assert len(session.dataframe[0].value) == len(CANDIDATES)
    run = load_json(Run, next(settings.items_path.glob(f"*/{RUN_FILE}")).read_bytes(), where="run")
    with Store.open(settings) as store:
        store.add_run(
            replace(run, run_id="20261201T000000-000000", model=replace(run.model, model_id="new/one"))
        )
    publish(settings)
    session.run()
    assert "new/one" in set(session.dataframe[0].value["label"])


def test_a_snapshot_that_is_no_database_is_said_in_one_sentence(empty: Path) -> None:
    settings = Settings(home=empty)
    publish(settings)
    (snapshot,) = settings.snapshots_path.glob("*.duckdb")
    snapshot.write_bytes(b"no database" * 1000)
    session = visit()
    assert "cannot be read" in session.error[0].value
    assert "tracker store publish" in said(session)


def test_the_server_is_for_this_machine_only_and_reports_nothing() -> None:
    options = config_options()
    assert options["server.address"] == "127.0.0.1"
    assert options["browser.gatherUsageStats"] is False
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
