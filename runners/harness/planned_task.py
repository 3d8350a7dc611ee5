"""A task of a suite with its questions, before any of them is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runners.harness.leaf_work import LeafWork
from runners.harness.lm_tasks import LoadedTask
from runners.harness.questions import TaskQuestion
from runners.harness.task_run import TaskRun

if TYPE_CHECKING:
    from runners.harness.walk import RunningSuite


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task with its questions, and the items that are stored of it."""

    loaded: LoadedTask
    leaf_works: list[list[LeafWork]]

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.loaded.spec.task

    @property
    def works(self) -> list[LeafWork]:
        """The work of its leaves, one for each repeat."""
        return [work for repeats in self.leaf_works for work in repeats]

    @property
    def questions(self) -> list[TaskQuestion]:
        """All questions of its leaves."""
        return [question for work in self.works for question in work.questions]

    def run(self, suite_run: RunningSuite) -> TaskRun:
        """The task in progress."""
        works = {work.leaf.name: work for work in self.works}
        equal = self.loaded.is_mean_of_tasks
        return TaskRun(suite_run, self.name, works, len(self.questions), is_mean_of_tasks=equal)
