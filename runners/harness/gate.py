"""The folder through which the workers of one job and their driver agree on rounds.

The driver writes `round-<n>.json` to begin round n, and changes `driver` every few seconds while it lives.
A worker writes `report-<index>.json` when it has asked its part. Every file appears whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tracker.errors import TrackerError
from tracker.records.shards import Shard, Share, WorkerReport
from tracker.serialization import dump_json, load_json, write_atomically

POLL_S = 0.1
TELL_S = 2.0  # between two signs that a worker waits
GONE_S = 120.0  # a driver that has given no sign for this long is gone


class DriverGoneError(TrackerError):
    """The driver of a shared job has ended."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round: which workers ask, in which order; nobody: one of them scores."""

    asks: tuple[int, ...] = ()
    stride: int = 1
    scores_first: bool = False  # tasks without conditions have been asked: their scores decide what follows
    scorer: int = 0
    warnings: tuple[str, ...] = ()  # of the driver, for the run

    def share_of(self, index: int) -> Share | None:
        """What this worker asks; None: nothing."""
        return Share(self.asks.index(index), len(self.asks), self.stride) if index in self.asks else None


def first_round(shard: Shard) -> Round:
    """The round that begins without a file: every worker asks its part."""
    return Round(tuple(range(shard.count)))


def round_path(gate: Path, number: int) -> Path:
    """Where the file of a round is."""
    return gate / f"round-{number}.json"


def open_round(gate: Path, number: int, what: Round) -> None:
    """Begin a round."""
    write_atomically(round_path(gate, number), dump_json(what))


def give_sign(gate: Path) -> None:
    """Say that the driver lives."""
    write_atomically(gate / "driver", f"{time.time()}".encode())


def write_report(gate: Path, report: WorkerReport) -> None:
    """Say what a worker has spent so far."""
    write_atomically(gate / f"report-{report.index}.json", dump_json(report))


def read_reports(gate: Path) -> Mapping[int, WorkerReport]:
    """The reports of the workers that have one that can be read."""
    found = {}
    for path in sorted(gate.glob("report-*.json")):
        try:
            report = load_json(WorkerReport, path.read_bytes(), where=str(path))
        except (OSError, TrackerError):
            continue
        found[report.index] = report
    return found


def await_round(gate: Path, number: int, *, stop: Callable[[], bool], tell: Callable[[], None]) -> Round:
    """Wait until the round begins; `tell` says every few seconds that we wait.

    Raises:
        KeyboardInterrupt: a stop was requested.
        DriverGoneError: the driver gives no sign any more.
    """
    path, seen, changed_s, told_s = round_path(gate, number), b"", time.monotonic(), 0.0
    while not path.is_file():
        if stop():
            raise KeyboardInterrupt
        now = time.monotonic()
        sign = _sign(gate)
        if sign != seen:
            seen, changed_s = sign, now
        if now - changed_s > GONE_S:
            raise DriverGoneError(f"the driver of this job gave no sign for {GONE_S:.0f} s")
        if now - told_s > TELL_S:
            told_s = now
            tell()
        time.sleep(POLL_S)
    return load_json(Round, path.read_bytes(), where=str(path))


def _sign(gate: Path) -> bytes:
    try:
        return (gate / "driver").read_bytes()
    except OSError:
        return b""
