"""`bench --speed`: start the engine's server for a model and measure it with a published load generator.

What is measured is on disk after each level; the database is written at the end, or by the next command.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from runners.card_support import can_use_card
from runners.engines import EngineSpec, choose_engine, engine_spec
from runners.engines.serving import RunningServer, ServerStarter
from runners.hardware import describe_hardware
from runners.models.resolve import stored_model_id, weights_format
from runners.speed.generator import NAME, OutOfTimeError, find_generator
from runners.speed.prompts import probe_server
from runners.speed.sweep import left_levels, sweep, time_left
from tracker.bench.run import (
    UNRESOLVED,
    bench_lock,
    check_home,
    new_run_id,
    resolve_named,
    with_fitting_settings,
)
from tracker.errors import EngineError, ModelError, TrackerError, UnreachableError
from tracker.files.speeds import read_speed, speed_folder, speed_paths, write_speed
from tracker.logs import get_logger, start_logging
from tracker.records import EngineSettings, Job, Model
from tracker.records.speed import SpeedLoad, SpeedRun, SpeedStatus
from tracker.serialization import dump
from tracker.settings import Settings
from tracker.store import Store, open_snapshot, publish, snapshot_id

SLACK = 1.25  # of a prompt's tokens: words are random, so prompts differ in length
EXTRA_TOKENS = 64  # for a chat template
ROUND_TO = 256  # tokens of a reserved context
DEFAULT_LOAD = SpeedLoad()
NO_ANSWER, OUT_OF_TIME, LOST_REQUESTS = "no_answer", "out_of_time", "lost_requests"  # reasons


class SpeedEvent(NamedTuple):
    """What is going on, for people."""

    message: str


@dataclass(frozen=True, slots=True)
class SpeedRequest:
    """What is asked for."""

    model: str
    engine: EngineSettings
    load: SpeedLoad = DEFAULT_LOAD
    minutes: float | None = None  # for the levels, without loading


@dataclass(frozen=True, slots=True)
class SpeedEnd:
    """A measurement, stored and published, and why it ended early, if it did."""

    run: SpeedRun
    error: TrackerError | None = None

    @property
    def exit_code(self) -> int:
        """That of the command."""
        return self.error.exit_code if self.error is not None else 0


def measure_speed(
    request: SpeedRequest, settings: Settings, on_event: Callable[[SpeedEvent], None]
) -> SpeedEnd:
    """Measure the speed of one model; the result is stored and published before this returns.

    Raises:
        TrackerError: a clear user error, such as no load generator, before anything was loaded.
        UnreachableError: the Hub or the server is down, before anything was measured.
    """
    start_logging(settings.log_level)
    python = find_generator(settings)
    check_home(settings)
    hardware = describe_hardware()
    has_gpu = can_use_card(hardware, engine=request.engine.engine)
    weights = weights_format(request.model)
    engine = choose_engine(request.engine, has_gpu=has_gpu, weights=weights)
    spec = engine_spec(engine.engine)
    start = _starter(spec)
    request = replace(request, engine=_with_context(engine, spec, request.load))
    with bench_lock(settings, what=request.model):
        store_left_speeds(settings)
        run = SpeedRun(
            speed_id=new_run_id(),
            model=Model(stored_model_id(request.model, engine=engine.engine), UNRESOLVED),
            settings=request.engine,
            load=request.load,
            status=SpeedStatus.INTERRUPTED,  # until it has ended by itself
            reason="killed",
            detail="the process was ended before the measurement was",
            started_at=datetime.now(UTC),
            generator=NAME,
            hardware=dump(hardware),
        )
        return _Measurement(run, request, settings, on_event).run(python, start)


def _starter(spec: EngineSpec) -> ServerStarter:
    """What starts the engine's server.

    Raises:
        TrackerError: it has none.
    """
    if spec.server is None:
        raise TrackerError(
            f"engine `{spec.name}` has no server, which a load generator needs",
            hint="`--engine vllm`, `--engine llamacpp` for a GGUF, or `--base-url` of a server that runs",
        )
    start: ServerStarter = spec.load(spec.server)
    return start


def _with_context(engine: EngineSettings, spec: EngineSpec, load: SpeedLoad) -> EngineSettings:
    """Settings with as many sequences, of as many tokens, as the load needs, where all are reserved."""
    if not spec.reserves_context:
        return engine
    n_tokens = _needed_tokens(load)
    return replace(
        engine,
        max_num_seqs=engine.max_num_seqs or max(load.sweep),
        max_model_len=engine.max_model_len or -(-n_tokens // ROUND_TO) * ROUND_TO,
    )


def _needed_tokens(load: SpeedLoad) -> int:
    return int(load.input_tokens * SLACK) + load.output_tokens + EXTRA_TOKENS


class _Measurement:
    """One measurement under way; its file is always that of `self._run`."""

    def __init__(
        self,
        run: SpeedRun,
        request: SpeedRequest,
        settings: Settings,
        on_event: Callable[[SpeedEvent], None],
    ) -> None:
        self._run, self._request, self._settings, self._on_event = run, request, settings, on_event

    def run(self, python: str, start: ServerStarter) -> SpeedEnd:
        """Resolve, load, measure and store; a failure of the model or its server is a record."""
        error: TrackerError | None = None
        try:
            model = resolve_named(self._request.model, self._request.engine, self._settings)
            self._keep(model=model)
            job = Job(model, self._request.engine, (), str(self._settings.items_path))
            job = with_fitting_settings(job, describe_hardware())
            self._keep(settings=job.settings, warnings=job.warnings)
            for warning in job.warnings:
                self._say(f"warning: {warning}")
            self._measure(model, job.settings, python, start)
        except ModelError as found:
            error = found
            self._end_early(found, found.reason)
        except OutOfTimeError as found:
            self._end_early(found, OUT_OF_TIME)
        except UnreachableError as found:
            if not self._run.levels:
                raise
            error = found
            self._end_early(found, "unreachable")
        except BaseException:  # such as Ctrl-C: what was measured until then is kept
            if self._run.levels:
                self._keep(ended_at=datetime.now(UTC), detail="it was stopped")
                store_speeds(self._settings, [self._run])
            raise
        else:
            error = self._finish()
        self._keep(ended_at=datetime.now(UTC))
        store_speeds(self._settings, [self._run])
        get_logger("bench").info("speed measured", speed_id=self._run.speed_id, status=self._run.status)
        return SpeedEnd(self._run, error)

    def _measure(self, model: Model, engine: EngineSettings, python: str, start: ServerStarter) -> None:
        folder, load = speed_folder(self._settings, self._run.speed_id), self._request.load
        self._say(f"loading {model.model_id}")
        started = time.monotonic()
        server = start(model, engine, log_path=folder / "server.log")
        try:
            self._describe(server, load_s=time.monotonic() - started)
            probe = probe_server(server, load)
            self._keep(
                endpoint=probe.endpoint,
                ignores_end=probe.ignores_end,
                prompt_tokens=probe.prompt_tokens,
            )
            until = time_left(self._request.minutes)
            for step in sweep(server, probe, load, python=python, folder=folder, until=until):
                self._keep(
                    levels=(*self._run.levels, step.level),
                    counts_from=step.counts_from,
                    generator_version=step.generator_version,
                    peak_memory_bytes=step.peak_memory_bytes,
                )
                speed = f"{step.level.output_tokens_per_s:,.1f} output tokens/s"
                self._say(f"{step.level.concurrency} at once: {speed}")
        finally:
            server.close()

    def _describe(self, server: RunningServer, *, load_s: float) -> None:
        is_ours = server.pid is not None
        self._keep(engine=server.info, load_s=load_s if is_ours else None, n_cards=len(server.cards))
        if is_ours:
            self._say(f"ready on {server.info.device} after {load_s:.0f} s")
        length, needed = server.info.max_model_len, _needed_tokens(self._request.load)
        if 0 < length < needed:
            load = self._request.load
            raise EngineError(
                f"prompts of {load.input_tokens:,} and answers of {load.output_tokens:,} tokens need a "
                f"context of {needed:,} with a margin, and there are {length:,}",
                reason="unsupported",
                hint=f"--input-tokens {max(1, length // 2)} --output-tokens {max(2, length // 4)}",
            )

    def _finish(self) -> TrackerError | None:
        """Whether every request was answered, and the error if none was."""
        levels = self._run.levels
        if all(level.n_answered == level.n_requests for level in levels):
            self._keep(status=SpeedStatus.COMPLETE, reason=None, detail=None)
            return None
        why = next(level.error for level in levels if level.n_answered < level.n_requests)
        if any(level.n_answered for level in levels):
            detail = f"not every request was answered: {why}"
            self._keep(status=SpeedStatus.PARTIAL, reason=LOST_REQUESTS, detail=detail)
            return None
        error = EngineError(
            f"no request was answered: {why}",
            reason=NO_ANSWER,
            hint=f"see {speed_folder(self._settings, self._run.speed_id)}",
        )
        self._keep(status=SpeedStatus.FAILED, reason=NO_ANSWER, detail=str(error))
        return error

    def _end_early(self, error: TrackerError, reason: str) -> None:
        detail = f"{error} ({error.hint})" if error.hint else str(error)
        is_partial = any(level.n_answered for level in self._run.levels) or reason == OUT_OF_TIME
        status = SpeedStatus.PARTIAL if is_partial else SpeedStatus.FAILED
        self._keep(status=status, reason=reason, detail=detail)

    def _keep(self, **changes: object) -> None:
        self._run = replace(self._run, **changes)  # type: ignore[arg-type]  # of fields by their names
        write_speed(self._settings, self._run)

    def _say(self, message: str) -> None:
        self._on_event(SpeedEvent(message))


def store_speeds(settings: Settings, runs: list[SpeedRun]) -> None:
    """Store the measurements and publish a snapshot."""
    if runs:
        with Store.open(settings) as store:
            store.add_speeds(runs)
        publish(settings)


def store_left_speeds(settings: Settings) -> None:
    """Store what killed commands left on disk; the caller holds the lock of benches."""
    known = set()
    if snapshot_id(settings) is not None:
        with open_snapshot(settings) as snapshot:
            known = {row["speed_id"] for row in snapshot.query("speeds", model_id=None)}
    left = []
    for path in speed_paths(settings.speeds_path):
        if path.parent.name not in known:
            with suppress(TrackerError):  # `tracker store check` tells
                left.append(_with_left_levels(read_speed(path), path.parent))
                write_speed(settings, left[-1])
    store_speeds(settings, left)


def _with_left_levels(run: SpeedRun, folder: Path) -> SpeedRun:
    """The measurement with what the generator had written after its last record."""
    found = list(run.levels)
    with suppress(EngineError):  # a file that cannot be used ends what can
        found += left_levels(run, folder)
    return replace(run, levels=tuple(found))
