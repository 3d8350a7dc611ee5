"""Work from the page: nothing without `--allow-write`; with it the queue changes and our commands start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from app.data import work
from app.http.guard import HOW_TO_WRITE, ONLY_READ
from app.http.server import ADDRESS, Binding
from tests.app.test_admission import client
from tests.doubles.app_visit import said, visit
from tracker.cli import main
from tracker.cli.page_work import PageWork
from tracker.errors import TrackerError
from tracker.settings import Settings
from tracker.store import open_snapshot

MODEL = "acme/atlas-8b"


class Ended:
    """A process that has ended."""

    def __init__(self, code: int | None) -> None:
        self.code = code

    def poll(self) -> int | None:
        return self.code


class Starts:
    """Records the commands instead of running them; each ends with this code and message."""

    def __init__(self, code: int | None = None, message: str = "") -> None:
        self.commands: list[list[str]] = []
        self.code, self.message = code, message

    def __call__(self, command: Sequence[str], log_path: Path) -> Ended:
        self.commands.append(list(command))
        log_path.write_text(self.message)
        return Ended(self.code)


@pytest.fixture
def starts(settings: Settings) -> Iterator[Starts]:
    """A server of this home that allows work."""
    found = Starts(1, "model: found\n\nerror: another bench is running\n")
    work.allow(PageWork(settings, start=found))
    yield found
    work.allow(None)


def queued(settings: Settings) -> dict[str, tuple[str, float | None]]:
    with open_snapshot(settings) as snapshot:
        return {row["model_id"]: (row["status"], row["set_priority"]) for row in snapshot.query("jobs")}


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("page", ["runs", "model"])
def test_without_allow_write_no_page_offers_work_and_an_attempt_is_refused(page: str) -> None:
    session = visit(page)
    assert not {button.label for button in session.button} & {"Start", "Add", "Measure the queue", "Remove"}
    with pytest.raises(TrackerError, match="without `--allow-write`") as refused:
        work.allowed_work()
    assert "tracker app --allow-write" in refused.value.hint


@pytest.mark.parametrize("path", ["/", "/runs", "/api/queue.json", "/feed.atom"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_request_that_would_change_something_is_refused_with_a_sentence(path: str, method: str) -> None:
    with client(Binding(8501)) as asking:
        answer = asking.request(method, path, headers={"Host": f"{ADDRESS}:8501"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json() == {"error": ONLY_READ, "hint": HOW_TO_WRITE}


def test_allow_write_without_a_token_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["app", "--allow-write", "--no-token"])
    assert ended.value.code == 2
    assert "`--allow-write` needs the token" in capsys.readouterr().err


def test_the_queue_changes_from_the_page_as_from_the_command_line(settings: Settings, starts: Starts) -> None:
    other = "acme/atlas-70b"
    work.allowed_work().queue_model(other, suite="quick", priority=None)
    session = visit("runs")
    session.text_input(key="queue_add").set_value(MODEL)
    session.button(key="queue_Add").click().run()
    assert queued(settings) == {MODEL: ("queued", None), other: ("queued", None)}
    session.selectbox(key="queue_job").set_value((MODEL, "quick"))
    session.button(key="queue_Run first").click().run()
    assert queued(settings)[MODEL] == ("queued", 1.0)
    session.button(key="queue_Park").click().run()
    assert queued(settings)[MODEL][0] == "parked"
    session.button(key="queue_Remove").click().run()
    assert set(queued(settings)) == {other}
    assert starts.commands == []


@pytest.mark.clock
def test_a_bench_is_started_as_its_command_and_its_failure_is_shown(starts: Starts) -> None:
    starter = work.allowed_work()
    starter.start_bench("demo", suite="smoke", limit=20)
    starter.start_queue(suite="quick", minutes=90)
    assert starts.commands == [
        ["bench", "demo", "--suite", "smoke", "--limit", "20"],
        ["queue", "run", "--suite", "quick", "--minutes", "90"],
    ]
    session = visit("runs")
    assert "tracker bench demo --suite smoke --limit 20" in said(session).replace("\\", "")
    assert any("another bench is running" in box.value for box in session.code)


@pytest.mark.usefixtures("starts")
@pytest.mark.parametrize(
    "name", ["--trust-remote-code", "../etc", "/etc/passwd", "org/name --x", "org/-x", ""]
)
def test_only_a_name_on_the_hub_can_be_measured_from_a_page(name: str) -> None:
    for attempt in (
        lambda: work.allowed_work().start_bench(name, suite="quick", limit=None),
        lambda: work.allowed_work().queue_model(name, suite="quick", priority=None),
    ):
        with pytest.raises(TrackerError, match="is not a Hub id"):
            attempt()


def test_the_form_of_the_model_page_starts_the_bench_that_it_shows(starts: Starts) -> None:
    session = visit("model", model="Kimi K3")
    session.selectbox(key="model_suite").set_value("smoke")
    session.number_input(key="model_limit").set_value(10)
    session.button(key="model_start").click().run()
    assert starts.commands == [["bench", "moonshotai/Kimi-K3", "--suite", "smoke", "--limit", "10"]]
    assert "Started" in [one.value for one in session.success]
