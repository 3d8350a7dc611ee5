"""Every page on an empty, a small and a large store, as a visitor's session runs it; the server itself."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import urllib.request
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from app.http.server import (
    Binding,
    binding,
    config_options,
    free_port,
)
from tests.builders.large_store import Size, build_large_store
from tests.builders.store_builder import (
    CANDIDATES,
    HOSTILE,
    LONG,
    NOW,
    ODD_ID,
    build_store,
)
from tests.doubles.app_process import START_S, served
from tests.doubles.app_visit import (
    MAIN,
    PAGES,
    said,
    visit,
)
from tracker.errors import TrackerError
from tracker.files.items import RUN_FILE
from tracker.records import Run
from tracker.serialization import load_json
from tracker.settings import Settings
from tracker.store import Store, publish

TINY = CANDIDATES[0].model.model_id
OF_MODELS = {"model": "model", "items": "items_of", "compare": "compare"}  # what the link names there
WITHOUT_A_CHART = ("runs", "changes", "sources", "benchmarks")  # tables and words


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
    monkeypatch.setenv("TRACKER_NOW", NOW.isoformat())
    return small_home


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("page", PAGES)
def test_pages_on_an_empty_store_name_the_command_that_fills_it_and_the_home(empty: Path, page: str) -> None:
    words = said(visit(page)).replace("\\", "")
    assert "`tracker " in words
    assert f"Home {empty}: nothing is stored there yet" in words


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("page", PAGES)
def test_pages_open_on_a_small_store(small_home: Path, page: str) -> None:
    session = visit(page)
    assert len(session.title) == 1
    assert f"Home {small_home}: published " in session.caption[-1].value.replace("\\", "")
    assert session.get("vega_lite_chart") or page in WITHOUT_A_CHART or page == "items"
    assert session.get("download_button")


@pytest.mark.parametrize("page", PAGES)
def test_pages_open_on_a_large_store(large_home: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(large_home))
    session = visit(page)
    assert len(session.title) == 1
    assert not session.error


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("page", [page for page in PAGES if page not in OF_MODELS])
def test_permalink_with_nonsense_opens_the_page_and_lists_the_ignored_parts(page: str) -> None:
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
    assert "Ignored parts of the link" in session.info[0].value
    assert r"\<b\>nobody" in session.info[0].value
    assert len(session.title) == 1


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("page", OF_MODELS)
def test_permalink_to_an_unknown_model_says_so_and_shows_nothing_else(page: str) -> None:
    session = visit(page, **{OF_MODELS[page]: "acme/atlas-3"})
    assert "model is called `acme/atlas-3` here" in session.error[0].value.replace("\\", "")
    assert "did you mean `acme/atlas-2-8b`?" in said(session).replace("\\", "")
    assert not session.dataframe
    assert not session.get("vega_lite_chart")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("page", "key"), [("model", "run"), ("items", "of_run")])
def test_permalink_to_a_run_that_the_model_does_not_have_shows_no_other_run(page: str, key: str) -> None:
    session = visit(page, **{OF_MODELS[page]: TINY, key: "20200101T000000-000000"})
    assert "no run of this model is called" in session.error[0].value
    assert "odd_one_out" not in said(session)


@pytest.mark.usefixtures("small")
def test_permalink_to_the_repository_of_a_published_model_opens_it() -> None:
    session = visit("model", model="moonshotai/Kimi-K3")
    assert session.code[0].value == "tracker bench moonshotai/Kimi-K3"


def test_permalinks_of_two_pages_share_no_parameter_by_accident() -> None:
    """A parameter of one page would be the choice of another one that is opened next."""
    pages: dict[str, set[str]] = {}
    for script in (MAIN.parent / "pages").glob("*/*.py"):
        for key in re.findall(r'key="(\w+)", bind|key="(\w+)",\n\s+bind', script.read_text()):
            pages.setdefault("".join(key), set()).add(script.parent.name)
    assert len(pages) > 20
    assert {key: sorted(of) for key, of in pages.items() if len(of) > 1} == {}


@pytest.mark.usefixtures("small")
def test_permalink_that_is_understood_shows_no_notice() -> None:
    session = visit("leaderboard", suite="quick", task="sort_words", find="ACME", claimed="true")
    assert not session.info


@pytest.mark.usefixtures("small")
def test_model_page_shows_identity_and_runs_newest_first() -> None:
    session = visit("model", model=TINY)
    assert [block.value for block in session.code][:2] == [TINY, CANDIDATES[0].model.revision]
    assert {"134.5M", "apache-2.0", "Q4_1"} <= {text.value for text in session.text}
    runs = visit("model", model="acme/atlas-2-8b").dataframe[1].value
    assert list(runs["status"]) == ["interrupted", "complete"]


@pytest.mark.usefixtures("small")
def test_model_page_shows_whether_a_claim_held_up() -> None:
    claims = visit("model", model="acme/atlas-2-8b").dataframe[0].value
    verdicts = dict(zip(claims["task"], claims["verdict"], strict=True))
    assert verdicts == {"count_letters": "claim is higher than measured", "sort_words": "consistent"}


@pytest.mark.usefixtures("small")
def test_model_page_of_an_index_model_lists_published_scores_with_sources() -> None:
    session = visit("model", model="Kimi K3")
    assert session.code[0].value == "tracker bench moonshotai/Kimi-K3"
    assert "Jaggedness" in [header.value for header in session.subheader]
    scores = session.dataframe[0].value
    assert scores["source_url"].str.startswith("http").all()


@pytest.mark.usefixtures("small")
def test_model_page_shows_a_failed_run_with_its_reason_and_fix() -> None:
    session = visit("model", model="delta/colossus-405b")
    assert "needs 812 GB of memory" in session.error[0].value
    assert "`tracker fit MODEL`" in said(session)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("page", "key"), [("model", "model"), ("items", "items_of")])
def test_model_id_with_odd_characters_is_kept(page: str, key: str) -> None:
    session = visit(page, **{key: ODD_ID})
    assert session.selectbox(key=key).value == ODD_ID


@pytest.mark.usefixtures("small")
def test_items_page_filters_and_pages() -> None:
    session = visit("items", items_of=TINY, answers="Truncated", of_task="count_letters")
    items = session.dataframe[0].value
    assert set(items["task"]) == {"count_letters"}
    assert all("truncated" in verdict for verdict in items["verdict"])
    second = visit("items", items_of=TINY, page="2")
    assert second.dataframe[0].value["doc_id"].iloc[0] == 25


@pytest.mark.usefixtures("small")
def test_items_page_drops_a_choice_that_is_no_longer_available() -> None:
    """Another model has other runs; a narrower filter has other items and fewer pages."""
    run_id = "20261120T080000-000000"
    session = visit("items", items_of=TINY, of_run=run_id, item="count_letters 3")
    session.selectbox(key="items_of").set_value("acme/atlas-2-8b").run()
    assert session.selectbox(key="of_run").value == "20261120T150000-000001"
    session = visit("items", items_of=TINY, page="15")
    session.selectbox(key="of_task").set_value("odd_one_out").run()
    assert not session.exception
    assert len(session.dataframe[0].value) > 0
    session.segmented_control(key="answers").set_value("Unparsed").run()
    assert "No items match these filters" in said(session)


@pytest.mark.usefixtures("small")
def test_items_page_shows_hostile_text_as_plain_characters() -> None:
    session = visit("items", items_of=TINY, item="count_letters 0")
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\x07", "\\x07")
    shown = shown.replace("\u202e", "\\u202e").replace("\u202c", "\\u202c")
    assert [block.value.strip("\n") for block in session.code] == [shown] * 5
    assert not any("<script>" in block.value for block in session.markdown)
    assert not any("<script>" in element.proto.body for element in session.get("html"))


@pytest.mark.usefixtures("small")
def test_items_page_cuts_a_ten_megabyte_answer() -> None:
    session = visit("items", items_of=TINY, item="count_letters 1")
    assert max(len(block.value) for block in session.code) < 21_000
    assert f"Showing the first 20,000 of {len(LONG):,} characters" in said(session)


@pytest.mark.usefixtures("small")
def test_items_page_shows_choices_with_log_probabilities() -> None:
    session = visit("items", items_of=TINY, of_task="next_in_series", item="next_in_series 0")
    table = session.dataframe[1].value
    assert list(table["choice"]) == ["north", "east", "south", "west"]
    assert (table["log_prob"] < 0).all()
    assert (table["is_target"].sum(), table["is_chosen"].sum()) == (1, 1)


@pytest.mark.usefixtures("small")
def test_items_page_shows_reused_items() -> None:
    name = "borealis/nimbus-4b-thinking"
    runs = visit("model", model=name).dataframe[1].value
    smoke = runs[runs["suite"] == "smoke"].iloc[0]
    assert smoke["n_reused_items"] == smoke["n_items"] == 120
    session = visit("items", items_of=name, of_run=smoke["run_id"])
    assert "120 items" in said(session)


def test_refresh_shows_a_snapshot_published_while_a_page_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = build_store(tmp_path)
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    session = visit("leaderboard", task="sort_words")
    assert len(session.dataframe[0].value) == len(CANDIDATES)
    run = load_json(Run, next(settings.items_path.glob(f"*/{RUN_FILE}")).read_bytes(), where="run")
    with Store.open(settings) as store:
        store.add_run(
            replace(run, run_id="20261201T000000-000000", model=replace(run.model, model_id="new/one"))
        )
    publish(settings)
    session.run()
    assert "new/one" in set(session.dataframe[0].value["label"])


@pytest.mark.parametrize("page", [page for page in PAGES if page != "frontier"])
def test_pages_report_an_unreadable_snapshot_in_one_sentence(empty: Path, page: str) -> None:
    settings = Settings(home=empty)
    publish(settings)
    (snapshot,) = settings.snapshots_path.glob("*.duckdb")
    snapshot.write_bytes(b"no database" * 1000)
    session = visit(page)
    assert "cannot read" in session.error[0].value
    assert "tracker store publish" in said(session)


def test_pages_say_that_the_home_was_moved_away_and_find_it_again(empty: Path) -> None:
    settings = Settings(home=empty)
    publish(settings)
    assert not visit("runs").error
    aside = settings.snapshots_path.rename(empty / "elsewhere")
    for page in ("runs", "frontier"):
        session = visit(page)
        assert f"the snapshots of the home `{empty}` are gone" in session.error[0].value.replace("\\", "")
        assert "set TRACKER_HOME to where it is" in said(session).replace("\\", "")
        assert not session.title
    aside.rename(settings.snapshots_path)
    assert not visit("runs").error


def test_items_page_says_that_item_files_are_missing_and_not_that_a_filter_found_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = build_store(tmp_path)
    shutil.rmtree(settings.items_path)
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    session = visit("items", items_of=TINY)
    assert "Items are missing" in session.warning[0].value
    assert "`tracker store check`" in session.warning[0].value
    assert "No items match" not in said(session)


def test_pages_report_a_database_of_a_newer_version_with_a_fix(empty: Path) -> None:
    settings = Settings(home=empty)
    publish(settings)
    (snapshot,) = settings.snapshots_path.glob("*.duckdb")
    with duckdb.connect(snapshot) as connection:
        connection.execute("insert into migrations values (9999, 'of the future', now())")
    session = visit("leaderboard")
    assert "written by a newer version" in session.error[0].value
    assert "upgrade tracker" in said(session)


def test_server_listens_locally_and_sends_no_statistics() -> None:
    options = config_options()
    assert options["server.address"] == "127.0.0.1"
    assert options["browser.gatherUsageStats"] is False
    assert options["client.showErrorLinks"] is False
    for theme in ("light", "dark"):
        assert len(options[f"theme.{theme}.chartCategoricalColors"]) == 8
        assert options[f"theme.{theme}.chartCategoricalColors"][-1] == options[f"theme.{theme}.textColor"]


def test_server_refuses_a_requested_busy_port_and_skips_it_otherwise() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TrackerError, match=f"port {port} cannot be used: another program is using it"):
            free_port(port)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first = free_port(None)
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert free_port(None) > first


@pytest.mark.timeout(120)
def test_server_prints_its_address_answers_health_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    with socket.socket() as taken:  # not the first free one, which another test may take meanwhile
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with served(tmp_path, "--json", "--port", str(port)) as (process, line):
        address = json.loads(line)
        assert address["url"] == f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(address["health"], timeout=START_S) as answer:
            assert answer.read() == b"ok"
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=START_S)
    assert (process.returncode, rest, complaints) == (0, "", "stopped\n")


@pytest.mark.timeout(120)
def test_host_that_others_reach_is_warned_of_and_refuses_foreign_names_of_pages_and_sockets(
    tmp_path: Path,
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as probe:  # one that no test beside this one asks for
        port = probe.getsockname()[1]
    flags = ("--host", "0.0.0.0", "--name", "lab.example", "--port", str(port))
    with served(tmp_path, *flags) as (process, line):
        assert line == f"dashboard: http://127.0.0.1:{port}\n"
        answers = {
            (host, path): _status(port, host, path)
            for host in ("lab.example", f"10.0.0.7:{port}", "rebound.example")
            for path in ("/", "/_stcore/stream")
        }
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=START_S)
    assert [answers["lab.example", "/"], answers["lab.example", "/_stcore/stream"]] == [200, 101]
    assert [answers[f"10.0.0.7:{port}", "/"], answers[f"10.0.0.7:{port}", "/_stcore/stream"]] == [200, 101]
    assert answers["rebound.example", "/"] == 400
    assert answers["rebound.example", "/_stcore/stream"] in (400, 403)
    assert "anyone who can connect can read all results" in complaints


def _status(port: int, host: str, path: str) -> int:
    """The status of one request, which asks for a web socket where there is one."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", f"Origin: http://{host}"]
    if path.startswith("/_stcore"):
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
    with socket.create_connection(("127.0.0.1", port), timeout=START_S) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(connection.recv(12).split()[1])


@pytest.mark.parametrize("host", ["example.org", "300.0.0.1", ""])
def test_host_that_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(TrackerError, match="is not an IP address") as caught:
        binding(None, host=host)
    assert "0.0.0.0" in caught.value.hint


def test_host_that_this_machine_does_not_have_is_refused() -> None:
    with pytest.raises(TrackerError, match="does not have that address"):
        binding(8501, host="203.0.113.9")


@pytest.mark.parametrize(
    ("host", "url", "is_local"),
    [
        ("localhost", "http://127.0.0.1:8501", True),
        ("::1", "http://[::1]:8501", True),
        ("0.0.0.0", "http://127.0.0.1:8501", False),
        ("192.168.1.7", "http://192.168.1.7:8501", False),
    ],
)
def test_host_decides_who_reaches_the_dashboard(host: str, url: str, is_local: bool) -> None:
    where = Binding(8501, "127.0.0.1" if host == "localhost" else host)
    assert (where.url, where.is_local) == (url, is_local)
