"""The seam for agents: one from another package runs, and is on the board and in the charts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.pages.research.charts import agent_marks
from app.pages.research.rows import agent_frame, agent_group, group_key
from runners.research.agents import AGENTS, agent_facts, agents_without_model, check_track, open_agent
from runners.research.study import run_study
from tests.builders.some_studies import TPE, store_study, study
from tests.conftest import ROOT
from tests.doubles.installed_package import install
from tests.doubles.research_doubles import World, begin, parts
from tracker.answers.agent_board import StudyRow
from tracker.errors import TrackerError, UsageError
from tracker.extensions import installed
from tracker.records.studies import AgentSpec, Change, Study, StudyStatus, Track
from tracker.research.begin import StudyRequest
from tracker.settings import Settings
from tracker.store import open_snapshot

NAME = "stepper"
SOURCE = """
from runners.research.agents import AgentFacts
from tracker.records.studies import Change, Proposal, Track

class Stepper:
    facts = AgentFacts(tracks=(Track.PARAMS,), is_optimizer=True)

    def __init__(self, study, folder):
        pass

    def propose(self, ask):
        change = Change({"beta1": 0.8})
        return [Proposal(change, rationale="a step", proposer="stepper")] * ask.k

    def close(self):
        pass
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The agent as an installed package, in this process and for those that it starts."""
    group = AGENTS.group
    folder = install(tmp_path / "site", "steps", SOURCE, group=group, name=NAME, attribute="Stepper")
    monkeypatch.syspath_prepend(str(folder))
    installed.cache_clear()
    yield folder
    installed.cache_clear()


def spec_study(name: str, **more: object) -> Study:
    common = {"n_trials": 3, "tier": "smoke", "placebo_share": 0.0, "status": StudyStatus.RUNNING}
    return study(1, agent=AgentSpec(name, name), gain=None, **common | more)


@pytest.mark.parametrize("name", [NAME, "steps:Stepper"], ids=["entry point", "class"])
def test_agent_of_another_package_runs_a_study_and_is_on_the_board_and_in_the_charts(
    package: Path, tmp_path: Path, settings: Settings, name: str
) -> None:
    ledger = begin(tmp_path / "study", spec_study(name))
    agent = open_agent(ledger.read_study(), tmp_path / "study")
    done = run_study(ledger, parts(agent, World(), tmp_path / "study"))
    assert (done.status, done.incumbent) == (StudyStatus.COMPLETE, Change({"beta1": 0.8}))
    store_study(settings, done, ledger.trials())
    store_study(settings, study(2, agent=TPE, tier="smoke", n_trials=3))
    with open_snapshot(settings) as snapshot:
        rows = [StudyRow(**row) for row in snapshot.query("research_board")]
        (of_ours,) = (row for row in snapshot.query("studies") if row["agent_name"] == name)
    group = agent_group(rows, group_key(of_ours))
    assert group is not None
    frame = agent_frame(group)
    assert sorted(frame["agent"]) == sorted([name, "tpe"])
    assert set(agent_marks(list(frame["agent"]))["agent"]) == {name, "tpe"}


def test_agent_of_another_package_is_among_the_choices(package: Path) -> None:
    assert NAME in agents_without_model()
    done = subprocess.run(
        [sys.executable, "-m", "tracker", "research", "run", "--help"],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(package), str(ROOT)]), "COLUMNS": "200"},
    )  # fmt: skip
    assert done.stdout.count(NAME) == 1
    assert StudyRequest(NAME, track="hybrid", optimizer=NAME).optimizer == NAME


def test_agent_that_says_on_which_tracks_it_works_is_refused_on_others(package: Path) -> None:
    with pytest.raises(UsageError, match="cannot work on the track `code`, only on `params`"):
        check_track("steps:Stepper", Track.CODE)


def test_agent_that_is_a_class_is_no_model_and_a_served_tag_is_no_class() -> None:
    from tracker.records import EngineSettings

    assert not StudyRequest("steps:Stepper").is_model
    served = EngineSettings(engine="server", base_url="http://127.0.0.1:1/v1")
    assert StudyRequest("qwen3:latest", engine=served).is_model
    assert [StudyRequest(name).is_model for name in ("demo", "acme/atlas", "tpe")] == [True, True, False]


def test_agent_whose_package_is_missing_says_so() -> None:
    with pytest.raises(TrackerError, match="agent `no_such_package:Agent` is not installed"):
        agent_facts("no_such_package:Agent")


def test_agent_whose_facts_are_none_of_ours_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_agent.py").write_text("class Odd:\n    facts = {'tracks': ['code']}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TrackerError, match="must be an `AgentFacts`"):
        agent_facts("odd_agent:Odd")


def test_agent_without_facts_changes_numbers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain_agent.py").write_text("class Plain:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert agent_facts("plain_agent:Plain").tracks == (Track.PARAMS,)
