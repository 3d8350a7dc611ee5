"""`ladder`: measure a model and its copies on the same items until what each loses is known.

Every step is a bench with a limit. The sample of N items is contained in that of any larger N, so all rungs
answer the same draw, what is measured is reused, and a killed ladder goes on where it was. How precise a
difference is may be looked at `MOST_LOOKS` times; the next look is where the difference should be precise.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from runners.card_support import can_use_card
from runners.engines import AUTO, check_some_engine, choose_engine
from runners.hardware import describe_hardware
from runners.harness.events import Event
from tracker.answers.ladder import LadderResult, ladder_result, rung_loss
from tracker.bench.request import BenchRequest, suites_of, with_suite
from tracker.bench.run import bench, check_home
from tracker.errors import (
    EXIT_INTERRUPTED,
    BusyError,
    DiskFullError,
    FieldError,
    StoreError,
    TrackerError,
    UsageError,
)
from tracker.files.ladders import read_ladder, write_ladder
from tracker.ladder.rungs import distinct, known_copies, parse_rung, require_copies, rung_key
from tracker.locks import exclusive_lock
from tracker.memory_estimate import GB
from tracker.queue.jobs import machine_memory
from tracker.records import EngineSettings, Run, RunStatus, Suite, fingerprint
from tracker.records.ladders import MOST_LOOKS, Ladder, LadderRung, RungEnd, RungStatus
from tracker.serialization import dump
from tracker.settings import Settings
from tracker.wording import counted

FIRST_ITEMS = 128  # of all tasks at the first look: enough to see how often two copies disagree
LEAST_OF_A_TASK = 8
MARGIN, LAST_MARGIN = 1.1, 1.5  # on the items that should suffice, as their number is itself an estimate
LEAST_GROWTH, MOST_GROWTH = 1.25, 8.0  # from one look to the next
LEAST_MINUTES = 0.01  # for a run that begins just before the end
YOUNGER_SETTINGS = ("speculative", "batch_invariant")  # than the first ladders
MOST_PRECISION = 50.0  # percentage points


@dataclass(frozen=True, slots=True)
class LadderRequest:
    """A model, its copies, and how precisely their differences are wanted."""

    model: str
    engine: EngineSettings
    copies: tuple[str, ...] = ()
    rungs: tuple[str, ...] = ()  # as `parse_rung` reads them
    suite: str | None = None
    tasks: tuple[str, ...] = ()
    include_path: Path | None = None
    precision: float = 0.01  # half width of the interval of a difference, as a fraction of 1
    limit: int | None = None  # items of each task at most
    minutes: float | None = None
    executor: str | None = None  # None: that of the settings

    def __post_init__(self) -> None:
        """Check the combination."""
        if self.suite is not None and self.tasks:
            raise UsageError(
                "`--suite` cannot be combined with `--task`", hint="a ladder is measured on one suite"
            )
        if self.limit is not None and self.limit < 1:
            raise FieldError("limit", f"must be at least 1, got {self.limit}", example=500)
        if self.minutes is not None and self.minutes <= 0:
            raise FieldError("minutes", f"must be more than 0, got {self.minutes:g}", example=60)


def precision_of(points: float) -> float:
    """`--precision`, which is in percentage points, as a fraction of 1.

    Raises:
        FieldError: it is out of range.
    """
    if not 0 < points < MOST_PRECISION:
        raise FieldError(
            "precision", f"must be between 0 and 50 percentage points, got {points:g}", example=1
        )
    return points / 100


def next_limit(limit: int, half_width: float, precision: float, *, n_looks: int) -> int:
    """The items of each task for the next look: as many as should make the difference precise.

    `n_looks` were taken; before the last one the margin is larger, since it must suffice.
    """
    needed = limit * (half_width / precision) ** 2
    if n_looks >= MOST_LOOKS - 1:
        wanted = max(LAST_MARGIN * needed, LEAST_GROWTH * limit)
    else:
        wanted = min(max(MARGIN * needed, LEAST_GROWTH * limit), MOST_GROWTH * limit)
    return math.ceil(round(wanted, 6))


def ladder(
    request: LadderRequest,
    settings: Settings,
    on_event: Callable[[Event], None],
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> LadderResult:
    """Measure the rungs; every answer and every step of the ladder is stored before the next one.

    A rung that cannot be run is told with its reason, and the others are measured. `tell` gets one line for
    each step.

    Raises:
        TrackerError: a clear user error, before anything was loaded.
        StoreError: the home cannot be written.
        KeyboardInterrupt: it was interrupted; repeating it continues.
    """
    suite, bench_request = _suite(request, settings, on_event)
    rungs = _rungs(request, settings, tell)
    hint = "wait for it, or set TRACKER_HOME to another folder"
    check_home(settings)
    with exclusive_lock(
        settings, "ladder", busy="another ladder is being measured", hint=hint, what=request.model
    ):
        begun = _begun(request, rungs, suite, settings)
        deadline = None if request.minutes is None else time.monotonic() + 60 * request.minutes
        asked = [rung.label for rung in rungs]
        work = _Climb(begun, asked, bench_request, request, settings, on_event, tell, deadline)
        work.climb()
    return ladder_result(work.ladder, settings)


def _suite(
    request: LadderRequest, settings: Settings, on_event: Callable[[Event], None]
) -> tuple[Suite, BenchRequest]:
    """The one suite of the ladder, and the request that measures it."""
    asked = BenchRequest(
        model=request.model,
        engine=request.engine,
        suites=(request.suite,) if request.suite else (),
        tasks=request.tasks,
        include_path=request.include_path,
        executor=request.executor,
    )
    asked = with_suite(asked, on_event)
    (suite,) = suites_of(asked, own=settings.suites_path)
    return suite, asked


def _rungs(request: LadderRequest, settings: Settings, tell: Callable[[str], None]) -> tuple[LadderRung, ...]:
    """The parent and its rungs, with settings that their engines accept.

    Raises:
        TrackerError: a rung is none, two are the same, or there is no copy.
    """
    base = request.engine
    specs = [parse_rung(text) for text in (*request.copies, *request.rungs)]
    parent = parse_rung(request.model).rung(request.model, base)
    if not specs:
        memory_bytes = machine_memory()
        copies = known_copies(parent.model_id, settings, memory_bytes)
        if copies:
            tell(f"copies known here that fit into {memory_bytes / GB:.0f} GB: {', '.join(copies)}")
        specs = [parse_rung(name) for name in copies]
    rungs = distinct([parent, *(spec.rung(request.model, base) for spec in specs)])
    for rung in rungs:
        if rung.settings.engine == AUTO:  # the format of the weights decides, which is not known yet
            check_some_engine(rung.settings)
        else:
            choose_engine(
                rung.settings, has_gpu=can_use_card(describe_hardware(), engine=rung.settings.engine)
            )
    require_copies(rungs, request.model)
    return rungs


def _begun(request: LadderRequest, rungs: Sequence[LadderRung], suite: Suite, settings: Settings) -> Ladder:
    """The ladder as it stands: rungs measured before keep their runs."""
    parts = {
        "model_id": rungs[0].model_id,
        "settings": {name: value for name, value in dump(rungs[0].settings).items() if _counts(name, value)},
        "suite": dump(suite),
    }
    ladder_id = fingerprint(parts)
    begun_at = datetime.now(UTC)
    before = read_ladder(settings, ladder_id)
    known = {} if before is None else {rung_key(rung): rung for rung in before.rungs}
    kept = [_resumed(known.pop(rung_key(rung), rung), rung) for rung in rungs]
    return Ladder(
        ladder_id,
        suite.name,
        suite.version,
        tuple(task.task for task in suite.tasks),
        request.precision,
        (*kept, *known.values()),
        before.started_at if before else begun_at,
        begun_at,
        command_of(request, suite.name),
    )


def _counts(name: str, value: object) -> bool:
    """Whether a setting is part of a ladder's identity: younger ones if set, so that old ladders resume."""
    return name not in YOUNGER_SETTINGS or bool(value)


def _resumed(known: LadderRung, asked: LadderRung) -> LadderRung:
    """A rung measured before, to be looked at again; what failed is tried again."""
    status = RungStatus.MEASURED if known.run_ids else RungStatus.WAITING
    return replace(known, label=asked.label, status=status, reason=None, detail=None, end=None)


def command_of(request: LadderRequest, suite: str) -> str:
    """The command that measures this ladder again."""
    words = ["tracker", "ladder", request.model, *request.copies]
    for text in request.rungs:
        words += ["--rung", text]
    words += [word for task in request.tasks for word in ("--task", task)] or ["--suite", suite]
    if request.include_path is not None:
        words += ["--include-path", str(request.include_path)]
    default = dump(EngineSettings(engine=AUTO))
    for name, value in dump(request.engine).items():
        if value != default[name] and not isinstance(value, list):
            flag = f"--{name.replace('_', '-')}"
            words += (
                [flag] if value is True else [f"--no-{flag[2:]}"] if value is False else [flag, str(value)]
            )
    words += ["--precision", f"{100 * request.precision:g}"]
    if request.limit is not None:
        words += ["--limit", str(request.limit)]
    return shlex.join(words)


@dataclass(slots=True)
class _Climb:
    """A ladder being measured; `ladder` is what its file says."""

    ladder: Ladder
    asked: Sequence[str]  # labels of the rungs of this call, the parent first
    bench_request: BenchRequest
    request: LadderRequest
    settings: Settings
    on_event: Callable[[Event], None]
    tell: Callable[[str], None]
    deadline: float | None = None  # of time.monotonic()
    most: int | None = None  # items of the largest task

    def climb(self) -> None:
        """Measure until every rung of this call is done, or the time is over."""
        self._write()
        first = max(LEAST_OF_A_TASK, math.ceil(FIRST_ITEMS / max(1, len(self.ladder.tasks))))
        wanted = {label: max(self._rung(label).limit or 0, self._capped(first)) for label in self.asked}
        while wanted and not self.is_out_of_time:
            self._measure_all(wanted)
            wanted = self._look(wanted)

    @property
    def is_out_of_time(self) -> bool:
        """Whether the minutes are spent."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def reference(self) -> LadderRung:
        """The rung with which the others are compared: the first of this call that can be run."""
        rungs = [self._rung(label) for label in self.asked]
        return next(
            (rung for rung in rungs if rung.run_ids or rung.status is not RungStatus.FAILED), rungs[0]
        )

    def _rung(self, label: str) -> LadderRung:
        return next(rung for rung in self.ladder.rungs if rung.label == label)

    def _capped(self, limit: int) -> int:
        return min([limit, *(cap for cap in (self.request.limit, self.most) if cap is not None)])

    def _measure_all(self, wanted: dict[str, int]) -> None:
        """Measure every wanted rung; the reference comes first, on the items of all others."""
        for label in self.asked:
            rung = self._rung(label)
            is_reference = label == self.reference.label
            if (
                self.is_out_of_time
                or rung.status is RungStatus.FAILED
                or not (is_reference or label in wanted)
            ):
                continue
            limit = max(wanted.values()) if is_reference else wanted[label]
            if rung.limit is None or rung.limit < limit:
                self._measure(rung, limit)

    def _measure(self, rung: LadderRung, limit: int) -> None:
        """Measure one rung on so many items of each task."""
        place = f"{self.asked.index(rung.label) + 1} of {len(self.asked)}"
        self.tell(f"rung {place}, {rung.label}: {counted(limit, 'item')} of each task")
        left = None if self.deadline is None else max((self.deadline - time.monotonic()) / 60, LEAST_MINUTES)
        request = replace(
            self.bench_request, model=rung.model, engine=rung.settings, limit=limit, minutes=left
        )
        try:
            end = bench(request, self.settings, self.on_event)
        except (StoreError, BusyError, DiskFullError):
            raise
        except TrackerError as error:
            told = error.as_flag() if isinstance(error, FieldError) else error
            self._fail(rung, reason="refused", detail=f"{told} ({told.hint})" if told.hint else str(told))
            return
        if end.exit_code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        self._keep(rung, end.runs[0], limit)

    def _keep(self, rung: LadderRung, run: Run, limit: int) -> None:
        """Keep a run that has scores; one that the time cut short is no answer to the limit."""
        if run.status not in (RunStatus.COMPLETE, RunStatus.PARTIAL) or not run.scores:
            why = run.detail or "; ".join(run.warnings) or f"the run ended as {run.status} without a score"
            self._fail(rung, reason=run.reason or "no_scores", detail=why)
            return
        self.most = max(self.most or 0, _largest_task(run))
        is_cut = self.is_out_of_time and run.status is RunStatus.PARTIAL
        measured = replace(
            rung,
            model_id=run.model.model_id,
            status=RungStatus.MEASURED,
            run_ids=tuple(dict.fromkeys((*rung.run_ids, run.run_id))),
            limit=rung.limit if is_cut else limit,
        )
        self._replace(measured)

    def _fail(self, rung: LadderRung, *, reason: str, detail: str) -> None:
        self.tell(f"{rung.label} cannot be measured: {detail}")
        self._replace(replace(rung, status=RungStatus.FAILED, reason=reason, detail=detail))

    def _look(self, wanted: dict[str, int]) -> dict[str, int]:
        """Look at every wanted difference; returns the items that those which are not known need next."""
        further: dict[str, int] = {}
        reference = self.reference
        for label in self.asked:
            rung = self._rung(label)
            if label not in wanted or label == reference.label or rung.limit is None:
                continue
            if rung.status is RungStatus.FAILED:
                continue
            loss = rung_loss(reference, rung, self.settings)
            half_width = math.inf if loss is None else loss.half_width
            looks = rung.n_looks + (rung.limit != rung.looked_at)
            looked = replace(rung, n_looks=looks, looked_at=rung.limit)
            looked = replace(looked, end=self._end(looked, half_width))
            self._replace(looked)
            if looked.end is None and loss is not None:
                next_one = next_limit(rung.limit, half_width, self.ladder.precision, n_looks=looks)
                further[label] = self._capped(next_one)
        return {} if reference.status is RungStatus.FAILED else further

    def _end(self, rung: LadderRung, half_width: float) -> RungEnd | None:
        """Why a rung is done; None if it is not."""
        limit = rung.limit or 0
        if half_width <= self.ladder.precision:
            return RungEnd.PRECISE
        if self.most is not None and limit >= self.most:
            return RungEnd.ALL_ITEMS
        if self.request.limit is not None and limit >= self.request.limit:
            return RungEnd.LIMIT
        return RungEnd.LOOKS if rung.n_looks >= MOST_LOOKS else None

    def _replace(self, changed: LadderRung) -> None:
        rungs = tuple(changed if one.label == changed.label else one for one in self.ladder.rungs)
        self.ladder = replace(self.ladder, rungs=rungs, updated_at=datetime.now(UTC))
        self._write()

    def _write(self) -> None:
        write_ladder(self.settings, self.ladder)


def _largest_task(run: Run) -> int:
    """The items that the largest task of the suite has."""
    return max(score.n_total or score.n_items for score in run.scores if score.group is None)
