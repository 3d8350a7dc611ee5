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
from typing import Literal

import numpy as np

from runners.engines import Engine
from runners.harness.answering import ItemSink, answer
from runners.harness.events import Event
from runners.harness.lm_tasks import LeafTask, LoadedTask, TaskUnavailableError, load_task
from runners.harness.questions import Question
from runners.harness.scoring import LeafItems, Stopping, group_score, leaf_score
from tracker.codec import dump
from tracker.errors import EngineError, TrackerError
from tracker.items import read_items, stored_parts, write_fingerprint
from tracker.records import Item, Job, RunRequest, Suite, Task, TaskScore, fingerprint
from tracker.stats import anytime_interval

HARNESS_VERSION = "1"  # moves when the harness changes what an item is
PROGRESS_S = 0.5
# Where a budget may end a task, questions are drawn at random and asked in blocks: within a block an engine
# answers in an order of its own (shortest first, by prompt), so only whole blocks are a fair sample.
# They grow, so that little is lost to a short budget and a large card is kept busy by a long one.
BLOCKS = (4, 256)  # the first and the largest


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
    questions: list[Question]
    items: dict[int, Item]
    reused: frozenset[int]  # doc_ids

    def part(self, asked: Sequence[Question]) -> LeafItems:
        """What its score is made of: its items among these questions, in their order."""
        items = {
            q.doc_id: self.items[q.doc_id] for q in asked if q.leaf is self.leaf and q.doc_id in self.items
        }
        return LeafItems(self.leaf, self.fingerprint, items, len(self.reused & items.keys()))


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
            except TaskUnavailableError as error:
                self._unavailable(task.spec.task, error)
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
        questions = [question for work in works for question in work.questions]
        asking = _Asking(self, loaded.spec.task, {work.leaf.name: work for work in works}, len(questions))
        asking.report(force=True, event="task")
        stopping: Stopping | None = None
        if self.deadline is None and self.job.until_half_width is None:
            asking.ask(questions)
        else:
            n_total = len(questions)
            questions = self._drawn(asking, questions)
            if len(questions) < n_total:
                target = None if self.out_of_time else self.job.until_half_width
                stopping = Stopping(asking.values(questions), n_total, target)
        asking.report(force=True)
        parts = [part for part in (work.part(questions) for work in works) if part.items]
        self.tally.n_items += sum(len(part.items) for part in parts)
        self.tally.n_reused_items += sum(part.n_reused_items for part in parts)
        if parts:
            self._score(loaded, parts, stopping=stopping)

    def _drawn(self, asking: _Asking, questions: Sequence[Question]) -> list[Question]:
        """Ask in random order until a budget is spent; the questions of the blocks that were finished."""
        order = np.random.default_rng(self.job.settings.seed).permutation(len(questions))
        target = self.job.until_half_width
        drawn: list[Question] = []
        size = BLOCKS[0]
        while len(drawn) < len(order):
            block = [questions[n] for n in order[len(drawn) : len(drawn) + size]]
            size = min(2 * size, BLOCKS[1])
            asking.ask(block)
            if not asking.has_all(block):
                n_kept = sum(asking.has_all([question]) for question in block)
                self.warn(f"{asking.task}: {n_kept} answers of an unfinished block are kept but not counted")
                break
            drawn += block
            if target is not None and asking.half_width(drawn, n_total=len(questions)) <= target:
                break
        return drawn

    def _score(self, loaded: LoadedTask, parts: Sequence[LeafItems], *, stopping: Stopping | None) -> None:
        try:
            if loaded.is_group:
                weighted = loaded.weight_by_size
                name = loaded.spec.task
                self.tally.scores.append(group_score(name, parts, weight_by_size=weighted, stopping=stopping))
                stopping = None
            self.tally.scores += [leaf_score(part, stopping=stopping) for part in parts]
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
            "engine": dump(self.engine.info),
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
            if q.doc_id in stored and _answers(stored[q.doc_id], q)
        }
        return LeafWork(leaf, key, questions, items, reused=frozenset(items))

    def warn(self, message: str) -> None:
        """Keep the warning with the run, and tell it at once."""
        self.tally.warnings.append(message)
        self.emit(Event("warning", self.run.run_id, message=message))


def _answers(item: Item, question: Question) -> bool:
    """Whether the item answers just this question: same document, same examples before it."""
    return item.doc_hash == question.doc_hash and item.prompt == question.prompt


@dataclass(slots=True)
class _Asking:
    """One task under way: asks what is not stored, keeps what is answered, tells how far it is."""

    walk: Walk
    task: str
    works: dict[str, LeafWork]
    n_total: int
    last_report: float = 0.0

    def ask(self, questions: Sequence[Question]) -> None:
        """Ask those of the questions that have no item yet.

        Raises:
            EngineError, UnreachableError: the engine died; what was answered is kept.
        """
        walk = self.walk
        wanted = [q for q in questions if q.doc_id not in self.works[q.leaf.name].items]
        sink = ItemSink(walk.items_path, walk.run.run_id, walk.job.flush_s)
        started = time.monotonic()
        try:
            for question, item in answer(
                walk.engine, wanted, stop=lambda: walk.stopped() or walk.out_of_time
            ):
                work = self.works[question.leaf.name]
                work.items[item.doc_id] = item
                sink.add(work.fingerprint, item)
                walk.tally.count(item, is_choice=question.leaf.is_choice)
                self.report()
        finally:
            sink.flush()
            took = time.monotonic() - started
            walk.tally.answering_s += took
            if not all(question.leaf.is_choice for question in wanted):
                walk.tally.generation_s += took

    def has_all(self, questions: Sequence[Question]) -> bool:
        """Whether every one of these has its item."""
        return all(q.doc_id in self.works[q.leaf.name].items for q in questions)

    def values(self, questions: Sequence[Question]) -> tuple[float, ...]:
        """The score of each question's item, in this order."""
        scores = (self.works[q.leaf.name].items[q.doc_id].score for q in questions)
        return tuple(score for score in scores if score is not None)

    def half_width(self, questions: Sequence[Question], *, n_total: int) -> float:
        """Half the anytime interval of the mean over these questions; infinite if they have no scores."""
        values = self.values(questions)
        if not values:
            return float("inf")
        target = self.walk.job.until_half_width
        return anytime_interval(values, n_total=n_total, half_width=target).half_width

    def report(self, *, force: bool = False, event: Literal["task", "progress"] = "progress") -> None:
        """Tell how far the task is, at most every half second."""
        now = time.monotonic()
        if not force and now - self.last_report < PROGRESS_S:
            return
        self.last_report = now
        tally = self.walk.tally
        self.walk.emit(
            Event(
                event,
                self.walk.run.run_id,
                self.task,
                n_done=sum(len(work.items) for work in self.works.values()),
                n_total=self.n_total,
                output_tokens=tally.output_tokens,
                prompt_tokens=tally.prompt_tokens,
            )
        )
