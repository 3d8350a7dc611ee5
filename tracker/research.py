"""`research`: begins a study, or takes up one that was left. `study_driver` then works on it.

May import everything but the command line and the app.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tracker
from runners.hardware import describe_hardware
from runners.research import sandbox
from runners.research.agents import AGENTS, NUMBERS_ONLY, OPTIMISERS
from runners.research.agents.scripted import FILE as SCRIPTED_FILE
from runners.research.attacks import attack_names
from runners.research.facts import facts_of
from runners.research.tiers import tier as tier_of
from tracker.bench import check_home, chosen_engine, new_run_id, resolve_named
from tracker.codec import dump, write_atomically
from tracker.errors import DiskFullError, TrackerError, UnknownNameError, UsageError
from tracker.logs import start_logging
from tracker.records import EngineSettings
from tracker.settings import Settings
from tracker.store import Store, publish
from tracker.studies import AgentSpec, Attack, Study, StudyStatus, SuiteRun, Track
from tracker.study_files import Ledger, open_ledger, study_folders, write_suite_run

EXTRA_HINT = "pip install -c constraints.txt -e '.[research]'"
BY_THEMSELVES = (*NUMBERS_ONLY, "scripted")  # agents that need no model


@dataclass(frozen=True, slots=True)
class StudyRequest:
    """What is to be studied."""

    agent: str  # a name of `BY_THEMSELVES`, or a model as `bench` takes it
    tier: str = "cpu"
    track: str = "params"
    n_trials: int = 30
    seed: int = 0
    wave_size: int = 1
    engine: EngineSettings = field(default_factory=EngineSettings)
    placebo_share: float = 0.1
    has_sandbox: bool = True
    override_share: float | None = None  # hybrid; None: as `AgentSpec` has it
    optimiser: str | None = None
    proposals: Path | None = None  # of agent `scripted`

    def __post_init__(self) -> None:
        """Refuse what is out of range, by the name of its flag."""
        if not self.agent or self.agent != self.agent.strip():
            raise TrackerError(f"`{self.agent}` cannot be the name of an agent", hint="--agent demo")
        if self.track not in list(Track):
            raise UnknownNameError("track", self.track, known=list(Track))
        for flag, value, example in (("--trials", self.n_trials, 30), ("--wave", self.wave_size, 4)):
            if value < 1:
                raise TrackerError(f"`{flag} {value}` must be at least 1", hint=f"{flag} {example}")
        if not 0 <= self.seed < 2**31:
            raise TrackerError(f"`--seed {self.seed}` must be in 0..{2**31 - 1}", hint="--seed 0")
        if not 0.0 <= self.placebo_share < 1.0:
            message = f"`--placebo-share {self.placebo_share:g}` must be at least 0 and less than 1"
            raise TrackerError(message, hint="--placebo-share 0.1")
        self._check_hybrid()

    def _check_hybrid(self) -> None:
        """Refuse what the track `hybrid` alone has, elsewhere or out of range."""
        if (self.override_share, self.optimiser) == (None, None):
            return
        if self.track != Track.HYBRID:
            message = "`--override-share` and `--optimiser` belong to the track `hybrid`"
            raise UsageError(message, hint="--track hybrid")
        if self.override_share is not None and not 0.0 <= self.override_share <= 1.0:
            message = f"`--override-share {self.override_share:g}` must be at least 0 and at most 1"
            raise TrackerError(message, hint="--override-share 0.3")
        if self.optimiser is not None and self.optimiser not in OPTIMISERS:
            raise UnknownNameError("optimiser", self.optimiser, known=OPTIMISERS)


def begin_study(request: StudyRequest, settings: Settings) -> Study:
    """A new study, written and stored, that `run_study` then works on.

    Raises:
        TrackerError: a clear user error; nothing was written.
        ModelError: the agent's model cannot be run here.
        UnreachableError: the Hub or the server is down.
    """
    start_logging(settings.log_level)
    tier, track = tier_of(request.tier), Track(request.track)
    check_home(settings)
    box = _sandbox(request, track)
    spec = _agent(request, track, settings)
    facts = facts_of(tier, settings.home)
    warnings = [f"sandbox `{box.kind}`: {lack}" for lack in box.lacks]
    study = Study(
        study_id=new_run_id(),
        agent=spec,
        tier=tier.name,
        track=track,
        seed=request.seed,
        n_trials=request.n_trials,
        status=StudyStatus.RUNNING,
        started_at=datetime.now(UTC),
        pid=os.getpid(),  # until the worker lives
        corpus_hash=facts.corpus_hash,
        script_hash=facts.script_hash,
        program_hash=facts.program_hash,
        harness_version=facts.harness_version,
        program=facts.program,
        wave_size=request.wave_size,
        placebo_share=request.placebo_share,
        hardware=dump(describe_hardware()),
        sandbox=str(box.kind),
        warnings=tuple([facts.note] if facts.note else []) + tuple(warnings),
    )
    ledger = Ledger(settings.studies_path / study.study_id)
    if request.proposals is not None:
        _copy_proposals(request.proposals, ledger.folder / SCRIPTED_FILE)
    write_atomically(ledger.folder / "program.md", facts.program.encode())
    ledger.write_study(study)
    return study


def resumed_study(name: str, settings: Settings) -> Study:
    """The study of that id, or that an id begins with, ready to go on.

    Raises:
        UnknownNameError: there is none.
        TrackerError: it is complete, was begun under another corpus, tier, script, program or version, or its
            agent writes code and no sandbox for that works here now.
    """
    start_logging(settings.log_level)
    check_home(settings)
    ledger = open_ledger(settings, name)
    study = ledger.read_study()
    if study.status is StudyStatus.COMPLETE:
        hint = f"`tracker research show {study.study_id}` shows it"
        raise TrackerError(f"study `{study.study_id}` is complete", hint=hint)
    facts_of(tier_of(study.tier), settings.home).refuse(study)
    sandbox.for_study(study.sandbox, runs_code=study.track is Track.CODE)
    return study


def known_study(request: StudyRequest, settings: Settings) -> Study | None:
    """A complete study that this request would repeat number for number; None if there is none."""
    tier = tier_of(request.tier)
    facts = facts_of(tier, settings.home)
    wanted = (request.agent, tier.name, request.track, request.seed, request.n_trials, request.wave_size)
    for folder in reversed(study_folders(settings.studies_path)):
        with suppress(TrackerError):
            study = Ledger(folder).read_study()
            found = (study.agent.name, study.tier, study.track, study.seed, study.n_trials, study.wave_size)
            is_same = found == wanted and study.placebo_share == request.placebo_share
            if is_same and study.status is StudyStatus.COMPLETE and facts.agree(study):
                return study
    return None


def stop_study(name: str, settings: Settings) -> Study:
    """Press the stop button of a study that is being worked on; its worker ends within seconds.

    Raises:
        UnknownNameError: there is none of that id.
        TrackerError: nobody works on it.
    """
    ledger = open_ledger(settings, name)
    study = ledger.read_study()
    if study.status is not StudyStatus.RUNNING:
        raise TrackerError(f"study `{study.study_id}` is not running: it is {study.status}")
    write_atomically(ledger.stop_path, b"")
    return study


def keep_attacks(outcomes: Sequence[Attack], *, started_at: datetime, tier: str, settings: Settings) -> None:
    """Write and store what became of scripted cheats: all that there are, or some by name.

    Raises:
        DiskFullError, StoreError: they cannot be kept.
    """
    run = SuiteRun(
        suite_run_id=new_run_id(),
        started_at=started_at,
        ended_at=datetime.now(UTC),
        tier=tier,
        sandbox=str(sandbox.find().kind),
        version=tracker.__version__,
        is_whole={attack.name for attack in outcomes} >= set(attack_names()),
        attacks=tuple(outcomes),
    )
    write_suite_run(settings.attacks_path, run)
    with Store.open(settings) as store:
        store.add_suite_run(run)
    publish(settings)


def _sandbox(request: StudyRequest, track: Track) -> sandbox.Sandbox:
    """What the trainings run in; code that an agent wrote runs in the best kind, or not at all.

    Raises:
        TrackerError: there is no such sandbox here.
    """
    begun_in = "" if request.has_sandbox else str(sandbox.Kind.NONE)
    return sandbox.for_study(begun_in, runs_code=track is Track.CODE)


def _agent(request: StudyRequest, track: Track, settings: Settings) -> AgentSpec:
    """Who proposes, its model pinned.

    Raises:
        UsageError: the agent cannot work on this track, or lacks what it needs.
    """
    name = request.agent
    if (name in NUMBERS_ONLY or track is Track.HYBRID) and find_spec("optuna") is None:
        raise TrackerError("the optimisers need Optuna, which is not installed", hint=EXTRA_HINT)
    if name not in BY_THEMSELVES:
        if name in AGENTS:
            raise UsageError("agent `model` is named by its model", hint="--agent demo, or --agent ORG/NAME")
        engine = chosen_engine(request.engine, describe_hardware())
        model = resolve_named(name, engine, settings)
        told = {"override_share": request.override_share, "optimiser": request.optimiser}
        more: dict[str, Any] = {key: value for key, value in told.items() if value is not None}
        return AgentSpec("model", model.model_id, model, engine, **more)
    if name in NUMBERS_ONLY and track is not Track.PARAMS:
        raise UsageError(f"agent `{name}` works on the track `params` alone", hint="--track params")
    if (name == "scripted") != (request.proposals is not None):
        raise UsageError("`--agent scripted` and `--proposals FILE` belong together")
    return AgentSpec(name, name)


def _copy_proposals(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(str(target)) from error
        raise TrackerError(f"`{source}` cannot be read: {error.strerror}") from error
