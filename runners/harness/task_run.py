"""One task in progress: ask what has no item yet, in which order, until when."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from runners.engines import GenerationRequest
from runners.harness.answering import ItemSink, answer
from runners.harness.events import Event
from runners.harness.leaf_work import LeafWork
from runners.harness.questions import TaskQuestion
from tracker.records.shards import Share
from tracker.stats import anytime_interval
from tracker.wording import agreeing, counted

if TYPE_CHECKING:
    from runners.harness.walk import RunningSuite

PROGRESS_S = 0.5
# If a budget may end a task, questions are drawn at random and asked in blocks: within a block an engine
# chooses the order (shortest first, by prompt), so only complete blocks are a fair sample. Blocks grow, so
# that a short budget loses little and a large card stays busy.
BLOCKS = (4, 256)  # the first and the largest


@dataclass(slots=True)
class TaskRun:
    """One task in progress: asks missing questions, stores answers, reports progress."""

    suite_run: RunningSuite
    task: str
    works: dict[str, LeafWork]
    n_total: int
    last_report: float = 0.0
    own: Sequence[TaskQuestion] | None = None  # the part of one of several workers

    def ask(self, questions: Sequence[TaskQuestion]) -> None:
        """Ask the questions that have no item yet.

        Raises:
            EngineError, UnreachableError: the engine died; items already answered are kept.
        """
        suite_run = self.suite_run
        wanted = [q for q in questions if q.doc_id not in self.works[q.leaf.name].items]
        if not suite_run.asks:
            return
        sink = ItemSink(suite_run.items_path, suite_run.run.run_id, suite_run.job.flush_s)
        started = time.monotonic()
        try:
            for question, item in answer(
                suite_run.engine, wanted, stop=lambda: suite_run.stopped() or suite_run.out_of_time
            ):
                work = self.works[question.leaf.name]
                work.items[item.doc_id] = item
                sink.add(work.fingerprint, item)
                suite_run.tally.count(item)
                self.report()
        finally:
            sink.flush()
            took = time.monotonic() - started
            suite_run.tally.answering_s += took
            if any(isinstance(one, GenerationRequest) for question in wanted for one in question.requests):
                suite_run.tally.generation_s += took

    def ask_until_spent(
        self,
        questions: Sequence[TaskQuestion],
        *,
        is_enough: Callable[[Sequence[TaskQuestion]], bool] | None = None,
    ) -> list[TaskQuestion]:
        """Ask in random order until a budget is spent; returns the first of them that all have an answer.

        All that are answered by then would be no fair sample, since they lack the long answers. An engine
        that begins in order gets all questions at once where only time is short, so that it never waits for
        the last answers of a block. Of another one, whole blocks count: it may sort what it is given.

        `is_enough`: whether no further question is needed after these; None: only time ends the task.
        """
        return self._ask_in_blocks(self._in_draw_order(questions), is_enough=is_enough)

    def ask_share(self, questions: Sequence[TaskQuestion], share: Share, *, n_population: int) -> None:
        """Ask one worker's part of the questions, in the order in which a budget may end the task.

        For a precision it stops where the parts of all workers together should have it; what is missing, the
        worker that scores asks.
        """
        target, deadline = self.suite_run.job.until_half_width, self.suite_run.deadline
        is_drawn = target is not None or deadline is not None
        order = self._in_draw_order(questions) if is_drawn else questions
        self.own = [question for place, question in enumerate(order) if share.has(place)]
        self.report(force=True, event="task")
        if not is_drawn:
            self.ask(self.own)
        else:
            wanted = None if target is None else target * math.sqrt(share.n_turns)
            n_total = max(n_population // share.n_turns, len(self.own))

            def is_enough(drawn: Sequence[TaskQuestion]) -> bool:
                return wanted is not None and self.half_width(drawn, n_total=n_total) <= wanted

            self._ask_in_blocks(self.own, is_enough=None if wanted is None else is_enough)
        self.report(force=True)

    def _in_draw_order(self, questions: Sequence[TaskQuestion]) -> list[TaskQuestion]:
        """The questions in the random order that the seed gives."""
        order = np.random.default_rng(self.suite_run.job.settings.seed).permutation(len(questions))
        return [questions[n] for n in order]

    def _ask_in_blocks(
        self,
        questions: Sequence[TaskQuestion],
        *,
        is_enough: Callable[[Sequence[TaskQuestion]], bool] | None,
    ) -> list[TaskQuestion]:
        in_order = is_enough is None and self._answers_in_order(questions)
        drawn: list[TaskQuestion] = []
        size = len(questions) if in_order else BLOCKS[0]
        while len(drawn) < len(questions):
            block = questions[len(drawn) : len(drawn) + size]
            size = min(2 * size, BLOCKS[1])
            self.ask(block)
            have_all = [self.has_all([question]) for question in block]
            if not all(have_all):
                n_first = have_all.index(False) if in_order else 0
                drawn += block[:n_first]
                n_left = sum(have_all) - n_first
                answers, are = counted(n_left, "answer"), agreeing(n_left, "is", "are")
                behind = "behind the first missing one" if in_order else "of an incomplete block"
                self.suite_run.warn(f"task `{self.task}`: {answers} {behind} {are} not scored")
                break
            drawn += block
            if is_enough is not None and is_enough(drawn):
                break
        return drawn

    def _answers_in_order(self, questions: Sequence[TaskQuestion]) -> bool:
        """Whether the engine begins the answers to these in the order in which they are given."""
        are_texts = all(isinstance(one, GenerationRequest) for each in questions for one in each.requests)
        return are_texts and getattr(self.suite_run.engine, "begins_in_order", False)

    def has_all(self, questions: Sequence[TaskQuestion]) -> bool:
        """Whether every one of these has its item."""
        return all(q.doc_id in self.works[q.leaf.name].items for q in questions)

    def values(self, questions: Sequence[TaskQuestion]) -> tuple[float, ...]:
        """The score of each question's item, in this order."""
        scores = (self.works[q.leaf.name].items[q.doc_id].score for q in questions)
        return tuple(score for score in scores if score is not None)

    def half_width(self, questions: Sequence[TaskQuestion], *, n_total: int) -> float:
        """Half the anytime interval of the mean over these questions; infinite if they have no scores."""
        values = self.values(questions)
        if not values:
            return float("inf")
        target = self.suite_run.job.until_half_width
        return anytime_interval(values, n_total=n_total, half_width=target).half_width

    def report(self, *, force: bool = False, event: Literal["task", "progress"] = "progress") -> None:
        """Report the task's progress, at most every half second."""
        now = time.monotonic()
        if not force and now - self.last_report < PROGRESS_S:
            return
        self.last_report = now
        tally = self.suite_run.tally
        n_done, n_total = sum(len(work.items) for work in self.works.values()), self.n_total
        if self.own is not None:
            n_done, n_total = sum(self.has_all([question]) for question in self.own), len(self.own)
        self.suite_run.emit(
            Event(
                event,
                self.suite_run.run.run_id,
                self.task,
                n_done=n_done,
                n_total=n_total,
                output_tokens=tally.output_tokens,
                prompt_tokens=tally.prompt_tokens,
            )
        )
