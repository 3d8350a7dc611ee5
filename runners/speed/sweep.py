"""Measure a running server at each concurrency of a sweep, one level after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from runners.engines.serving import RunningServer
from runners.hardware import MemoryWatch
from runners.speed.energy import EnergyMeter
from runners.speed.generator import Generator, Level, Target, is_on_this_machine, level_arguments
from runners.speed.prompts import SEED, ServerProbe, write_prompts
from runners.speed.result import AskedTokens, read_level
from tracker.records.speed import SpeedLevel, SpeedLoad, SpeedRun


@dataclass(frozen=True, slots=True)
class SweepStep:
    """A level that was just measured, and what is known about all of them so far."""

    level: SpeedLevel
    counts_from: str
    generator_version: str
    peak_memory_bytes: int | None


def sweep(
    server: RunningServer,
    probe: ServerProbe,
    load: SpeedLoad,
    *,
    python: str,
    folder: Path,
    until: float | None,
) -> Iterator[SweepStep]:
    """Yield each level as soon as it is measured; its raw result stays in `folder`.

    `until`: moment of `time.monotonic` to stop at.

    Raises:
        EngineError: the server died, or the generator failed.
        OutOfTimeError: the time is over.
    """
    levels = [_level(server, probe, load, place, folder) for place in range(len(load.sweep))]
    is_local = is_on_this_machine(server.base_url)
    generator = Generator(python, folder, key=server.key, is_local=is_local)
    asked = AskedTokens(prompt=probe.prompt_tokens, output=load.output_tokens)
    is_ours, has_cards = server.pid is not None, bool(server.cards)
    with (
        MemoryWatch(server.pid, cards=server.cards) as watch,
        EnergyMeter(lambda: watch.energy_j if has_cards else None) as meter,
    ):
        for path in generator.measure(levels, check=server.check, until=until):
            meter.read()
            found = read_level(path, bound=load.bound, asked=asked)
            energy_j = meter.between(found.begin, found.end)
            yield SweepStep(
                replace(found.level, energy_j=energy_j),
                found.counts_from,
                generator.version,
                watch.peak_memory_bytes if is_ours else None,
            )


def left_levels(run: SpeedRun, folder: Path) -> Iterator[SpeedLevel]:
    """Yield the levels that the generator had written when the command was killed; their energy is lost."""
    asked = AskedTokens(prompt=run.prompt_tokens, output=run.load.output_tokens)
    for place in range(len(run.levels), len(run.load.sweep)):
        path = _result_path(folder, place)
        if not path.is_file():
            return
        yield read_level(path, bound=run.load.bound, asked=asked).level


def _result_path(folder: Path, place: int) -> Path:
    return folder / f"level-{place + 1:02}.json"


def time_left(minutes: float | None) -> float | None:
    """The moment of `time.monotonic` when so many minutes are over."""
    return None if minutes is None else time.monotonic() + 60.0 * minutes


def _level(server: RunningServer, probe: ServerProbe, load: SpeedLoad, place: int, folder: Path) -> Level:
    concurrency = load.sweep[place]
    n_requests = load.requests_at(concurrency)
    prompts = folder / f"prompts-{place + 1:02}.jsonl"
    write_prompts(prompts, n=n_requests, n_words=probe.n_words, seed=SEED + 2 + place)
    target = Target(
        server.base_url, probe.endpoint, server.served_name, load.output_tokens, probe.ignores_end
    )
    arguments = level_arguments(target, prompts=prompts, concurrency=concurrency, n_requests=n_requests)
    return Level(arguments, _result_path(folder, place))
