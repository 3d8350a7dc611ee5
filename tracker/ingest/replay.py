"""Rebuild what was ingested from the raw answers, asking nobody.

Each past ingest is repeated with its own answers, moment and settings, by the same code that ingested it, in
a database beside the old one; only a complete one replaces it. What a newer version reads differently out of
the same answers is said. An answer that is missing or damaged costs what it said, and nothing else.

Ingests of versions that did not log them (before `ingests.jsonl`) are taken from the old database. Without
one, they are estimated from the list of answers: which answers had not changed, failures and positions are
then unknown.
"""

from __future__ import annotations

import heapq
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import duckdb

from tracker.errors import BusyError, TrackerError
from tracker.ingest.model_aliases import resolve_names
from tracker.ingest.run import Progress, finish, outcome_of, read_source
from tracker.locks import exclusive_lock
from tracker.records.published import IngestOutcome, OutcomeStatus
from tracker.records.vintages import Vintage
from tracker.settings import Settings
from tracker.sources import get_source
from tracker.sources.ingest_log import (
    Answered,
    Begun,
    IngestEnd,
    LoggedIngest,
    Refitted,
    read_ingests,
)
from tracker.sources.raw import RawEntry, RawStore, logged_entries
from tracker.sources.recorded import LogEndsError, ReplayFetcher
from tracker.store import Alias, Rebuilt, Store
from tracker.store.aside import keep_copy
from tracker.store.database import log_path, transaction
from tracker.store.decisions import (
    AliasSet,
    Decision,
    JobRemoved,
    JobSet,
    NamesMatched,
    read_decisions,
)
from tracker.store.earlier_rows import copy_earlier_rows
from tracker.store.leftovers import HISTORY, SCRATCH
from tracker.store.locks import WAIT_S, write_lock
from tracker.store.reconstruction import rebuild_database, retold
from tracker.wording import counted

KEPT_ASIDE = "tracker-before-{at:%Y%m%dT%H%M%S%f}.duckdb"  # the database that was replaced
GAP = timedelta(minutes=30)  # between the answers of one ingest: the default time limit of a source
LINKED = ("items", "studies", "attacks", "frontier", "suites")
UNLOGGED = "it is in no log, so that it is not rebuilt; the replaced database has it"
OLD_LOG = "are estimated from an older log: unchanged answers, failures and interruptions are not in it"


@dataclass(frozen=True, slots=True)
class HistoryProblem:
    """What of an ingest could not be rebuilt; without an id: of the whole source."""

    source: str
    ingest_id: str | None
    message: str


@dataclass(frozen=True, slots=True)
class RebuiltHistory:
    """The result of rebuilding what was ingested."""

    rebuilt: Rebuilt  # of runs and studies
    n_ingests: int  # replayed
    earlier_from: str | None  # the file that ingests from before the logs were copied from
    kept_aside: str | None  # where the replaced database is
    problems: tuple[HistoryProblem, ...]


@dataclass(frozen=True, slots=True)
class PastIngest:
    """An ingest to replay."""

    source: str
    logged: LoggedIngest
    is_estimated: bool = False

    @property
    def at(self) -> datetime:
        """When it began."""
        return self.logged.begun.started_at


Step: TypeAlias = PastIngest | Decision


class RepeatedCourse:
    """Writes where the logged ingest wrote, and knows how its refits ended."""

    def __init__(self, ingest: LoggedIngest) -> None:
        self._writes = set(ingest.writes)
        self._lived = ingest.ended is not None
        self._refits = list(ingest.refits)

    def is_due(self, n_batches: int, n_waiting: int) -> bool:
        """Whether the ingest wrote here."""
        del n_waiting
        return n_batches in self._writes

    def may_write(self, n_batches: int) -> bool:
        """Whether the ingest wrote here; one that was not killed wrote everything in the end."""
        return self._lived or n_batches in self._writes

    def refit(self, vintage: Vintage, settings: Settings) -> Refitted:
        """The logged result; without one, the next ingest refits the index."""
        del settings
        for result in self._refits:
            if result.vintage_id == vintage.vintage_id:
                self._refits.remove(result)
                return result
        return Refitted(vintage.vintage_id, is_refitted=False)


def rebuild_history(
    settings: Settings, *, wait_s: float = WAIT_S, on_ingest: Callable[[str], None] = lambda ingest_id: None
) -> RebuiltHistory:
    """Replace the database by one rebuilt from the raw answers, logs and item files, atomically at the end.

    The replaced database is kept beside it. `on_ingest` is called with the id of each ingest.

    Raises:
        BusyError: another rebuild runs, another process writes for longer than `wait_s`, or an ingest
            happened meanwhile; the old database is kept.
        StoreError: the disk is full or failing; the old database is kept.
    """
    busy, hint = "the history is already being rebuilt", "wait for it to finish"
    with exclusive_lock(settings, HISTORY, busy=busy, hint=hint, what="store rebuild"):
        for left in settings.home.glob(f"{SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        scratch = settings.home / f"{SCRATCH}{secrets.token_hex(4)}"
        scratch.mkdir(parents=True)
        try:
            return _rebuild(settings, scratch, wait_s=wait_s, on_ingest=on_ingest)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _rebuild(
    settings: Settings, scratch: Path, *, wait_s: float, on_ingest: Callable[[str], None]
) -> RebuiltHistory:
    for name in LINKED:
        (scratch / name).symlink_to(settings.home / name, target_is_directory=True)
    there = settings.model_copy(update={"home": scratch})
    logs = _log_sizes(settings)
    problems: list[HistoryProblem] = []
    logged = {source: _logged(settings, source, problems) for source in _sources(settings)}
    firsts = {source: past[0] for source, past in logged.items() if past}
    began_at = min((past.at for past in firsts.values()), default=None)
    earlier = copy_earlier_rows(
        there, settings, {name: past.logged.ingest_id for name, past in firsts.items()}, began_at=began_at
    )
    problems += [HistoryProblem("database", None, problem) for problem in earlier.problems]
    ids = {past.logged.ingest_id for some in logged.values() for past in some}
    problems += [HistoryProblem(source, one, UNLOGGED) for source, one in earlier.later if one not in ids]
    for source in sorted(logged.keys() - earlier.sources):
        estimated = _estimated(settings, source, before=firsts.get(source))
        if estimated:
            message = f"{counted(len(estimated), 'ingest')} {OLD_LOG}"
            problems.append(HistoryProblem(source, None, message))
        logged[source] = [*estimated, *logged[source]]
    decisions, unreadable = read_decisions(settings)
    problems += [HistoryProblem("decisions", None, problem) for problem in unreadable]
    changes = [one for one in decisions if not (earlier.has_jobs and isinstance(one, JobSet | JobRemoved))]
    replays = {source: _Replay(settings, there, source) for source in logged}
    n_ingests = 0
    for step in _in_order([*logged.values(), changes]):
        if isinstance(step, PastIngest):
            problems += replays[step.source].repeat(step)
            n_ingests += 1
            on_ingest(step.logged.ingest_id)
        else:
            _decide(there, step)
    is_matched = any(isinstance(one, NamesMatched) for one in decisions)
    if not is_matched and any(logged.values()):
        resolve_names(there, at=max(past[-1].at for past in logged.values() if past))
    with write_lock(settings.db_path, wait_s=wait_s):
        if _log_sizes(settings) != logs:
            raise BusyError("an ingest ran meanwhile; the old database is kept", hint="repeat the command")
        with write_lock(there.db_path, wait_s=wait_s):
            rebuilt = rebuild_database(there, keeps_rows=False, kept_from=settings)
        _take_jobs(there.db_path, settings.db_path)
        aside = _swap(there.db_path, settings.db_path)
    rebuilt = retold(rebuilt, built_in=scratch, home=settings.home)
    rebuilt = replace(rebuilt, ingests_from=str(settings.raw_path))
    path = str(earlier.path) if earlier.path and earlier.sources else None
    return RebuiltHistory(rebuilt, n_ingests, path, str(aside) if aside else None, tuple(problems))


def _take_jobs(path: Path, old: Path) -> None:
    """Take the queue as it is now: a model may have been measured during the rebuild."""
    if not old.is_file():
        return
    with suppress(duckdb.Error), duckdb.connect(path) as connection:
        connection.execute("attach $path as old (read_only)", {"path": str(old)})
        ((n_jobs,),) = connection.execute("select count(*) from old.jobs").fetchall()
        if n_jobs:
            with transaction(connection):
                connection.execute("delete from jobs")
                connection.execute("insert into jobs by name from old.jobs")


class _Replay:
    """Repeats the ingests of one source, in order."""

    def __init__(self, settings: Settings, there: Settings, source: str) -> None:
        self._there = there
        self._source = source
        self._raw = RawStore(settings.raw_path / source)
        self._entries = logged_entries(settings.raw_path / source)
        self._earlier: dict[str, str] = {}  # hash of each answer so far, by address
        self._is_whole = True  # whether no answer was lost so far

    def repeat(self, past: PastIngest) -> Iterator[HistoryProblem]:
        """Repeat one ingest, and yield what could not be repeated."""
        ingest = past.logged
        self._earlier |= {
            entry.url: entry.sha256 for entry in self._entries if _at(entry) < ingest.begun.started_at
        }
        try:
            yield from self._repeat(past)
        except TrackerError as error:  # the source is not installed, or the disk is full
            yield HistoryProblem(self._source, ingest.ingest_id, str(error))
        answers = (answer for answer in ingest.answers if isinstance(answer, Answered))
        self._earlier |= {answer.url: answer.sha256 for answer in answers}

    def _repeat(self, past: PastIngest) -> Iterator[HistoryProblem]:
        ingest, begun, ended = past.logged, past.logged.begun, past.logged.ended
        at = self._there.model_copy(update=_settings_of(self._source, begun))
        source = get_source(begun.asked_as, at)
        with Store.open(at) as store:
            before = store.source_state(self._source)
        progress = Progress(ingest.ingest_id, begun.started_at, begun.now, begun.accept, before=before)
        if ended and ended.status == OutcomeStatus.SKIPPED_MISSING_CREDENTIAL:
            outcome = outcome_of(source, progress, OutcomeStatus(ended.status), ended.reason)
            finish(source, at, progress, outcome, ended_at=ended.ended_at)
            return
        fetch = ReplayFetcher(self._raw, ingest, self._earlier)
        try:
            outcome = read_source(source, at, progress, fetch, begun, course=RepeatedCourse(ingest))
        except LogEndsError:
            if ended is None:
                return  # killed: its row says that it is still running, as it did
            outcome = outcome_of(source, progress, OutcomeStatus(ended.status), ended.reason)
        if ended is None:
            return
        if fetch.problems:
            self._is_whole = False
            outcome = _without(outcome, fetch.problems)
            for problem in dict.fromkeys(fetch.problems) if not past.is_estimated else ():
                yield HistoryProblem(self._source, ingest.ingest_id, problem)
        elif self._is_whole and not past.is_estimated and (difference := _difference(outcome, ended)):
            yield HistoryProblem(self._source, ingest.ingest_id, difference)
        progress.raw_sha256 = tuple(dict.fromkeys(fetch.sha256))
        finish(source, at, progress, outcome, ended_at=ended.ended_at)


def _without(outcome: IngestOutcome, problems: Sequence[str]) -> IngestOutcome:
    """The outcome of an ingest some of whose answers are lost."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    reason = f"rebuilt without an answer: {problems[0]}{more}"
    status = OutcomeStatus.PARTIAL if outcome.status is OutcomeStatus.COMPLETED else outcome.status
    return replace(outcome, status=status, reason=reason)


def _difference(outcome: IngestOutcome, ended: IngestEnd) -> str | None:
    """How the replay differs from the ingest; None if it does not."""
    names = ("n_seen", "n_new", "n_changed", "n_gone")
    counts = [
        f"{name} is {getattr(outcome, name):,} instead of {getattr(ended, name):,}"
        for name in names
        if getattr(outcome, name) != getattr(ended, name)
    ]
    if outcome.status != ended.status:
        counts.insert(0, f"it is {outcome.status.value} instead of {ended.status}")
    return f"this version reads its answers differently: {', '.join(counts)}" if counts else None


def _decide(there: Settings, decision: Decision) -> None:
    """Repeat what a person decided, or the matching of names."""
    match decision:
        case NamesMatched():
            resolve_names(there, at=decision.at)
        case AliasSet():
            alias = Alias(decision.source, decision.name, decision.model_id, "person")
            with Store.open(there) as store:
                store.add_aliases([alias], at=decision.at)
        case JobSet():
            with Store.open(there) as store:
                store.put_jobs([decision.job])
        case JobRemoved():
            with Store.open(there) as store:
                store.remove_job(decision.model_id, decision.suite)


def _settings_of(source: str, begun: Begun) -> dict[str, object]:
    urls = {source: begun.source_url} if begun.source_url else {}
    return {"source_urls": urls, "hub_page": begun.hub_page, "fixed_now": begun.now}


def _sources(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.raw_path.glob("*") if path.is_dir())


def _logged(settings: Settings, source: str, problems: list[HistoryProblem]) -> list[PastIngest]:
    found = read_ingests(settings.raw_path / source)
    problems += [HistoryProblem(source, None, problem) for problem in found.problems]
    return [PastIngest(source, ingest) for ingest in found.ingests]


def _in_order(lists: Iterable[Sequence[Step]]) -> Iterator[Step]:
    """All steps by time, those of one list in its own order even if a clock was set back."""
    return heapq.merge(*lists, key=lambda step: step.at)


def _log_sizes(settings: Settings) -> Mapping[str, int]:
    """Sizes of the logs, which every ingest and decision changes."""
    return {str(path): path.stat().st_size for path in sorted(settings.raw_path.rglob("*.jsonl"))}


def _swap(new: Path, path: Path) -> Path | None:
    """Replace the database; the old one stays beside it. The lock is held."""
    replaced_at = datetime.now(UTC)
    aside = path.with_name(KEPT_ASIDE.format(at=replaced_at))
    had_one = path.exists()
    if had_one:
        keep_copy(path, aside)
    log_path(path).unlink(missing_ok=True)  # DuckDB would replay the old log into the new file
    new.replace(path)
    return aside if had_one else None


def _estimated(settings: Settings, source: str, *, before: PastIngest | None) -> list[PastIngest]:
    """The ingests of versions that logged answers alone, each made of answers close together."""
    entries = [
        entry
        for entry in logged_entries(settings.raw_path / source)
        if before is None or _at(entry) < before.at
    ]
    sessions: list[list[RawEntry]] = []
    for entry in entries:
        last = sessions[-1] if sessions else []
        is_new = not last or _at(entry) - _at(last[-1]) > GAP or entry.url in {one.url for one in last}
        sessions.append([entry]) if is_new else last.append(entry)
    return [PastIngest(source, _session(settings, source, some), is_estimated=True) for some in sessions]


def _session(settings: Settings, source: str, entries: Sequence[RawEntry]) -> LoggedIngest:
    first, last = entries[0], entries[-1]
    parts = urlsplit(first.url)
    is_hub = parts.path.startswith(("/api/", "/datasets/"))
    begun = Begun(
        asked_as=source,
        started_at=_at(first),
        now=_at(first),
        version="",
        endpoint=f"{parts.scheme}://{parts.netloc}",
        hub_page=settings.hub_page,
        source_url=None if is_hub else first.url,
    )
    nexts = [*entries[1:], None]
    answers = [
        Answered(one.url, one.sha256, _next_page(one, then)) for one, then in zip(entries, nexts, strict=True)
    ]
    ended = IngestEnd(_at(last), OutcomeStatus.COMPLETED.value, None, 0, 0, 0, 0)
    return LoggedIngest(f"{_at(first):%Y%m%d-%H%M%S%f}-{source}-0000", begun, list(answers), ended=ended)


def _next_page(entry: RawEntry, then: RawEntry | None) -> str | None:
    """The address of the next page of a list: of the answer after it, if that has a cursor."""
    if then is None or urlsplit(then.url).path != urlsplit(entry.url).path:
        return None
    return then.url if "cursor=" in urlsplit(then.url).query else None


def _at(entry: RawEntry) -> datetime:
    return datetime.fromisoformat(entry.at)
