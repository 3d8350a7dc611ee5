"""`ingest`: asks the sources, keeps what they say anew, and says what became of each.

A source that fails takes none of the others along. What it gave before it failed is kept, and the next ingest
goes on there. May import everything but the command line and the app.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from runners.retries import announce_retries
from tracker.errors import TrackerError, TransientError, UnreachableError
from tracker.ingested import Batch, IngestOutcome, OutcomeStatus
from tracker.logs import get_logger, start_logging
from tracker.naming import resolve_names
from tracker.settings import Settings
from tracker.sources import SOURCES, Question, Source, get_source
from tracker.sources.errors import AbsentError, LayoutError, RefusedError, TimeUpError
from tracker.sources.fetch import Fetcher
from tracker.sources.raw import RawStore
from tracker.store import Counts, SourceState, Store, publish

EXIT_TROUBLE = 4
MAX_PROBLEMS = 50  # kept of one ingest; the rest is counted
WATCHED = 200  # models looked at one by one: one request each, of the 500 that five minutes allow
WRITTEN_TOGETHER = 2000  # models: several small pages are one transaction
TROUBLE = (OutcomeStatus.FAILED, OutcomeStatus.PARTIAL, OutcomeStatus.SKIPPED_UNAVAILABLE)


@dataclass(slots=True)
class Progress:
    """What one ingest has done so far."""

    ingest_id: str
    started_at: datetime
    before: SourceState  # where the ingest before it ended
    raw_sha256: tuple[str, ...] = ()
    counts: Counts = field(default_factory=Counts)
    seen: set[str] = field(default_factory=set)  # keys
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    n_problems: int = 0
    unread: set[str] = field(default_factory=set)  # benchmarks
    resume: str | None = None
    watermark: datetime | None = None

    def add(self, batch: Batch, counts: Counts) -> None:
        """Count what was written."""
        self.counts += counts
        self.seen |= {model.key for model in batch.models} | {score.key for score in batch.scores}
        self.n_problems += len(batch.problems)
        self.problems += batch.problems[: MAX_PROBLEMS - len(self.problems)]
        self.missing += batch.missing
        self.unread |= set(batch.unread)
        self.resume = batch.resume or self.resume
        self.watermark = batch.watermark or self.watermark


def ingest(
    names: Sequence[str],
    settings: Settings,
    *,
    since: datetime | None = None,
    on_outcome: Callable[[IngestOutcome], None] = lambda outcome: None,
) -> tuple[IngestOutcome, ...]:
    """What became of each source; all of them if none is named. Everything is stored and published.

    Raises:
        UnknownNameError: there is no such source.
        BusyError: another process writes to the store.
    """
    start_logging(settings.log_level)
    announce_retries()
    sources = [get_source(name, settings) for name in dict.fromkeys(names or SOURCES)]
    outcomes = []
    try:
        for source in sources:
            outcome = ingest_source(source, settings, since=since)
            get_logger("ingest").info("source done", source=outcome.source, status=outcome.status.value)
            outcomes.append(outcome)
            on_outcome(outcome)
        resolve_names(settings)
    finally:  # also what was read before a Ctrl-C is to be seen
        publish(settings)
    return tuple(outcomes)


def exit_code(outcomes: Iterable[IngestOutcome]) -> int:
    """0 if each source is complete, or has no key; 4 otherwise."""
    return EXIT_TROUBLE if any(outcome.status in TROUBLE for outcome in outcomes) else 0


def ingest_source(source: Source, settings: Settings, *, since: datetime | None = None) -> IngestOutcome:
    """What became of one source; whatever goes wrong in it ends here."""
    facts, began_s = source.facts, time.monotonic()
    with Store.open(settings) as store:
        state = store.source_state(facts.name)
        watched = _watched(store)
    progress = Progress(_new_ingest_id(facts.name), datetime.now(UTC), state)
    missing = source.missing_credential()
    if missing:
        skipped = OutcomeStatus.SKIPPED_MISSING_CREDENTIAL
        return _finish(source, settings, progress, skipped, reason=f"{missing} is not set")
    question = Question(
        now=progress.started_at,
        since=since or state.watermark,
        resume=state.resume if since is None else None,
        watched=watched,
    )
    fetch = Fetcher(RawStore(settings.raw_path / facts.name), deadline_s=settings.source_timeout_s)
    try:
        _read(source, settings, question, fetch, progress)
        status, reason = _verdict(progress)
        if status is OutcomeStatus.COMPLETED and facts.is_whole:
            with Store.open(settings) as store:
                progress.counts += store.mark_absent(
                    progress.seen,
                    source=facts.name,
                    ingest_id=progress.ingest_id,
                    seen_at=progress.started_at,
                    unread=progress.unread,
                )
    except TrackerError as error:
        status, reason = _failure(error, progress)
    except KeyboardInterrupt:
        _finish(
            source,
            settings,
            progress,
            OutcomeStatus.PARTIAL,
            reason="interrupted; the next one goes on there",
        )
        raise
    finally:
        fetch.close()
    progress.raw_sha256 = tuple(dict.fromkeys(fetch.sha256))
    outcome = _finish(source, settings, progress, status, reason=reason)
    return replace(outcome, duration_s=round(time.monotonic() - began_s, 3))


def _read(source: Source, settings: Settings, question: Question, fetch: Fetcher, progress: Progress) -> None:
    """Fetch first, then write: the store is never open while an answer is awaited."""
    waiting: list[Batch] = []
    written_at_s = time.monotonic()
    try:
        for batch in source.read(question, fetch):
            waiting.append(batch)
            is_much = sum(len(b.models) + len(b.scores) for b in waiting) >= WRITTEN_TOGETHER
            if is_much or time.monotonic() - written_at_s >= settings.flush_s:
                _write(waiting, source, settings, progress)
                written_at_s = time.monotonic()
    finally:
        _write(waiting, source, settings, progress)


def _write(waiting: list[Batch], source: Source, settings: Settings, progress: Progress) -> None:
    """Keep the batches that wait, and with them where to go on."""
    if not waiting:
        return
    with Store.open(settings) as store:
        for batch in waiting:
            mark = {"source": source.facts.name, "ingest_id": progress.ingest_id}
            progress.add(batch, store.add_batch(batch, **mark, seen_at=progress.started_at))
        running = _outcome(source, progress, OutcomeStatus.RUNNING, "it is still being read")
        state = SourceState(resume=progress.resume)
        store.add_outcome(source.facts, running, started_at=progress.started_at, state=state)
    waiting.clear()


def _verdict(progress: Progress) -> tuple[OutcomeStatus, str | None]:
    if not progress.seen:
        n_known = progress.before.n_known
        known = f", where there were {n_known}" if n_known else ""
        return OutcomeStatus.FAILED, f"it answered with nothing{known}"
    if progress.missing:
        more = f" (and {len(progress.missing) - 1} more)" if len(progress.missing) > 1 else ""
        return OutcomeStatus.PARTIAL, progress.missing[0] + more
    return OutcomeStatus.COMPLETED, None


def _failure(error: TrackerError, progress: Progress) -> tuple[OutcomeStatus, str]:
    """What an error makes of the ingest: whatever was read before it stays."""
    reason = f"{error} ({error.hint})" if error.hint else str(error)
    if progress.seen and not isinstance(error, LayoutError):
        return OutcomeStatus.PARTIAL, reason
    if isinstance(error, LayoutError | RefusedError | AbsentError | TimeUpError):
        return OutcomeStatus.FAILED, reason
    if isinstance(error, TransientError | UnreachableError):
        return OutcomeStatus.SKIPPED_UNAVAILABLE, reason
    return OutcomeStatus.FAILED, reason


def _finish(
    source: Source, settings: Settings, progress: Progress, status: OutcomeStatus, *, reason: str | None
) -> IngestOutcome:
    outcome = _outcome(source, progress, status, reason)
    done = status is OutcomeStatus.COMPLETED
    end = SourceState(
        watermark=progress.watermark if done else None,
        # what failed begins anew: its place may be the cause
        resume=None if done or status is OutcomeStatus.FAILED else progress.resume or progress.before.resume,
    )
    with Store.open(settings) as store:
        store.add_outcome(
            source.facts,
            outcome,
            started_at=progress.started_at,
            state=end,
            raw_sha256=progress.raw_sha256,
        )
    return outcome


def _outcome(source: Source, progress: Progress, status: OutcomeStatus, reason: str | None) -> IngestOutcome:
    more = progress.n_problems - len(progress.problems)
    rest = (f"{more} more",) if more else ()
    return IngestOutcome(
        source=source.facts.name,
        status=status,
        n_seen=len(progress.seen),
        n_new=progress.counts.n_new,
        n_changed=progress.counts.n_changed,
        n_gone=progress.counts.n_gone,
        reason=reason,
        problems=(*progress.missing, *progress.problems, *rest),
        ingest_id=progress.ingest_id,
    )


def _watched(store: Store) -> tuple[tuple[str, str | None], ...]:
    rows = store.query("watched_models", n=WATCHED)
    return tuple((str(row["model_id"]), row["revision"]) for row in rows)


def _new_ingest_id(source: str) -> str:
    """An id that sorts by time: `20261124-091500123456-epoch-1f3a`."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S%f}-{source}-{secrets.token_hex(2)}"
