"""Ingest sources: fetch their records, store what is new, and report an outcome per source.

Everything that an ingest rests on is logged beside its answers, so that `replay.py` can repeat it without
asking anybody. One failing source does not stop the others. What it returned before it failed is kept, and
the next ingest resumes there. A source that lists everything (`is_whole`) is written in one transaction at
its end.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from huggingface_hub import constants

from tracker import __version__
from tracker.errors import TrackerError, TransientError, UnreachableError, describe_failure, is_failure
from tracker.ingest.guard import judge, refusal, without_future
from tracker.ingest.model_aliases import resolve_names
from tracker.ingest.vintages import VintageOrigin, keep_vintage, refit
from tracker.logs import announce_retries, get_logger, start_logging
from tracker.records.published import KEPT_PROBLEMS, Batch, IngestOutcome, OutcomeStatus
from tracker.records.vintages import Vintage, VintageData
from tracker.redaction import masked
from tracker.settings import Settings
from tracker.sources import SOURCES, Source, SourceRequest, get_source
from tracker.sources.errors import AbsentError, LayoutError, RefusedError, TimeUpError
from tracker.sources.fetch import Fetcher
from tracker.sources.ingest_log import Begun, IngestEnd, IngestLog, Refitted, Written
from tracker.sources.raw import RawStore, prune
from tracker.sources.recorded import RecordingFetcher, logged_url
from tracker.store import Counts, SourceState, Store, publish
from tracker.store.decisions import log_names, seed_decisions
from tracker.wording import agreeing, counted

EXIT_TROUBLE = 4
WATCHED = 200  # models checked individually: one request each; the Hub allows 500 per five minutes
WRITTEN_TOGETHER = 2000  # models per transaction, which combines several small pages
TROUBLE = (OutcomeStatus.FAILED, OutcomeStatus.PARTIAL, OutcomeStatus.SKIPPED_UNAVAILABLE)


class Course(Protocol):
    """What depends on time and machine in an ingest: when it writes, and how an index is refitted."""

    def is_due(self, n_batches: int, n_waiting: int) -> bool:
        """Whether to write after `n_batches`, of which `n_waiting` records wait."""
        ...

    def may_write(self, n_batches: int) -> bool:
        """Announce that the first `n_batches` are written now; False if they must not be."""
        ...

    def refit(self, vintage: Vintage, settings: Settings) -> Refitted:
        """The result of refitting the index of a vintage."""
        ...


class LoggedCourse:
    """Writes every few seconds, or many records together; logs that, and the result of each refit."""

    def __init__(self, log: IngestLog, *, flush_s: float) -> None:
        self._log = log
        self._flush_s = flush_s
        self._written_at_s = time.monotonic()

    def is_due(self, n_batches: int, n_waiting: int) -> bool:
        """Whether enough records wait, or long enough."""
        del n_batches
        return n_waiting >= WRITTEN_TOGETHER or time.monotonic() - self._written_at_s >= self._flush_s

    def may_write(self, n_batches: int) -> bool:
        """Log it, before the write: a kill between the two costs nothing in a replay."""
        self._written_at_s = time.monotonic()
        self._log.add(Written(n_batches))
        return True

    def refit(self, vintage: Vintage, settings: Settings) -> Refitted:
        """Fit it, which takes seconds."""
        result = refit(vintage, settings)
        self._log.add(result)
        return result


@dataclass(slots=True)
class Progress:
    """State of a running ingest."""

    ingest_id: str
    started_at: datetime
    now: datetime  # the moment that days are counted from
    accept: bool  # take an answer as it is
    before: SourceState  # where the previous ingest ended
    n_batches: int = 0
    raw_sha256: tuple[str, ...] = ()
    counts: Counts = field(default_factory=Counts)
    seen: set[str] = field(default_factory=set)  # keys
    n_dated: int = 0  # values of dated series
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    n_problems: int = 0
    n_overwritten: int = 0
    refused: list[str] = field(default_factory=list)  # by the guard, with counts
    can_repeat: bool = True  # whether the same answer on another day is taken
    is_read: bool = False  # to the end
    resume: str | None = None
    watermark: datetime | None = None
    vintage: VintageData | None = None

    def read(self, batch: Batch) -> None:
        """Count what was read in a batch, before the guard."""
        found = [model.key for model in batch.models] + [score.key for score in batch.scores]
        self.seen |= set(found)
        self.n_dated += len(batch.history)
        self.n_overwritten += len(batch.scores) - len({score.key for score in batch.scores})
        self.n_problems += len(batch.problems)
        self.problems += batch.problems[: KEPT_PROBLEMS - len(self.problems)]
        self.missing += batch.missing
        self.resume = batch.resume or self.resume
        self.watermark = batch.watermark or self.watermark
        self.vintage = batch.vintage or self.vintage


def ingest(
    names: Sequence[str],
    settings: Settings,
    *,
    since: datetime | None = None,
    accept: bool = False,
    on_outcome: Callable[[IngestOutcome], None] = lambda outcome: None,
) -> tuple[IngestOutcome, ...]:
    """Ingest the named sources, or all of them, publish the result, and return the outcome of each.

    `accept`: take an answer also if much of what was known is missing from it.

    Raises:
        UnknownNameError: there is no such source.
        BusyError: another process is writing to the store.
    """
    start_logging(settings.log_level)
    announce_retries()
    sources = {name: get_source(name, settings) for name in dict.fromkeys(names or SOURCES)}
    outcomes = []
    seed_decisions(settings)
    try:
        for name, source in sources.items():
            outcome = ingest_source(source, settings, since=since, accept=accept, asked_as=name)
            get_logger("ingest").info("source done", source=outcome.source, status=outcome.status.value)
            outcomes.append(outcome)
            on_outcome(outcome)
        named_at = datetime.now(UTC)
        log_names(settings, at=named_at)
        resolve_names(settings, at=named_at)
    finally:  # what was read before a Ctrl-C is published too
        publish(settings)
    return tuple(outcomes)


def exit_code(outcomes: Iterable[IngestOutcome]) -> int:
    """0 if each source is complete or lacks its key; 4 otherwise."""
    return EXIT_TROUBLE if any(outcome.status in TROUBLE for outcome in outcomes) else 0


def ingest_source(
    source: Source,
    settings: Settings,
    *,
    since: datetime | None = None,
    accept: bool = False,
    asked_as: str | None = None,
) -> IngestOutcome:
    """Ingest one source and return its outcome; its errors do not propagate.

    `asked_as`: the name by which `get_source` finds the source; default: its own.
    """
    facts, began_s = source.facts, time.monotonic()
    folder = settings.raw_path / facts.name
    started_at = datetime.now(UTC)
    prune(folder, at=started_at)
    with Store.open(settings) as store:
        state = store.source_state(facts.name)
        watched = _watched(store)
    progress = Progress(_new_ingest_id(facts.name), started_at, settings.now(), accept, before=state)
    log = IngestLog(folder, progress.ingest_id)
    mirror = settings.source_urls.get(facts.name)
    begun = Begun(
        asked_as=asked_as or facts.name,
        started_at=started_at,
        now=progress.now,
        version=__version__,
        endpoint=constants.ENDPOINT,
        hub_page=settings.hub_page,
        source_url=logged_url(mirror) if mirror else None,
        since=since or state.watermark,
        resume=state.resume if since is None else None,
        watched=watched,
        accept=accept,
    )
    log.add(begun)
    missing = source.missing_credential()
    if missing:
        skipped = OutcomeStatus.SKIPPED_MISSING_CREDENTIAL
        outcome = outcome_of(source, progress, skipped, reason=f"{missing} is not set")
        return finish(source, settings, progress, outcome, ended_at=_log_end(log, outcome))
    fetch = RecordingFetcher(RawStore(folder), log, deadline_s=settings.source_timeout_s)
    course = LoggedCourse(log, flush_s=settings.flush_s)
    try:
        outcome = read_source(source, settings, progress, fetch, begun, course=course)
    except KeyboardInterrupt:
        reason = "interrupted; the next ingest resumes here"
        outcome = outcome_of(source, progress, OutcomeStatus.PARTIAL, reason)
        progress.raw_sha256 = tuple(dict.fromkeys(fetch.sha256))
        ended_at = _log_end(log, outcome, is_interrupted=True)
        finish(source, settings, progress, outcome, ended_at=ended_at)
        raise
    finally:
        fetch.close()
    progress.raw_sha256 = tuple(dict.fromkeys(fetch.sha256))
    finish(source, settings, progress, outcome, ended_at=_log_end(log, outcome))
    return replace(outcome, duration_s=round(time.monotonic() - began_s, 3))


def read_source(
    source: Source,
    settings: Settings,
    progress: Progress,
    fetch: Fetcher,
    begun: Begun,
    *,
    course: Course,
) -> IngestOutcome:
    """Read a source to its end and write what is new, with the outcome of that; its errors do not propagate.

    The outcome is not stored yet: `finish` does that.
    """
    request = SourceRequest(
        now=begun.started_at, since=begun.since, resume=begun.resume, watched=begun.watched
    )
    try:
        _read(source, settings, request, fetch, progress, course)
        if progress.vintage is not None:
            origin = VintageOrigin(source.facts.name, progress.ingest_id, progress.now, progress.accept)
            short = keep_vintage(progress.vintage, settings, origin, refitted=course.refit)
            if short is not None and short.is_used:
                progress.problems.append(short.text)
                progress.n_problems += 1
            elif short is not None:
                progress.missing.append(short.text)
        status, reason = _verdict(progress, source.facts.name)
    except TrackerError as error:
        status, reason = _failure(error, progress)
    except BaseException as error:
        if not is_failure(error):
            raise
        status, reason = _failure(TrackerError(describe_failure(error)), progress)
        get_logger("ingest").warning("source failed", source=source.facts.name, error=reason, exc_info=error)
    return outcome_of(source, progress, status, reason)


def _log_end(log: IngestLog, outcome: IngestOutcome, *, is_interrupted: bool = False) -> datetime:
    ended_at = datetime.now(UTC)
    log.add(
        IngestEnd(
            ended_at=ended_at,
            status=outcome.status.value,
            reason=outcome.reason,
            n_seen=outcome.n_seen,
            n_new=outcome.n_new,
            n_changed=outcome.n_changed,
            n_gone=outcome.n_gone,
            is_interrupted=is_interrupted,
        )
    )
    return ended_at


def _read(
    source: Source,
    settings: Settings,
    request: SourceRequest,
    fetch: Fetcher,
    progress: Progress,
    course: Course,
) -> None:
    """Fetch first, then write: the store is never open during a request."""
    waiting: list[Batch] = []
    try:
        for batch in source.read(request, fetch):
            waiting.append(batch)
            progress.n_batches += 1
            if source.facts.is_whole:
                continue
            n_waiting = sum(len(b.models) + len(b.scores) for b in waiting)
            if course.is_due(progress.n_batches, n_waiting) and course.may_write(progress.n_batches):
                _write(waiting, source, settings, progress)
        progress.is_read = True
    finally:
        if waiting and course.may_write(progress.n_batches):
            _write(waiting, source, settings, progress)


def _write(waiting: list[Batch], source: Source, settings: Settings, progress: Progress) -> None:
    """Store the waiting batches, as far as the guard lets them, and the position to resume from."""
    waiting[:] = [without_future(batch, today=progress.now.date()) for batch in waiting]
    for batch in waiting:
        progress.read(batch)
    mark = {"source": source.facts.name, "ingest_id": progress.ingest_id}
    whole = source.facts.is_whole
    batch = merged(waiting)
    waiting.clear()
    is_complete = whole and progress.is_read and not progress.missing and bool(progress.seen)
    with Store.open(settings) as store, store.all_or_nothing():
        keys = None if whole else {r.key for records in (batch.models, batch.scores) for r in records}
        known = store.known_rows(source.facts.name, keys)
        today = progress.now.date()
        verdict = judge(batch, known, is_complete=is_complete, today=today, accept=progress.accept)
        progress.refused += verdict.reasons
        progress.can_repeat &= verdict.can_repeat
        counts = store.add_batch(verdict.batch, **mark, seen_at=progress.started_at, any_unit=progress.accept)
        progress.refused += [f"{series}: its values are in another unit" for series in counts.refused]
        progress.counts += counts
        if is_complete:
            progress.counts += store.withdraw(
                verdict.withdrawn, **mark, seen_at=progress.started_at, missing_since=verdict.missing_since
            )
        running = outcome_of(source, progress, OutcomeStatus.RUNNING, "still running")
        state = SourceState(resume=progress.resume)
        store.add_outcome(source.facts, running, started_at=progress.started_at, state=state)


def merged(batches: Sequence[Batch]) -> Batch:
    """One batch with the records of all; the position to resume from is the last one."""
    if len(batches) == 1:
        return batches[0]
    lists = [f.name for f in fields(Batch) if f.name not in ("resume", "watermark", "vintage")]
    together: dict[str, Any] = {
        name: tuple(one for batch in batches for one in getattr(batch, name)) for name in lists
    }
    resume = next((batch.resume for batch in reversed(batches) if batch.resume), None)
    return Batch(**together, resume=resume)


def _verdict(progress: Progress, source: str) -> tuple[OutcomeStatus, str | None]:
    if not progress.seen and not progress.n_dated:
        n_known = progress.before.n_known
        known = (
            f", although {counted(n_known, 'record')} {agreeing(n_known, 'is', 'are')} stored from it"
            if n_known
            else ""
        )
        return OutcomeStatus.FAILED, f"the source returned no records{known}"
    reasons = []
    if progress.refused:
        reasons.append(refusal(progress.refused, source, can_repeat=progress.can_repeat))
    if progress.missing:
        more = f" (and {len(progress.missing) - 1} more)" if len(progress.missing) > 1 else ""
        reasons.append(progress.missing[0] + more)
    return (OutcomeStatus.PARTIAL, ". ".join(reasons)) if reasons else (OutcomeStatus.COMPLETED, None)


def _failure(error: TrackerError, progress: Progress) -> tuple[OutcomeStatus, str]:
    """Status and reason of an ingest that failed with `error`; what was read before is kept."""
    reason = f"{error} ({error.hint})" if error.hint else str(error)
    if (progress.seen or progress.n_dated) and not isinstance(error, LayoutError):
        return OutcomeStatus.PARTIAL, reason
    if isinstance(error, LayoutError | RefusedError | AbsentError | TimeUpError):
        return OutcomeStatus.FAILED, reason
    if isinstance(error, TransientError | UnreachableError):
        return OutcomeStatus.SKIPPED_UNAVAILABLE, reason
    return OutcomeStatus.FAILED, reason


def finish(
    source: Source,
    settings: Settings,
    progress: Progress,
    outcome: IngestOutcome,
    *,
    ended_at: datetime,
) -> IngestOutcome:
    """Store the outcome and where the next ingest goes on."""
    done = outcome.status is OutcomeStatus.COMPLETED
    end = SourceState(
        watermark=progress.watermark if done else None,
        # a failed ingest starts over, since its position may be the cause; so does one that reached the end
        resume=None
        if done or progress.is_read or outcome.status is OutcomeStatus.FAILED
        else progress.resume or progress.before.resume,
    )
    with Store.open(settings) as store:
        store.add_outcome(
            source.facts,
            outcome,
            started_at=progress.started_at,
            ended_at=ended_at,
            state=end,
            raw_sha256=progress.raw_sha256,
        )
    return outcome


def outcome_of(
    source: Source, progress: Progress, status: OutcomeStatus, reason: str | None
) -> IngestOutcome:
    """The outcome with everything counted so far."""
    return IngestOutcome(
        source=source.facts.name,
        status=status,
        n_seen=len(progress.seen) or progress.n_dated,
        n_new=progress.counts.n_new,
        n_changed=progress.counts.n_changed,
        n_gone=progress.counts.n_gone,
        n_overwritten=progress.n_overwritten,
        n_problems=progress.n_problems,
        reason=masked(reason) if reason else reason,
        problems=tuple(map(masked, (*progress.missing, *progress.problems))),
        ingest_id=progress.ingest_id,
    )


def _watched(store: Store) -> tuple[tuple[str, str | None], ...]:
    rows = store.query("watched_models", n=WATCHED)
    return tuple((str(row["model_id"]), row["revision"]) for row in rows)


def _new_ingest_id(source: str) -> str:
    """An id that sorts by time: `20261124-091500123456-epoch-1f3a`."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S%f}-{source}-{secrets.token_hex(2)}"
