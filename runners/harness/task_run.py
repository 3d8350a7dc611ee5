"""One task in progress: ask what has no item yet, in which order, until when."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from runners.engines import ContinuationRequest, GenerationRequest
from runners.harness.answering import answer
from runners.harness.events import Event
from runners.harness.leaf_work import LeafWork
from runners.harness.questions import TaskQuestion
from runners.harness.scoring import Ending, GivenInterval, Stopping
from runners.harness.storage import ItemSink
from tracker.records import Item
from tracker.records.shards import Share
from tracker.stats import (
    Interval,
    StratifiedDraws,
    anytime_interval,
    anytime_stratified,
    items_for_precision,
    refutes,
)
from tracker.wording import agreeing, counted

if TYPE_CHECKING:
    from runners.harness.walk import RunningSuite

PROGRESS_S = 0.5
# If a budget may end a task, questions are drawn at random. An engine that begins them in order gets many at
# once, and the first that all have an answer count. Another one chooses the order (shortest first, by
# prompt), so it gets blocks, of which only complete ones are a fair sample. They grow, so that a short budget
# loses little and a large card stays busy.
BLOCKS = (4, 256)  # the first and the largest where scores end the task
BLOCK_S = 20.0  # where only time does, blocks grow until one takes this long
MARGIN = 1.1  # of the questions that a precision needs at most, as they are given at once
FIRST_LOOK = 4  # answers after which scores may first end a task
LAST_ITEMS = 1_000  # of a run, stored together while scores are computed
LOOK_GROWTH = 1.05  # answers between one look and the next: an interval of thousands takes 0.1 s to compute


@dataclass(slots=True)
class Draw:
    """Questions in random order, of which the first that all have an answer are a fair sample.

    It is looked at after the same numbers of answers however they arrive, so that a run that was killed and
    one that was not end at the same question.
    """

    questions: Sequence[TaskQuestion]
    has_answer: Callable[[TaskQuestion], bool]
    is_enough: Callable[[Sequence[TaskQuestion]], bool]
    n_answered: int = 0  # the first of them
    n_enough: int | None = None  # after which no further question is needed
    next_look: int = FIRST_LOOK

    def is_over(self) -> bool:
        """Whether what has been answered by now is enough."""
        while self.n_enough is None and self.n_answered < len(self.questions):
            if not self.has_answer(self.questions[self.n_answered]):
                return False
            self.n_answered += 1
            if self.n_answered == self.next_look:
                self.next_look = max(self.n_answered + 1, math.ceil(self.n_answered * LOOK_GROWTH))
                if self.is_enough(self.questions[: self.n_answered]):
                    self.n_enough = self.n_answered
        return self.n_enough is not None


@dataclass(slots=True)
class TaskRun:
    """One task in progress: asks missing questions, stores answers, reports progress."""

    suite_run: RunningSuite
    task: str
    works: dict[str, LeafWork]
    n_total: int
    last_report: float = 0.0
    own: Sequence[TaskQuestion] | None = None  # the part of one of several workers
    is_mean_of_tasks: bool = False  # of a group that counts its tasks equally, whatever their sizes

    def ask(self, questions: Sequence[TaskQuestion], *, is_over: Callable[[], bool] = lambda: False) -> None:
        """Ask the questions that have no item yet, until all are answered or what is answered is enough.

        Raises:
            EngineError, UnreachableError: the engine died; items already answered are kept.
        """
        suite_run = self.suite_run
        wanted = self.missing(questions)
        if not suite_run.asks:
            return
        sink = suite_run.sink()
        started = time.monotonic()
        suite_run.note_marks(None)  # of questions of ours that are in no task
        answered = answer(suite_run.engine, wanted, stop=lambda: suite_run.stopped() or suite_run.out_of_time)
        try:
            with closing(answered):
                for n_asked, (question, item) in enumerate(answered, start=1):
                    self.keep(question, item, sink)
                    if len(wanted) - n_asked > LAST_ITEMS:
                        sink.flush_complete(self.works[question.leaf.name])
                    if is_over():
                        break
        finally:
            sink.flush()
            took = time.monotonic() - started
            suite_run.tally.answering_s += took
            if any(isinstance(one, GenerationRequest) for question in wanted for one in question.requests):
                suite_run.tally.generation_s += took

    def missing(self, questions: Sequence[TaskQuestion]) -> list[TaskQuestion]:
        """Those of the questions that have no item yet."""
        return [question for question in questions if not self._has_item(question)]

    def keep(self, question: TaskQuestion, item: Item, sink: ItemSink) -> None:
        """Count a new item, and give it to `sink` to be stored."""
        work = self.works[question.leaf.name]
        work.items[item.doc_id] = item
        self.suite_run.note_marks(question.leaf.name)
        sink.add(work.fingerprint, item)
        self.suite_run.tally.count(item)
        self.report()

    def ask_until_spent(
        self,
        questions: Sequence[TaskQuestion],
        *,
        is_enough: Callable[[Sequence[TaskQuestion]], bool] | None = None,
        n_likely: int | None = None,
    ) -> list[TaskQuestion]:
        """Ask in random order until a budget is spent; returns the first of them that all have an answer.

        All that are answered by then would be no fair sample, since they lack the long answers. An engine
        that begins in order never waits for the last answers of a block. Of another one, whole blocks count:
        it may sort what it is given.

        `is_enough`: whether no further question is needed after these; None: only time ends the task.
        `n_likely`: how many are likely to be enough; None: unknown.
        """
        drawn = self.in_draw_order(questions)
        return self._ask_drawn(drawn, is_enough=is_enough, n_likely=n_likely)

    def ask_share(self, questions: Sequence[TaskQuestion], share: Share, *, n_population: int) -> None:
        """Ask one worker's part of the questions, in the order in which a budget may end the task.

        For a precision it stops where the parts of all workers together should have it; what is missing, the
        worker that scores asks.
        """
        target, deadline = self.suite_run.job.until_half_width, self.suite_run.deadline
        is_drawn = target is not None or deadline is not None
        order = self.in_draw_order(questions) if is_drawn else questions
        self.own = [question for place, question in enumerate(order) if share.has(place)]
        self.report(force=True, event="task")
        if not is_drawn:
            self.ask(self.suite_run.longest_first(self.own))
        else:
            wanted = None if target is None else target * math.sqrt(share.n_turns)
            n_total = max(n_population // share.n_turns, len(self.own))
            if wanted is None:
                self._ask_drawn(self.own, is_enough=None)
            else:
                self._ask_drawn(
                    self.own,
                    is_enough=lambda drawn: self.is_precise(drawn, wanted, n_total=n_total),
                    n_likely=items_for_precision(wanted, n_total=n_total),
                )
        self.report(force=True)

    def in_draw_order(self, questions: Sequence[TaskQuestion]) -> list[TaskQuestion]:
        """The questions in the random order that the seed gives."""
        rng = np.random.default_rng(self.suite_run.job.settings.seed)
        drawn = [questions[n] for n in rng.permutation(len(questions))]
        if not self._takes_turns or len(drawn) < self.n_total:
            return drawn
        tasks: dict[str, list[TaskQuestion]] = {}
        for question in drawn:
            tasks.setdefault(question.leaf.name, []).append(question)
        left, order = list(tasks.values()), []
        for point in rng.random(len(drawn)).tolist():
            place = int(point * len(left))
            order.append(left[place].pop())
            if not left[place]:
                del left[place]
        return order

    @property
    def _takes_turns(self) -> bool:
        """Whether each task of the group is the next one with the same chance, as long as it has items.

        Of a sample of a group, the next item is any of those left with the same chance: a task whose part of
        the sample is asked has other items, which could not be drawn.
        """
        return self.is_mean_of_tasks and self.n_total == sum(w.leaf.n_docs for w in self.works.values())

    def _ask_drawn(
        self,
        questions: Sequence[TaskQuestion],
        *,
        is_enough: Callable[[Sequence[TaskQuestion]], bool] | None,
        n_likely: int | None = None,
    ) -> list[TaskQuestion]:
        if not self._answers_in_order(questions):
            return self._ask_in_blocks(questions, is_enough=is_enough)
        draw = Draw(questions, self._has_item, is_enough or (lambda _: False))
        n_given = len(questions)
        if is_enough is not None:
            n_given = BLOCKS[1] if n_likely is None else math.ceil(MARGIN * n_likely)
        while not draw.is_over():
            self.ask(questions[:n_given], is_over=draw.is_over)
            if draw.n_answered < min(n_given, len(questions)) or n_given >= len(questions):
                break
            n_given += max(1, n_given // 2)
        if draw.n_enough is None and draw.n_answered < len(questions):
            n_behind = sum(map(self._has_item, questions[draw.n_answered :]))
            self._warn_of_unscored(n_behind, "behind the first missing one")
        return list(questions[: draw.n_enough or draw.n_answered])

    def _ask_in_blocks(
        self,
        questions: Sequence[TaskQuestion],
        *,
        is_enough: Callable[[Sequence[TaskQuestion]], bool] | None,
    ) -> list[TaskQuestion]:
        drawn: list[TaskQuestion] = []
        size = BLOCKS[0]
        while len(drawn) < len(questions):
            block = questions[len(drawn) : len(drawn) + size]
            started = time.monotonic()
            self.ask(block)
            if not self.has_all(block):
                self._warn_of_unscored(sum(map(self._has_item, block)), "of an incomplete block")
                break
            drawn += block
            if is_enough is not None and is_enough(drawn):
                break
            if is_enough is not None:
                size = min(2 * size, BLOCKS[1])
            elif time.monotonic() - started < BLOCK_S / 2:
                size *= 2
        return drawn

    def _warn_of_unscored(self, n_answers: int, where: str) -> None:
        answers, are = counted(n_answers, "answer"), agreeing(n_answers, "is", "are")
        self.suite_run.warn(f"task `{self.task}`: {answers} {where} {are} not scored")

    def _has_item(self, question: TaskQuestion) -> bool:
        return question.doc_id in self.works[question.leaf.name].items

    def _answers_in_order(self, questions: Sequence[TaskQuestion]) -> bool:
        """Whether the engine begins the answers to these in the order in which they are given."""
        kinds = {type(request) for question in questions for request in question.requests}
        engine = self.suite_run.engine
        if kinds == {ContinuationRequest}:
            return getattr(engine, "scores_in_order", False)
        return kinds <= {GenerationRequest} and getattr(engine, "begins_in_order", False)

    def has_all(self, questions: Sequence[TaskQuestion]) -> bool:
        """Whether every one of these has its item."""
        return all(map(self._has_item, questions))

    def values(self, questions: Sequence[TaskQuestion]) -> tuple[float, ...]:
        """The score of each question's item, in this order."""
        scores = (self.works[q.leaf.name].items[q.doc_id].score for q in questions)
        return tuple(score for score in scores if score is not None)

    def is_precise(self, questions: Sequence[TaskQuestion], half_width: float, *, n_total: int) -> bool:
        """Whether the score of the `n_total` questions, by these, is known that well at every look."""
        if not self.is_mean_of_tasks:
            values = self.values(questions)
            target = self.suite_run.job.until_half_width
            return bool(values) and (
                anytime_interval(values, n_total=n_total, half_width=target).half_width <= half_width
            )
        draws = self.draws(questions, n_total=n_total)
        if draws is None:
            return False
        ends = (draws.mean - half_width, draws.mean + half_width)
        return all(refutes(draws, end, half_width=half_width) for end in ends)

    def ending(self, questions: Sequence[TaskQuestion], target: float | None, *, n_total: int) -> Ending:
        """Where the task ended, and what the interval of its score is; `target` None: the time was up."""
        found = self.mean_of_tasks(questions, n_total=n_total) if self.is_mean_of_tasks and target else None
        if found is not None:
            return GivenInterval(found, is_of_tasks=True)
        return Stopping(self.values(questions), n_total, target)

    def mean_of_tasks(self, questions: Sequence[TaskQuestion], *, n_total: int) -> Interval | None:
        """The mean over the tasks of a group, each counted equally, at every look; None: one has no score."""
        draws = self.draws(questions, n_total=n_total)
        if draws is None:
            return None
        return anytime_stratified(draws, half_width=self.suite_run.job.until_half_width)

    def draws(self, questions: Sequence[TaskQuestion], *, n_total: int) -> StratifiedDraws | None:
        """Questions in draw order, as draws of one task each; None: one of the tasks has no score."""
        places = {name: place for place, name in enumerate(self.works)}
        sizes = np.array([work.leaf.n_docs for work in self.works.values()], dtype=float)
        drawn = np.array([places[question.leaf.name] for question in questions], dtype=int)
        taken = (drawn[:, None] == np.arange(len(sizes))).astype(float)  # (N, K)
        sizes = np.maximum(np.round(sizes * n_total / sizes.sum()), taken.sum(axis=0))
        left = sizes - (taken.cumsum(axis=0) - taken)
        chances = (left > 0).astype(float) if self._takes_turns else left
        items = [self.works[question.leaf.name].items[question.doc_id] for question in questions]
        known = [place for place, item in enumerate(items) if item.score is not None]
        if len(set(drawn[known].tolist())) < len(sizes):
            return None
        return StratifiedDraws(
            [float(items[place].score or 0.0) for place in known],
            drawn[known].tolist(),
            (chances / chances.sum(axis=1, keepdims=True))[known],
            [1 / len(sizes)] * len(sizes),
            sizes.astype(int).tolist(),
        )

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
