"""One of several workers of the same job: it asks its part, round by round; one of them scores all.

Every worker writes its items into the folder of the run. The scores are those of one worker that finds all of
them stored: same questions, same order, same intervals.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from runners.engines import Engine
from runners.hardware import MemoryWatch
from runners.harness.endings import exit_code, expected, failed
from runners.harness.events import Event
from runners.harness.gate import Round, await_round, first_round, read_reports, write_report
from runners.harness.walk import RunningSuite
from tracker.records import Cost, Run, RunRequest, fingerprint
from tracker.records.shards import Shard, Share, WorkerCost, WorkerReport
from tracker.serialization import dump
from tracker.wording import counted

if TYPE_CHECKING:
    from runners.harness.worker import Session


@dataclass(frozen=True, slots=True)
class OtherWorkers:
    """What all workers report when one of them begins to score."""

    reports: Mapping[int, WorkerReport]
    warnings: tuple[str, ...] = ()  # of the driver

    def of_run(self, run_id: str) -> WorkerCost:
        """What they spent on one run: the longest time, and sums of everything else."""
        costs = [report.costs[run_id] for report in self.reports.values() if run_id in report.costs]
        joules = [cost.energy_j for cost in costs if cost.energy_j is not None]
        return WorkerCost(
            duration_s=max((cost.duration_s for cost in costs), default=0.0),
            generation_s=sum(cost.generation_s for cost in costs),
            generated_tokens=sum(cost.generated_tokens for cost in costs),
            prefilled_tokens=sum(cost.prefilled_tokens for cost in costs),
            energy_j=sum(joules) if joules else None,
            n_cut=sum(cost.n_cut for cost in costs),
        )

    def with_memory(self, cost: Cost) -> Cost:
        """The cost with the memory of the worker that took most, and the longest time to load."""
        peaks = [r.peak_memory_bytes for r in self.reports.values() if r.peak_memory_bytes is not None]
        peak = max([*peaks, cost.peak_memory_bytes or 0]) or None
        if cost.memory_basis is not None:
            peak = cost.peak_memory_bytes  # without what is only reserved, which the others do not tell
        load_s = max([r.load_s for r in self.reports.values()], default=cost.load_s)
        return replace(cost, peak_memory_bytes=peak, load_s=load_s, n_workers=max(len(self.reports), 1))

    def with_warnings(self, run: Run) -> Run:
        """The run with what the workers and their driver had to say, each once."""
        said = [*self.warnings, *(text for report in self.reports.values() for text in report.warnings)]
        new = [text for text in dict.fromkeys(said) if text not in run.warnings]
        return replace(run, warnings=(*run.warnings, *new))


def with_others(cost: Cost, others: WorkerCost) -> Cost:
    """The cost of scoring together with what all workers spent before; the speed is that of one of them."""
    joules = [one for one in (cost.energy_j, others.energy_j) if one is not None]
    speed = others.generated_tokens / others.generation_s if others.generation_s else None
    return replace(
        cost,
        duration_s=cost.duration_s + others.duration_s,
        prefilled_tokens=cost.prefilled_tokens + others.prefilled_tokens,
        tokens_per_s=speed,
        energy_j=sum(joules) if joules else None,
    )


@dataclass(slots=True)
class SharedJob:
    """The job in progress in one of its workers."""

    session: Session
    engine: Engine
    shard: Shard
    deadline: float | None  # of time.monotonic()
    load_s: float
    costs: dict[str, WorkerCost] = field(default_factory=dict)

    def run(self, watch: MemoryWatch) -> int:
        """Ask in every round what is ours; one worker scores in the last one. Returns an exit code."""
        number, what = 1, first_round(self.shard)
        try:
            while what.asks:
                if (share := what.share_of(self.shard.index)) is not None:
                    for request in self.session.job.runs:
                        self._ask(request, share, scores_first=what.scores_first)
                self._report(watch)
                if self.session.stop():
                    raise KeyboardInterrupt
                what = self._next_round(number)
                number += 1
        except BaseException as caught:
            error = expected(caught, "the run failed", "engine_died")
            if isinstance(error, SystemExit):
                raise
            for run in self.session.runs.values():
                self.session.end(failed(run, error))
            return exit_code(error)
        if what.scorer != self.shard.index:
            return 0
        self.session.writes_runs = True
        return self._score(what, watch)

    def _next_round(self, number: int) -> Round:
        def tell() -> None:
            self.session.reporter.emit(Event("waiting", n_done=number))

        return await_round(Path(self.shard.gate), number + 1, stop=self.session.stop, tell=tell)

    def _ask(self, request: RunRequest, share: Share, *, scores_first: bool) -> None:
        """Ask our part of one suite."""
        session, engine = self.session, self.engine
        prefilled, cut = engine.prefilled_tokens, engine.cut_requests
        suite_run = RunningSuite(
            engine,
            session.job,
            request,
            session.tasks[request.run_id],
            session.reporter.emit,
            session.stop,
            self.deadline,
            share=share,
            scores_first=scores_first,
        )
        before = self.costs.get(request.run_id, WorkerCost())
        with MemoryWatch() as watch:
            suite_run.run_tasks()
        tally, joules = suite_run.tally, watch.energy_j
        self.costs[request.run_id] = WorkerCost(
            duration_s=before.duration_s + tally.answering_s,
            generation_s=before.generation_s + tally.generation_s,
            generated_tokens=before.generated_tokens + tally.generated_tokens,
            prefilled_tokens=before.prefilled_tokens + engine.prefilled_tokens - prefilled,
            energy_j=before.energy_j if joules is None else joules + (before.energy_j or 0.0),
            n_cut=before.n_cut + engine.cut_requests - cut,
        )

    def _report(self, watch: MemoryWatch) -> None:
        differences = tuple(getattr(self.engine, "differences", ()))
        own = {text for run in self.session.runs.values() for text in run.warnings}
        report = WorkerReport(
            index=self.shard.index,
            device=self.engine.info.device,
            engine_hash=self._engine_hash,
            load_s=self.load_s,
            costs=self.costs,
            peak_memory_bytes=watch.peak_memory_bytes,
            is_out_of_time=self._is_out_of_time,
            warnings=(*(own - set(self.session.job.warnings)), *differences),
        )
        write_report(Path(self.shard.gate), report)

    @property
    def _engine_hash(self) -> str:
        return fingerprint(dump(self.engine.info))

    @property
    def _is_out_of_time(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def _score(self, what: Round, watch: MemoryWatch) -> int:
        """Score everything, and ask what no worker has answered."""
        reports = read_reports(Path(self.shard.gate))
        odd = [r for r in reports.values() if r.engine_hash != self._engine_hash]
        warnings = list(what.warnings)
        if odd:
            workers = counted(len(odd), "worker")
            warnings.append(
                f"{workers} of {self.shard.count} had another engine or device ({odd[0].device}): what they"
                " answered is stored, and was asked again for this run"
            )
        all_in_time = len(reports) == self.shard.count and not any(r.is_out_of_time for r in reports.values())
        return self.session.score_all(
            self.engine,
            watch,
            load_s=self.load_s,
            deadline=None if all_in_time else self.deadline,
            others=OtherWorkers(reports, tuple(warnings)),
        )
