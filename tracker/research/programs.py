"""Begin, run and resume a search for better instructions: its studies, its proposer, its folder."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from runners.executors.supervisor import Worker, WorkerWatch, catch_interrupts, supervise
from runners.research.comparability import PROGRAM
from runners.research.events import StudyEvent
from runners.research.problem.tiers import tier as tier_of
from runners.research.program_search import StudyOrder, run_search
from runners.research.program_writer import WRITTEN
from tracker.bench.run import check_home, new_run_id
from tracker.errors import TrackerError, UsageError
from tracker.files.programs import PROGRAMS_FORMAT, SearchLedger, open_search
from tracker.files.studies import Ledger
from tracker.http_client import parse_json
from tracker.records import EngineSettings
from tracker.records.programs import (
    JudgedVersion,
    ProgramSearch,
    ProgramVersion,
    SearchStatus,
    StudyScore,
)
from tracker.records.studies import Study, StudySecret, StudyStatus, Track
from tracker.research.begin import (
    SECRET_BYTES,
    StudyRequest,
    agent_spec,
    begin_study,
    resumed_study,
)
from tracker.research.driver import run_study, study_lock
from tracker.serialization import dump_versioned, load_versioned, write_atomically
from tracker.settings import Settings

SCRIPTED = "file"  # the proposer whose versions come from a file
VERSIONS_FILE = "given.json"
MAX_FILE_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A search to run."""

    agent: str
    proposer: str | None = None  # a model; None: the agent, or the file
    versions_file: Path | None = None
    tier: str = "smoke"
    held_out: tuple[str, ...] = ()
    track: str = "params"
    n_trials: int = 10
    n_versions: int = 4
    n_placebos: int = 1
    n_test: int = 5
    engine: EngineSettings = field(default_factory=EngineSettings)
    executor: str | None = None  # where the studies train; None: that of the settings

    def __post_init__(self) -> None:
        """Refuse values out of range, naming the flag."""
        ranges = (
            ("--trials", self.n_trials, 1),
            ("--versions", self.n_versions, 1),
            ("--placebos", self.n_placebos, 0),
            ("--seeds", self.n_test, 2),
        )
        for flag, value, least in ranges:
            if value < least:
                raise UsageError(f"`{flag} {value}` must be at least {least}", hint=f"example: `{flag} 5`")


@dataclass(frozen=True, slots=True)
class GivenVersions:
    """Versions that the user gave, in their order."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """Who is told what happens."""

    on_study: Callable[[StudyOrder, Study], None]
    on_event: Callable[[StudyEvent], None]
    on_version: Callable[[JudgedVersion], None]


def begin_search(request: SearchRequest, settings: Settings) -> ProgramSearch:
    """Create a search for `run_program_search`.

    Raises:
        TrackerError: a clear user error; nothing was written.
    """
    check_home(settings)
    texts = () if request.versions_file is None else _given(request.versions_file)
    of = _study_request(request)
    for name in (request.tier, *request.held_out):
        tier_of(name, settings.home)
    if texts and request.proposer is not None:
        raise UsageError("`--proposer` and `--proposals` exclude each other", hint="pass one of the two")
    if not texts and request.proposer is None and not of.is_model:
        message = f"agent `{request.agent}` writes no instructions"
        raise UsageError(message, hint="add `--proposer MODEL`, or `--proposals FILE` with the versions")
    agent_spec(of, Track(request.track), settings)  # that it can work on this track
    writer = None
    if not texts:
        named = StudyRequest(request.proposer or request.agent, engine=request.engine)
        writer = agent_spec(named, Track.PARAMS, settings)
        if writer.model is None:
            raise UsageError(f"`{writer.name}` is no model", hint="pass a model as `--proposer`")
    secret = StudySecret(secrets.token_hex(SECRET_BYTES))
    search = ProgramSearch(
        program_id=new_run_id(),
        agent=request.agent,
        engine=request.engine,
        proposer=SCRIPTED if writer is None else writer.name,
        proposer_spec=writer,
        tier=request.tier,
        held_out=request.held_out,
        track=request.track,
        n_trials=request.n_trials,
        n_versions=min(request.n_versions, len(texts)) if texts else request.n_versions,
        n_placebos=request.n_placebos,
        n_test=request.n_test,
        executor=request.executor or settings.executor,
        secret_hash=secret.hash,
        started_at=datetime.now(UTC),
    )
    ledger = SearchLedger(settings.programs_path / search.program_id)
    first = tier_of(request.tier, settings.home).program or PROGRAM.read_text()
    ledger.write_version(ProgramVersion(0, first, proposer="shipped"))
    ledger.write_secret(secret)
    if texts:
        given = dump_versioned(GivenVersions(texts), PROGRAMS_FORMAT)
        write_atomically(ledger.folder / VERSIONS_FILE, given)
    ledger.write_search(search)
    return search


def resumed_search(name: str, settings: Settings) -> ProgramSearch:
    """The search with that id, or the start of its id, ready to be resumed.

    Raises:
        UnknownNameError: there is no such search.
        TrackerError: it is complete.
    """
    check_home(settings)
    search = open_search(settings, name).read_search()
    if search.status is SearchStatus.COMPLETE:
        raise TrackerError(
            f"search `{search.program_id}` is complete", hint="start a new one without `--resume`"
        )
    return search


def work_on_search(search: ProgramSearch, settings: Settings, progress: SearchProgress) -> ProgramSearch:
    """Run the search, or go on with it.

    Raises:
        BusyError: another process works on it.
        TrackerError: a study or the proposer did not end; the search can be resumed.
    """
    ledger = SearchLedger(settings.programs_path / search.program_id)
    with study_lock(settings, search.program_id):
        return run_search(
            ledger,
            propose=_Proposer(ledger),
            run=_Runner(ledger, settings, progress),
            say=progress.on_version,
        )


class SearchStoppedError(TrackerError):
    """A study or the proposer of a search ended early; the search can be resumed."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class _Runner:
    """Runs the studies of a search, or reads those that are complete."""

    def __init__(self, ledger: SearchLedger, settings: Settings, progress: SearchProgress) -> None:
        self._ledger, self._settings, self._progress = ledger, settings, progress
        self._search = ledger.read_search()

    def __call__(self, order: StudyOrder) -> StudyScore:
        known = self._ledger.study_id(order.key)
        if known is None:
            study = begin_study(self._request(order), self._settings)
            self._ledger.write_study_id(order.key, study.study_id)
        else:
            study = Ledger(self._settings.studies_path / known).read_study()
        if study.status is not StudyStatus.COMPLETE:
            study = study if known is None else resumed_study(study.study_id, self._settings)
            self._progress.on_study(order, study)
            end = run_study(study, self._settings, self._progress.on_event)
            study = end.study
            if end.exit_code:
                message = f"study `{study.study_id}`: {study.status}: {study.detail or study.reason}"
                raise SearchStoppedError(message, exit_code=end.exit_code)
        return self._score(study)

    def _request(self, order: StudyOrder) -> StudyRequest:
        search = self._search
        return StudyRequest(
            agent=search.agent,
            tier=order.tier,
            track=search.track,
            n_trials=search.n_trials,
            seed=order.seed,
            engine=search.engine,
            placebo_share=0.0,  # the search has its own
            secret=order.secret,
            program=order.program.text if order.program.version else None,
            executor=search.executor,
        )

    def _score(self, study: Study) -> StudyScore:
        assert study.result is not None, "a complete study has a result"
        trials = Ledger(self._settings.studies_path / study.study_id).trials()
        exchanges = [each for trial in trials for each in trial.proposal.exchanges]
        n_tokens = sum(each.prompt_tokens + each.output_tokens for each in exchanges)
        return StudyScore(study.study_id, study.result.gain_bpb, n_tokens)


class _Proposer:
    """The next version: from the file that was given, or by a model in a process of its own."""

    def __init__(self, ledger: SearchLedger) -> None:
        self._ledger = ledger
        self._spec = ledger.read_search().proposer_spec

    def __call__(self, number: int, best: ProgramVersion, judged: Sequence[JudgedVersion]) -> ProgramVersion:
        if self._spec is None:
            texts = load_versioned(
                GivenVersions, (self._ledger.folder / VERSIONS_FILE).read_bytes(), PROGRAMS_FORMAT,
                where=str(self._ledger.folder / VERSIONS_FILE),
            ).texts  # fmt: skip
            return ProgramVersion(number, texts[len(judged)], proposer=SCRIPTED)
        folder = self._ledger.folder.resolve()
        written = folder / WRITTEN
        written.unlink(missing_ok=True)
        worker = Worker("runners.research.program_writer", folder, str(folder), folder / "worker.log")
        with catch_interrupts() as interrupts:
            end = supervise(worker, lambda line: None, WorkerWatch(), interrupts)
        if not written.is_file():
            code = end.exit_code(if_killed=1) or 1
            raise SearchStoppedError(f"no instructions were written: {end.detail}", exit_code=code)
        return load_versioned(ProgramVersion, written.read_bytes(), PROGRAMS_FORMAT, where=str(written))


def _study_request(request: SearchRequest) -> StudyRequest:
    return StudyRequest(
        request.agent,
        tier=request.tier,
        track=request.track,
        n_trials=request.n_trials,
        engine=request.engine,
        executor=request.executor,
    )


def _given(path: Path) -> tuple[str, ...]:
    """The versions in a file: a JSON list of texts.

    Raises:
        UsageError: it cannot be read, or is no such list.
    """
    hint = "a JSON list of programs, each a text with `$max_changes` and `$max_cost` in it"
    try:
        with path.open("rb") as file:
            found = parse_json(file.read(MAX_FILE_BYTES))
    except OSError as error:
        raise UsageError(f"`{path}` cannot be read: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise UsageError(f"`{path}` is not JSON", hint=hint) from error
    if not isinstance(found, list) or not found or not all(isinstance(text, str) for text in found):
        raise UsageError(f"`{path}` is no list of texts", hint=hint)
    return tuple(found)
