"""One run: walk a suite's tasks on a loaded engine, resume what is stored, score what is there.

Covered: resume by anti-join on the fingerprint, budgets of time and of precision, tasks that cannot be had.
Not covered: starting and ending the engine, and what becomes of a process that is killed (`worker`, and
the executor above it).
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from runners.engines import Engine
from runners.harness.answering import ItemSink, answer
from runners.harness.events import Event
from runners.harness.lm_tasks import LeafTask, LoadedTask, TaskUnavailableError, load_task
from runners.harness.questions import Question
from runners.harness.scoring import LeafItems, group_score, leaf_score
from tracker.codec import dump
from tracker.errors import EngineError, TrackerError
from tracker.items import read_items, stored_parts, write_fingerprint
from tracker.records import Item, Job, RunRequest, Suite, Task, TaskScore, fingerprint
from tracker.stats import anytime_interval

HARNESS_VERSION = "1"  # moves when the harness changes what an item is
PROGRESS_S = 0.5
LOOK_ITEMS = 25  # how often `--until` looks at its interval, which is valid at any look


@dataclass(slots=True)
class Tally:
    """What a run has added up so far."""

    scores: list[TaskScore] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)
    n_items: int = 0
    n_reused_items: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    generated_tokens: int = 0
    generation_s: float = 0.0
    answering_s: float = 0.0
    ttfts_s: list[float] = field(default_factory=list)

    def count(self, item: Item, *, is_choice: bool) -> None:
        """Add what one newly answered item cost."""
        self.prompt_tokens += item.prompt_tokens
        self.output_tokens += item.output_tokens
        if not is_choice:
            self.generated_tokens += item.output_tokens
        if item.ttft_s is not None:
            self.ttfts_s.append(item.ttft_s)


@dataclass(slots=True)
class LeafWork:
    """One leaf task: its items so far, and the questions still to be asked."""

    leaf: LeafTask
    fingerprint: str
    items: dict[int, Item]
    wanted: list[Question]
    n_reused_items: int

    @property
    def part(self) -> LeafItems:
        """What its score is made of."""
        return LeafItems(self.leaf, self.fingerprint, self.items, self.n_reused_items)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A suite's task with its data, or why it cannot be had."""

    spec: Task
    loaded: LoadedTask | None
    error: TaskUnavailableError | None = None


def prepare(suite: Suite, *, cache_path: Path) -> tuple[Prepared, ...]:
    """Every task of the suite with its data: done before the engine is loaded, which may take minutes."""
    prepared = []
    for spec in suite.tasks:
        try:
            prepared.append(Prepared(spec, load_task(spec, suite, cache_path=cache_path)))
        except TaskUnavailableError as error:
            prepared.append(Prepared(spec, None, error))
    return tuple(prepared)


@dataclass(slots=True)
class Walk:
    """One run under way; `tally` is what came of it."""

    engine: Engine
    job: Job
    run: RunRequest
    tasks: Sequence[Prepared]
    emit: Callable[[Event], None]
    stopped: Callable[[], bool]  # somebody asked us to stop
    deadline: float | None = None  # of time.monotonic()
    tally: Tally = field(default_factory=Tally)

    @property
    def items_path(self) -> Path:
        """Folder of all item files."""
        return Path(self.job.items_path)

    @property
    def out_of_time(self) -> bool:
        """Whether the time budget is spent."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def all_tasks(self) -> None:
        """Walk every task of the suite.

        Raises:
            EngineError, UnreachableError: the engine died; what was answered is kept.
        """
        for task in self.tasks:
            if self.stopped() or self.out_of_time:
                self.warn(f"{task.spec.task}: not begun")
                continue
            if task.loaded is None:
                self._unavailable(task.spec.task, task.error)
                continue
            try:
                self.task(task.loaded)
            except EngineError as error:
                if error.reason != "unsupported":
                    raise
                self._unavailable(task.spec.task, error)

    def _unavailable(self, task: str, error: TrackerError | None) -> None:
        message = f"{error} ({error.hint})" if error and error.hint else str(error)
        self.tally.unavailable.append(task)
        self.tally.warnings.append(message)
        self.emit(Event("unavailable", self.run.run_id, task, message=message))

    def task(self, loaded: LoadedTask) -> None:
        """Answer and score one task."""
        works = [self._work(leaf) for leaf in loaded.leaves]
        wanted = [question for work in works for question in work.wanted]
        if self.deadline is not None or self.job.until_half_width is not None:
            order = np.random.default_rng(self.job.settings.seed).permutation(len(wanted))
            wanted = [wanted[n] for n in order]  # what is answered in time is a random sample
        early = self._answer(loaded, works, wanted)
        parts = [work.part for work in works if work.items]
        self.tally.n_items += sum(len(part.items) for part in parts)
        self.tally.n_reused_items += sum(part.n_reused_items for part in parts)
        if parts:
            self._score(loaded, parts, stopped_early=early)

    def _score(self, loaded: LoadedTask, parts: Sequence[LeafItems], *, stopped_early: bool) -> None:
        try:
            if loaded.is_group:
                weighted = loaded.weight_by_size
                name = loaded.spec.task
                self.tally.scores.append(
                    group_score(name, parts, weight_by_size=weighted, stopped_early=stopped_early)
                )
            early = stopped_early and not loaded.is_group
            self.tally.scores += [leaf_score(part, stopped_early=early) for part in parts]
        except ValueError as error:
            self.warn(f"no score: {error}")

    def _work(self, leaf: LeafTask) -> LeafWork:
        suite, job = self.run.suite, self.job
        chat = suite.chat and not leaf.is_choice
        if chat and self.engine.info.chat_template_hash is None:
            self.warn(f"{leaf.name}: the model has no chat template; its prompts are given as plain text")
            chat = False
        parts = {
            "model_id": job.model.model_id,
            "revision": job.model.revision,
            "quantization": job.model.quantization,
            "engine": dump(self.engine.info) | {"predicted_memory_bytes": None},
            "seed": job.settings.seed,
            "thinking": job.settings.thinking,
            "tensor_parallel_size": job.settings.tensor_parallel_size,
            "task": leaf.identity,
            "chat": chat,
            "lm_eval": importlib.metadata.version("lm_eval"),
            "harness": HARNESS_VERSION,
        }
        key = fingerprint(parts)
        write_fingerprint(self.items_path, self.run.run_id, key, parts)
        skipped: list[str] = []
        stored = read_items(stored_parts(self.items_path, key), skipped=skipped)
        for name in skipped:
            self.warn(f"unreadable chunk passed over, its items are asked again: {name}")
        questions = leaf.questions(limit=job.limit, chat_prompt=self.engine.chat_prompt if chat else None)
        if job.shard is not None:
            questions = [q for q in questions if q.doc_id % job.shard[1] == job.shard[0]]
        items = {
            q.doc_id: stored[q.doc_id]
            for q in questions
            if q.doc_id in stored and stored[q.doc_id].doc_hash == q.doc_hash
        }
        wanted = [q for q in questions if q.doc_id not in items]
        return LeafWork(leaf, key, items, wanted, n_reused_items=len(items))

    def _answer(self, loaded: LoadedTask, works: Sequence[LeafWork], wanted: Sequence[Question]) -> bool:
        """Ask what is wanted; whether it ended before everything was asked because it was precise enough."""
        by_name = {work.leaf.name: work for work in works}
        sink = ItemSink(self.items_path, self.run.run_id, self.job.flush_s)
        report = _Progress(self, loaded.spec.task, n_total=len(wanted) + sum(len(w.items) for w in works))
        report.say(n_done=report.n_total - len(wanted), force=True, event="task")
        early = self._precise_enough(works)
        started = time.monotonic()
        try:
            if not early:
                for question, item in answer(self.engine, wanted, stop=self._must_stop):
                    work = by_name[question.leaf.name]
                    work.items[item.doc_id] = item
                    sink.add(work.fingerprint, item)
                    self.tally.count(item, is_choice=question.leaf.is_choice)
                    report.say(n_done=sum(len(w.items) for w in works))
                    if len(work.items) % LOOK_ITEMS == 0 and self._precise_enough(works):
                        early = True
                        break
        finally:
            sink.flush()
            took = time.monotonic() - started
            self.tally.answering_s += took
            if not all(work.leaf.is_choice for work in works):
                self.tally.generation_s += took
        report.say(n_done=sum(len(w.items) for w in works), force=True)
        return early and any(work.wanted for work in works)

    def _must_stop(self) -> bool:
        return self.stopped() or self.out_of_time

    def _precise_enough(self, works: Sequence[LeafWork]) -> bool:
        target = self.job.until_half_width
        values = [item.score for work in works for item in work.items.values() if item.score is not None]
        if target is None or len(values) < LOOK_ITEMS:
            return False
        interval = anytime_interval(values, n_total=sum(work.leaf.n_docs for work in works))
        return interval.half_width <= target

    def warn(self, message: str) -> None:
        """Keep the warning with the run, and tell it at once."""
        self.tally.warnings.append(message)
        self.emit(Event("warning", self.run.run_id, message=message))


@dataclass(slots=True)
class _Progress:
    """Tells how far a task is, at most every half second."""

    walk: Walk
    task: str
    n_total: int
    last: float = 0.0

    def say(self, *, n_done: int, force: bool = False, event: str = "progress") -> None:
        """Emit a progress event if one is due."""
        now = time.monotonic()
        if not force and now - self.last < PROGRESS_S:
            return
        self.last = now
        tally = self.walk.tally
        self.walk.emit(
            Event(
                "task" if event == "task" else "progress",
                self.walk.run.run_id,
                self.task,
                n_done=n_done,
                n_total=self.n_total,
                output_tokens=tally.output_tokens,
                prompt_tokens=tally.prompt_tokens,
            )
        )
