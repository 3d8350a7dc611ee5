"""Create a study, or prepare one to be resumed; `driver` then runs it."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tracker
from runners.card_support import can_use_card
from runners.engines import choose_engine
from runners.executors import DEFAULT_EXECUTOR, EXECUTORS
from runners.hardware import describe_hardware
from runners.models.resolve import weights_format
from runners.research.agents import (
    AGENTS,
    agent_facts,
    check_track,
    optimizers,
)
from runners.research.agents.scripted import FILE as SCRIPTED_FILE
from runners.research.attacks.run import attack_names
from runners.research.comparability import MAX_PROGRAM_BYTES, comparability_of, program_text
from runners.research.corpora.ngram_line import task_line
from runners.research.problem.tiers import tier as tier_of
from runners.research.trainer import calls_of
from runners.sandbox import run as sandbox
from tracker.bench.run import check_home, new_run_id, resolve_named
from tracker.errors import DiskFullError, TrackerError, UnknownNameError, UsageError
from tracker.files.studies import (
    STUDY_FORMAT,
    Ledger,
    open_ledger,
    study_folders,
    write_suite_run,
)
from tracker.foreign_text import one_line
from tracker.installation import install_command
from tracker.logs import start_logging
from tracker.records import EngineSettings
from tracker.records.studies import (
    AgentSpec,
    Attack,
    Loop,
    Study,
    StudySecret,
    StudyStatus,
    SuiteRun,
    Track,
)
from tracker.serialization import dump, load_versioned, write_atomically
from tracker.settings import Settings
from tracker.store import Store, publish

DEFAULT_OPTIMIZER = "tpe"  # of a hybrid, as `AgentSpec` has it
SECRET_BYTES = 32
GIVEN_SEEDS = "its secret was given with `--study-secret`, not drawn: whoever knows it can compute the seeds"


@dataclass(frozen=True, slots=True)
class StudyRequest:
    """A study to run."""

    agent: str  # one of `AGENTS`, `package.module:Class`, or a model as `bench` takes it
    tier: str = "cpu"
    track: str = "params"
    n_trials: int = 30
    seed: int = 0
    wave_size: int = 1
    engine: EngineSettings = field(default_factory=EngineSettings)
    placebo_share: float = 0.1
    has_sandbox: bool = True
    override_share: float | None = None  # hybrid; None: as `AgentSpec` has it
    optimizer: str | None = None
    proposals: Path | None = None  # of agent `scripted`
    secret: StudySecret | None = None  # None: a fresh one
    program: str | None = None  # template of the instructions; None: the task's or the shipped one
    loop: str = "once"
    team: int = 1
    token_budget: int | None = None
    name: str | None = None  # of an agent from outside, which `tracker research serve` gives tools to
    has_transfer: bool = True
    executor: str | None = None  # where it trains; None: that of the settings

    def __post_init__(self) -> None:
        """Refuse values out of range, naming the flag."""
        if self.executor is not None:
            EXECUTORS.place(self.executor)  # a wrong name costs nothing
        if not self.agent or self.agent != self.agent.strip():
            message = f"`{self.agent}` is not an agent name: it is empty or has spaces around it"
            raise TrackerError(message, hint="example: `--agent demo`")
        if self.name is not None and (not self.name.strip() or self.name != one_line(self.name).strip()):
            message = (
                f"`--name {self.name}` is not a name: it is empty, or has line breaks or blanks around it"
            )
            raise TrackerError(message, hint="example: `--name codex-qwen3`")
        if self.track not in list(Track):
            raise UnknownNameError("track", self.track, known=list(Track))
        for flag, value, example in (("--trials", self.n_trials, 30), ("--wave", self.wave_size, 4)):
            if value < 1:
                raise TrackerError(
                    f"`{flag} {value}` must be at least 1", hint=f"example: `{flag} {example}`"
                )
        if not 0 <= self.seed < 2**31:
            raise TrackerError(f"`--seed {self.seed}` must be in 0..{2**31 - 1}", hint="example: `--seed 0`")
        if not 0.0 <= self.placebo_share < 1.0:
            message = f"`--placebo-share {self.placebo_share:g}` must be at least 0 and less than 1"
            raise TrackerError(message, hint="example: `--placebo-share 0.1`")
        self._check_hybrid()
        self._check_loop()

    def _check_hybrid(self) -> None:
        """Refuse flags of track `hybrid` on other tracks, and values out of range."""
        if (self.override_share, self.optimizer) == (None, None):
            return
        if self.track != Track.HYBRID:
            message = "`--override-share` and `--optimizer` need `--track hybrid`"
            raise UsageError(message, hint="add `--track hybrid`")
        if self.override_share is not None and not 0.0 <= self.override_share <= 1.0:
            message = f"`--override-share {self.override_share:g}` must be between 0 and 1"
            raise TrackerError(message, hint="example: `--override-share 0.3`")
        if self.optimizer is not None and not agent_facts(self.optimizer).is_optimizer:
            raise UnknownNameError("optimizer", self.optimizer, known=optimizers())

    def _check_loop(self) -> None:
        """Refuse flags of the loop with tools where it cannot be, and values out of range."""
        if self.loop not in list(Loop):
            raise UnknownNameError("loop", self.loop, known=list(Loop))
        if self.team < 1:
            raise TrackerError(f"`--team {self.team}` must be at least 1", hint="example: `--team 4`")
        if self.token_budget is not None and self.token_budget < 1:
            message = f"`--token-budget {self.token_budget}` must be at least 1"
            raise TrackerError(message, hint="example: `--token-budget 2000000`")
        if self.loop == Loop.ONCE:
            if self.team > 1 or self.token_budget is not None:
                raise UsageError(
                    "`--team` and `--token-budget` need `--loop tools`", hint="add `--loop tools`"
                )
            return
        if not self.is_model or self.track == Track.HYBRID:
            message = "`--loop tools` needs a model as the agent, on the track `params` or `code`"
            raise UsageError(message, hint="example: `--agent demo --track params`")
        if self.wave_size != 1:
            message = "`--wave` does not apply to `--loop tools`"
            raise UsageError(message, hint="`--team` says how many trials are prepared at once")

    @property
    def is_model(self) -> bool:
        """Whether the agent is a model; a server may call its model `name:tag`, as a class is called."""
        is_class = ":" in self.agent and self.engine.base_url is None
        return self.agent not in AGENTS and not is_class


def begin_study(request: StudyRequest, settings: Settings) -> Study:
    """Create a study for `run_study`.

    Raises:
        TrackerError: a clear user error; nothing was written.
        ModelError: the agent's model cannot be run here.
        UnreachableError: the Hub or the server is down.
    """
    start_logging(settings.log_level)
    tier, track = tier_of(request.tier, settings.home), Track(request.track)
    check_home(settings)
    executor = request.executor or settings.executor
    box = _sandbox(request, track, executor, settings)
    spec = agent_spec(request, track, settings)
    program = None if request.program is None else program_text(request.program)
    facts = comparability_of(tier, settings.home, program=program)
    warnings = [f"sandbox `{box.kind}`: {lack}" for lack in box.lacks]
    warnings += [GIVEN_SEEDS] if request.secret is not None else []
    secret = request.secret or StudySecret(secrets.token_hex(SECRET_BYTES))
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
        has_own_program=request.program is not None,
        wave_size=max(request.wave_size, request.team),
        placebo_share=request.placebo_share,
        hardware=dump(describe_hardware()),
        sandbox=str(box.kind),
        warnings=tuple([facts.note] if facts.note else []) + tuple(warnings),
        secret_hash=secret.hash,
        ngram_bpb=task_line(tier, settings.home),
        has_transfer=request.has_transfer,
        executor=executor,
    )
    ledger = Ledger(settings.studies_path / study.study_id)
    if request.proposals is not None:
        _copy_proposals(request.proposals, ledger.folder / SCRIPTED_FILE)
    write_atomically(ledger.folder / "program.md", facts.program.encode())
    ledger.write_secret(secret)
    ledger.write_study(study)
    return study


def given_secret(text: str) -> StudySecret:
    """The secret in `--study-secret`: its digits, or a file with them or of a study (`secret.json`).

    Raises:
        UsageError: it is neither.
    """
    hint = "pass 64 hexadecimal digits, or a file that holds them, such as `secret.json` of a study"
    content = text
    with suppress(OSError, ValueError):  # digits are no name of a file, or no file has that name
        content = Path(text).read_text()
    try:
        if content.lstrip().startswith("{"):
            return load_versioned(StudySecret, content.encode(), STUDY_FORMAT, where=f"`{text}`")
        return StudySecret(content.strip().lower())
    except (TrackerError, ValueError) as error:
        raise UsageError("`--study-secret` is neither a secret nor a file with one", hint=hint) from error


def read_program(path: Path) -> str:
    """The text of a user's own `program.md`.

    Raises:
        UsageError: it cannot be read, or is not text.
    """
    hint = "a program is a text for the model, with `$max_changes` and `$max_cost` in it"
    try:
        with path.open("rb") as file:
            return file.read(MAX_PROGRAM_BYTES + 1).decode()
    except OSError as error:
        raise UsageError(f"`{path}` cannot be read: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"`{path}` is not text in UTF-8", hint=hint) from error


def resumed_study(name: str, settings: Settings, *, executor: str | None = None) -> Study:
    """The study with that id, or the start of its id, ready to be resumed where it was, or by `executor`.

    Raises:
        UnknownNameError: there is no such study.
        TrackerError: it is complete, was started with another corpus, tier, script, program or version, has
            lost its secret, or needs a sandbox that does not work here.
    """
    start_logging(settings.log_level)
    check_home(settings)
    ledger = open_ledger(settings, name)
    study = ledger.read_study()
    if study.status is StudyStatus.COMPLETE:
        hint = f"`tracker research show {study.study_id}` shows it"
        raise TrackerError(f"study `{study.study_id}` is complete", hint=hint)
    program = study.program if study.has_own_program else None
    comparability_of(tier_of(study.tier, settings.home), settings.home, program=program).refuse(study)
    ledger.read_secret()
    if executor is not None and executor != study.executor:
        study = replace(study, executor=_other_executor(executor, study, ledger))
    if study.executor == DEFAULT_EXECUTOR:
        sandbox.for_study(study.sandbox, runs_code=study.track is Track.CODE)
    else:
        calls_of(study.executor, settings)
    return study


def _other_executor(name: str, study: Study, ledger: Ledger) -> str:
    """The executor `name` for a study that was begun with another one.

    Raises:
        TrackerError: there is none of that name, or it would compare trainings of this machine with others.
    """
    EXECUTORS.place(name)
    if DEFAULT_EXECUTOR in (name, study.executor) and ledger.trial_paths():
        message = f"study `{study.study_id}` has trials of the executor `{study.executor}`"
        hint = "trainings of this machine and of a cluster are not compared: leave `--executor` out"
        raise TrackerError(message, hint=hint)
    return name


def known_study(request: StudyRequest, settings: Settings) -> Study | None:
    """A complete study with exactly these settings, or None."""
    tier = tier_of(request.tier, settings.home)
    facts = comparability_of(tier, settings.home)
    wanted = (request.agent, tier.name, request.track, request.seed, request.n_trials, request.wave_size)
    for folder in reversed(study_folders(settings.studies_path)):
        with suppress(TrackerError):
            study = Ledger(folder).read_study()
            found = (study.agent.name, study.tier, study.track, study.seed, study.n_trials, study.wave_size)
            is_same = found == wanted and study.placebo_share == request.placebo_share
            is_same &= study.executor == (request.executor or settings.executor)
            is_same &= request.secret is None or request.secret.hash == study.secret_hash
            if is_same and study.status is StudyStatus.COMPLETE and facts.agree(study):
                return study
    return None


def stop_study(name: str, settings: Settings) -> Study:
    """Ask a running study to stop; its worker ends within seconds.

    Raises:
        UnknownNameError: there is no study with that id.
        TrackerError: it is not running.
    """
    ledger = open_ledger(settings, name)
    study = ledger.read_study()
    if study.status is not StudyStatus.RUNNING:
        raise TrackerError(f"study `{study.study_id}` is not running; its status is `{study.status}`")
    write_atomically(ledger.stop_path, b"")
    return study


def keep_attacks(outcomes: Sequence[Attack], *, started_at: datetime, tier: str, settings: Settings) -> None:
    """Save and store the outcomes of scripted cheats.

    Raises:
        DiskFullError, StoreError: they cannot be saved.
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


def _sandbox(request: StudyRequest, track: Track, executor: str, settings: Settings) -> sandbox.Sandbox:
    """The sandbox for the trainings; code written by an agent needs the best kind available.

    A cluster's node must have bubblewrap, which it tells once it trains.

    Raises:
        TrackerError: there is no such sandbox here, or the executor cannot be used here.
    """
    requested = "" if request.has_sandbox else str(sandbox.Kind.NONE)
    if executor != DEFAULT_EXECUTOR:
        calls_of(executor, settings)
        if request.has_sandbox:
            return sandbox.Sandbox(sandbox.Kind.BUBBLEWRAP)
    return sandbox.for_study(requested, runs_code=track is Track.CODE)


def agent_spec(request: StudyRequest, track: Track, settings: Settings) -> AgentSpec:
    """The agent, with its model pinned.

    Raises:
        UsageError: the agent cannot work on this track, or lacks what it needs.
    """
    name = request.agent
    proposers = [] if request.is_model else [name]
    if track is Track.HYBRID:
        proposers.append(request.optimizer or DEFAULT_OPTIMIZER)
    for each in proposers:
        _check_installed(each)
    if request.is_model:
        has_gpu = can_use_card(describe_hardware(), engine=request.engine.engine)
        engine = choose_engine(request.engine, has_gpu=has_gpu, weights=weights_format(name))
        model = resolve_named(name, engine, settings)
        given = {"override_share": request.override_share, "optimiser": request.optimizer}
        more: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        more |= {"loop": Loop(request.loop), "team": request.team, "token_budget": request.token_budget}
        return AgentSpec("model", model.model_id, model, engine, **more)
    facts = agent_facts(name)
    if facts.needs_model:
        message = f"`{name}` is not an agent name: pass the model's id as `--agent`"
        raise UsageError(message, hint="use `--agent demo` or `--agent ORG/NAME`")
    check_track(name, track)
    if facts.is_served:
        if request.name is None:
            message = f"agent `{name}` proposes through tools, and no client is given"
            raise UsageError(message, hint="use `tracker research serve`, and connect a client to it")
        if request.wave_size != 1:
            raise UsageError("`--wave` does not apply to an agent with tools", hint="leave `--wave` out")
        return AgentSpec(name, request.name)
    if facts.needs_proposals != (request.proposals is not None):
        if facts.needs_proposals:
            message, hint = (
                f"agent `{name}` needs `--proposals FILE`",
                f"example: `--agent {name} --proposals FILE`",
            )
        else:
            message, hint = f"`--proposals` does not apply to agent `{name}`", "use `--agent scripted`"
        raise UsageError(message, hint=hint)
    return AgentSpec(name, name)


def _check_installed(agent: str) -> None:
    """Refuse an agent whose package is not installed.

    Raises:
        TrackerError: it is not installed.
    """
    package = agent_facts(agent).needs_package
    if package is not None and find_spec(package) is None:
        message = f"agent `{agent}` needs the package `{package}`, which is not installed"
        raise TrackerError(message, hint=install_command("research"))


def _copy_proposals(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(str(target)) from error
        raise TrackerError(f"`{source}` cannot be read: {error.strerror}") from error
