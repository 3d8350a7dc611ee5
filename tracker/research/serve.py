"""A study that is driven from outside: its worker in a thread of its own, the tools in the main thread."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from runners.research.agents import agent_facts
from runners.research.events import StudyEvent
from runners.research.tools.session import ToolSession
from runners.research.tools.standing import session_setting
from tracker.errors import TrackerError, UsageError
from tracker.files.studies import Ledger
from tracker.records.studies import Study, StudyStatus
from tracker.research.driver import StudyEnd, run_study
from tracker.serialization import write_atomically
from tracker.settings import Settings

_log = logging.getLogger(__name__)
Face = Callable[[ToolSession], None]  # offers the tools until its client leaves
LOOK_S = 0.1
SERVED = "served"  # the kind of agent


def check_served(study: Study) -> None:
    """Refuse a study whose agent does not work through tools from outside.

    Raises:
        UsageError: it does not.
    """
    if not agent_facts(study.agent.kind).is_served:
        message = f"the agent of study `{study.study_id}` is `{study.agent.name}`, which needs no client"
        raise UsageError(message, hint=f"`tracker research resume {study.study_id}` continues it")


def check_unserved(study: Study) -> None:
    """Refuse a study whose agent works through tools from outside, where no client is.

    Raises:
        UsageError: it does.
    """
    if agent_facts(study.agent.kind).is_served:
        message = f"the agent of study `{study.study_id}`, `{study.agent.name}`, works through tools"
        hint = f"`tracker research serve --study {study.study_id}` continues it with a client"
        raise UsageError(message, hint=hint)


def serve_study(
    study: Study, settings: Settings, face: Face, on_event: Callable[[StudyEvent], None]
) -> StudyEnd:
    """Run the study while `face` offers its tools; when the client leaves, an unfinished study is stopped.

    It then is `interrupted`, and can be continued by another client.

    Raises:
        TrackerError: the study cannot be run, as by `run_study`.
    """
    ledger = Ledger(settings.studies_path / study.study_id)
    ends: list[StudyEnd] = []
    errors: list[TrackerError] = []

    def run() -> None:
        try:
            ends.append(run_study(study, settings, on_event))
        except TrackerError as error:
            errors.append(error)

    # the worker ends with the thread that started it, so this one lives as long as the study
    thread = threading.Thread(target=run, name="study", daemon=True)
    setting = replace(session_setting(ledger), is_stored=lambda: not thread.is_alive())
    session = ToolSession(setting)
    thread.start()
    try:
        # an older status would look to a client as the end
        while thread.is_alive() and ledger.read_study().status is not StudyStatus.RUNNING:
            thread.join(LOOK_S)
        with _ended_by_sigterm():
            face(session)
    except KeyboardInterrupt:  # the worker is told below, as when the client leaves
        _log.info("interrupted")
    finally:
        if thread.is_alive() and ledger.read_study().status is StudyStatus.RUNNING:
            write_atomically(ledger.stop_path, b"")
        thread.join()
    if errors:
        raise errors[0]
    return ends[0]


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C: the worker is to write down how the study ended."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
