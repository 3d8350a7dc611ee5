"""Ask the tasks of a suite in turn until the mean of their scores is known, and score each of them.

A task is one stratum of the draw; of a group whose score is the mean over its tasks, each of these is one, so
that the weights are lm-eval's. The score of a task gets an interval that holds at every look as well, since
what was answered decided how often it was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from runners.harness.lm_tasks import LoadedTask, TaskUnavailableError
from runners.harness.mean_stopping import DrawnAnswer, StrataDraw, item_cost
from runners.harness.planned_task import PlannedTask
from runners.harness.questions import TaskQuestion
from runners.harness.scoring import GivenInterval
from runners.harness.task_run import TaskRun
from tracker.errors import EngineError
from tracker.records.suite_means import SuiteMean
from tracker.wording import agreeing, counted

if TYPE_CHECKING:
    from runners.harness.walk import RunningSuite


@dataclass(frozen=True, slots=True)
class MeanTask(PlannedTask):
    """A task of the mean, with its strata."""

    strata: list[list[TaskQuestion]]  # each in the order in which its items are drawn

    @property
    def n_total(self) -> int:
        """Its items."""
        return sum(map(len, self.strata))


@dataclass(slots=True)
class MeanRun:
    """The tasks of a run that ends once their mean is known."""

    suite_run: RunningSuite
    half_width: float
    tasks: list[MeanTask]

    def add(self, loaded: LoadedTask) -> None:
        """Take a task in.

        Raises:
            TaskUnavailableError: its score is no mean of items between 0 and 1, or counts items twice.
            EngineError: the engine cannot ask it.
        """
        name, leaves = loaded.spec.task, loaded.leaves
        is_mean = all(leaf.is_share and leaf.is_mean(leaf.metric) for leaf in leaves)
        if not is_mean or len({(leaf.metric, leaf.filter) for leaf in leaves}) != 1:
            raise TaskUnavailableError(
                f"task `{name}`: its score is no mean of items between 0 and 1, so it is in no mean",
                hint="measure it without `--until-mean`",
            )
        known = {work.leaf.name: task.name for task in self.tasks for work in task.works}
        if twice := [leaf.name for leaf in leaves if leaf.name in known]:
            raise TaskUnavailableError(
                f"task `{name}`: the items of `{twice[0]}` are in the mean already, by `{known[twice[0]]}`",
                hint="measure one of the two without the other",
            )
        leaf_works = self.suite_run.leaf_works(loaded)
        of_leaves = [[q for work in repeats for q in work.questions] for repeats in leaf_works]
        questions = [question for some in of_leaves for question in some]
        if not all(of_leaves):
            raise TaskUnavailableError(f"task `{name}`: it has no items")
        run = TaskRun(self.suite_run, name, {}, len(questions))
        strata = [questions] if loaded.weight_by_size else of_leaves
        self.tasks.append(MeanTask(loaded, leaf_works, [run.in_draw_order(some) for some in strata]))

    def ask(self) -> None:
        """Ask until the mean is known, or the time is over, and score what was asked.

        Raises:
            EngineError, UnreachableError: the engine died; items already answered are kept.
        """
        draw: StrataDraw | None = None
        while self.tasks and draw is None:
            draw = self._drawn()
        if draw is not None:
            self._score(draw)

    @property
    def _strata(self) -> list[list[TaskQuestion]]:
        return [some for task in self.tasks for some in task.strata]

    def _drawn(self) -> StrataDraw | None:
        """What was drawn and answered; None: the engine cannot do one of the tasks, which is left out."""
        strata = self._strata
        weights = [1 / len(task.strata) / len(self.tasks) for task in self.tasks for _ in task.strata]
        seed = self.suite_run.job.settings.seed
        draw = StrataDraw(weights, [*map(len, strata)], self.half_width, seed)
        works = {work.leaf.name: work for task in self.tasks for work in task.works}
        name = f"mean of {counted(len(self.tasks), 'task')}"
        run = TaskRun(self.suite_run, name, works, sum(map(len, strata)))
        run.report(force=True, event="task")
        while block := draw.next_block():
            questions = [strata[one.stratum][one.place] for one in block]
            if not self._can_all(run, questions):
                return None
            run.ask(questions)
            if not run.has_all(questions):
                n_left = sum(run.has_all([question]) for question in questions)
                answers, are = counted(n_left, "answer"), agreeing(n_left, "is", "are")
                self.suite_run.warn(f"{name}: {answers} of an incomplete block {are} not scored")
                break
            draw.accept(block, [_answer(run, question) for question in questions])
            if draw.is_narrow:
                break
        run.report(force=True)
        return draw

    def _can_all(self, run: TaskRun, questions: Sequence[TaskQuestion]) -> bool:
        """Ask the first questions of each task by themselves; False: one was left out."""
        for task in self.tasks:
            if any(work.items for work in task.works):
                continue
            own = {work.leaf.name for work in task.works}
            try:
                run.ask([question for question in questions if question.leaf.name in own])
                self.suite_run.refuse_refused(task.loaded, task.works)
            except EngineError as error:
                self.suite_run.leave_out_unsupported(task.name, error)
                self.tasks.remove(task)
                return False
        return True

    def _score(self, draw: StrataDraw) -> None:
        strata = self._strata
        asked = [(one.stratum, strata[one.stratum][one.place]) for one in draw.drawn]
        ends = [*accumulate(len(task.strata) for task in self.tasks)]
        for task, end in zip(self.tasks, ends, strict=True):
            own = range(end - len(task.strata), end)
            questions = [question for stratum, question in asked if stratum in own]
            if not questions:
                self.suite_run.warn(f"task `{task.name}` was not started")
                continue
            found = draw.interval(own) if len(questions) < task.n_total else None
            stopping = None if found is None else GivenInterval(found, not task.loaded.weight_by_size)
            self.suite_run.score_asked(task.loaded, task.leaf_works, questions, stopping=stopping)
        if (mean := draw.interval()) is not None:
            self.suite_run.tally.suite_mean = SuiteMean(
                tasks=tuple(task.name for task in self.tasks),
                value=mean.value,
                ci_low=mean.low,
                ci_high=mean.high,
                n_items=sum(answer.value is not None for answer in draw.answers),
                n_total=sum(task.n_total for task in self.tasks),
                wanted_half_width=self.half_width,
            )


def _answer(run: TaskRun, question: TaskQuestion) -> DrawnAnswer:
    item = run.works[question.leaf.name].items[question.doc_id]
    return DrawnAnswer(None if item.is_unscored else item.score, item_cost(item))
