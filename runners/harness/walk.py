"""Run a suite on a loaded engine: reuse stored items, ask the missing ones, compute scores.

Covered: resume by anti-join on the fingerprint, time and precision budgets, unavailable tasks.
Not covered: starting and stopping the engine, and processes that are killed (see `worker` and the executor).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from runners.engines import Engine
from runners.harness.answer_order import longest_first
from runners.harness.answering import thinks
from runners.harness.events import Event
from runners.harness.leaf_work import LeafPlanner, LeafWork
from runners.harness.lm_tasks import (
    LoadedTask,
    TaskUnavailableError,
    load_task,
    repeat_name,
)
from runners.harness.mean_run import MeanRun
from runners.harness.paired_stopping import PairedTask
from runners.harness.planned_task import PlannedTask
from runners.harness.questions import TaskQuestion
from runners.harness.sample import SAMPLE_SEED, first_docs, sampled_docs
from runners.harness.scoring import (
    TASK_ERRORS,
    Ending,
    LeafItems,
    Stopping,
    cut_thinking,
    empty_answers,
    group_metrics,
    group_score,
    is_asked_once,
    is_share,
    leaf_metrics,
    leaf_score,
    looping_answers,
    marked_answers,
    pooled_repeats,
    refused_answers,
    repeat_metrics,
    unscored_items,
)
from runners.harness.storage import ItemSink, Storage
from runners.harness.task_run import TaskRun
from tracker.errors import EngineError, TrackerError, UnreachableError
from tracker.records import (
    Condition,
    Item,
    Job,
    PromptForm,
    RunRequest,
    Suite,
    Task,
    TaskMetric,
    TaskScore,
)
from tracker.records.paired import PairedOutcome, PairedReference
from tracker.records.shards import Share
from tracker.records.suite_means import SuiteMean
from tracker.stats import items_for_precision
from tracker.wording import counted

SECOND_STAGE = (
    "the second stage was not started: there was no time left to find out which tasks suit the model"
)


@dataclass(slots=True)
class Tally:
    """Totals of a run so far."""

    scores: list[TaskScore] = field(default_factory=list)
    metrics: list[TaskMetric] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # of these, tasks that the model itself cannot do
    n_items: int = 0
    n_reused_items: int = 0
    reused: Counter[str] = field(default_factory=Counter)  # items by the run that answered them
    against: list[PairedOutcome] = field(default_factory=list)
    suite_mean: SuiteMean | None = None
    prompts: dict[PromptForm, None] = field(default_factory=dict)  # an ordered set
    prompt_tokens: int = 0
    output_tokens: int = 0
    generated_tokens: int = 0
    generation_s: float = 0.0
    answering_s: float = 0.0
    ttfts_s: list[float] = field(default_factory=list)
    prefilled_tokens: int = 0  # this and the next: of a window that was shared with other suites
    energy_j: float | None = None

    def count(self, item: Item) -> None:
        """Add the cost of one newly answered item."""
        self.prompt_tokens += item.prompt_tokens
        self.output_tokens += item.output_tokens
        if item.finish_reason != "loglikelihood":
            self.generated_tokens += item.output_tokens
        if item.ttft_s is not None:
            self.ttfts_s.append(item.ttft_s)


@dataclass(frozen=True, slots=True)
class PreparedTask:
    """A suite's task with its data, or the error that makes it unavailable."""

    spec: Task
    loaded: LoadedTask | None = None
    error: TaskUnavailableError | None = None  # neither: a task with conditions, loaded once they hold


def prepare(suite: Suite, *, cache_path: Path) -> tuple[PreparedTask, ...]:
    """Load the suite's tasks with their data before the engine, which may take minutes to load.

    Tasks with conditions wait: their data may never be needed.
    """
    return tuple(
        PreparedTask(spec) if spec.when else _prepared(spec, suite, cache_path=cache_path)
        for spec in suite.tasks
    )


def _prepared(spec: Task, suite: Suite, *, cache_path: Path) -> PreparedTask:
    try:
        return PreparedTask(spec, load_task(spec, suite, cache_path=cache_path))
    except TaskUnavailableError as error:
        return PreparedTask(spec, error=error)


@dataclass(slots=True)
class RunningSuite:
    """One run in progress; `tally` holds its totals."""

    engine: Engine
    job: Job
    run: RunRequest
    tasks: Sequence[PreparedTask]
    emit: Callable[[Event], None]
    stopped: Callable[[], bool]  # whether a stop was requested
    deadline: float | None = None  # of time.monotonic()
    tally: Tally = field(default_factory=Tally)
    thinks: bool | None = None  # found out when a condition asks for it
    excluded: set[str] = field(default_factory=set)  # tasks none of whose conditions holds
    stage_left_out: bool = False  # whether the user was told that no task of the second stage was chosen
    share: Share | None = None  # what this worker of several asks in this round; None: everything
    scores_first: bool = False  # with a share: tasks without conditions have been asked, by all workers
    asks: bool = True  # whether missing answers are asked; False: scores are computed from what is there
    marks: dict[str, Counter[str]] = field(default_factory=dict)  # unknown ones in the answers of each leaf
    certain: dict[str, PlannedTask] = field(default_factory=dict)  # asked together with those of other suites
    fatal: BaseException | None = None  # which ended that
    storage: Storage = field(default_factory=Storage)
    leaves: LeafPlanner = field(init=False)

    def __post_init__(self) -> None:
        """Make the planner of the leaves."""
        self.leaves = LeafPlanner(self.engine, self.job, self.run, self.warn, self.storage)

    @property
    def sampling(self) -> dict[str, float] | None:
        """The model's own settings for written answers; None: no task has asked for them."""
        return self.leaves.sampling

    @property
    def items_path(self) -> Path:
        """Folder of all item files."""
        return Path(self.job.items_path)

    @property
    def out_of_time(self) -> bool:
        """Whether the time budget is spent."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def _has_other_workers(self) -> bool:
        """Whether others have answered too: then a task has answers although our time is up."""
        return self.job.shard is not None and self.share is None

    def sink(self) -> ItemSink:
        """Where new items are stored."""
        return ItemSink(self.storage, self.items_path, self.run.run_id, self.job.flush_s)

    def run_tasks(self) -> None:
        """Run every task of the suite; all items are stored when it returns.

        Raises:
            EngineError, UnreachableError: the engine died; items already answered are kept.
            OSError: an item could not be stored.
        """
        try:
            self._run_all()
        finally:
            self.storage.wait()

    def _run_all(self) -> None:
        if self.fatal is not None:
            self._finish_complete([*self.certain.values()])
            raise self.fatal
        if self.job.until_mean_half_width is not None:
            self._run_to_mean(self.job.until_mean_half_width)
            return
        together: list[LoadedTask] = []
        for spec, task in ((task.spec, task) for task in self.tasks):
            if not self._joins(task, together):
                self._run_together(together)
                together = []
            is_over = self.stopped() or (self.out_of_time and not self._has_other_workers)
            if is_over and not self._is_begun(self.certain.get(spec.task)):
                self._leave_out(spec)
                continue
            if not self._is_wanted(spec):
                self.excluded.add(spec.task)
                continue
            ready = task if task.loaded or task.error else self._loaded_late(spec)
            if ready.loaded is None:
                self._unavailable(spec.task, ready.error)
            elif self._may_join(ready.loaded, together):
                together.append(ready.loaded)
            else:
                self._run_together(together)
                self._run_together([ready.loaded])
                together = []
        self._run_together(together)

    def _loaded_late(self, spec: Task) -> PreparedTask:
        """A task whose conditions hold, with its data."""
        return _prepared(spec, self.run.suite, cache_path=self.items_path.parent / "cache")

    @staticmethod
    def _joins(task: PreparedTask, together: Sequence[LoadedTask]) -> bool:
        """Whether it can be known now if the task is wanted: no condition asks for a score of these."""
        names = {loaded.spec.task for loaded in together}
        return not any(condition.task in names for condition in task.spec.when)

    def _may_join(self, loaded: LoadedTask, together: Sequence[LoadedTask]) -> bool:
        """Whether a task may be asked in one stream with others.

        Answers must be written, by an engine that begins them in order. Under a stopping rule each task
        ends by itself.
        """
        if not getattr(self.engine, "begins_in_order", False) or self.job.shard is not None:
            return False
        if self.job.reference is not None or self.job.until_half_width is not None:
            return False
        taken = {leaf.name for other in together for leaf in other.leaves}
        return all(
            leaf.is_written and leaf.episode is None and leaf.name not in taken for leaf in loaded.leaves
        )

    def _run_together(self, tasks: Sequence[LoadedTask]) -> None:
        """Ask tasks in one stream, so that the tail of one is filled by the next, and score each.

        Raises:
            EngineError, UnreachableError: the engine died; items already answered are kept.
        """
        planned: list[PlannedTask] = []
        for loaded in tasks:
            try:
                known = self.certain.get(loaded.spec.task)
                planned.append(known or PlannedTask(loaded, self.leaf_works(loaded)))
            except (TaskUnavailableError, EngineError) as error:
                self.leave_out_unsupported(loaded.spec.task, error)
        try:
            self._ask_together(planned)
        except (EngineError, UnreachableError):
            self._finish_complete(planned)
            raise
        for task in planned:
            if len(tasks) > 1 and not self._is_begun(task) and (self.stopped() or self.out_of_time):
                self._leave_out(task.loaded.spec)
            else:
                self._finish(task)

    def _ask_together(self, planned: Sequence[PlannedTask]) -> None:
        """Ask the questions of several tasks: longest answers first, or in their order if time may run out.

        What one of them cannot do ends this, and each is then asked by itself.
        """
        if len(planned) < 2 or any(len(q.requests) != 1 for task in planned for q in task.questions):
            return
        works = {work.leaf.name: work for task in planned for work in task.works}
        n_total = sum(len(task.questions) for task in planned)
        run = TaskRun(self, counted(len(planned), "task"), works, n_total)
        questions = self._in_order(planned)
        if self.deadline is None:
            questions = self.longest_first(questions)
        run.report(force=True, event="task")
        try:
            run.ask(questions)
        except TaskUnavailableError:
            return
        except EngineError as error:
            if error.reason != "unsupported":
                raise
        finally:
            run.report(force=True)

    @staticmethod
    def _is_begun(task: PlannedTask | None) -> bool:
        return task is not None and any(work.items for work in task.works)

    def _finish_complete(self, planned: Sequence[PlannedTask]) -> None:
        """Score those that have all their answers."""
        for task in planned:
            if task.run(self).has_all(task.questions):
                self._finish(task)

    def plan_certain(self, *, taken: Collection[str]) -> list[PlannedTask]:
        """Plan the tasks with written answers that are asked whatever others score, and remember them.

        Not those of which another run asks items, by their fingerprints in `taken`. Where time may run out,
        the order of the tasks matters: then only those before the first that is not certain.
        """
        if self.job.until_mean_half_width is not None:
            return []
        for task in self.tasks:
            if (planned := self._planned_certain(task.loaded, taken=taken)) is not None:
                self.certain[planned.name] = planned
            elif self.deadline is not None:
                break
        return [*self.certain.values()]

    def _planned_certain(self, loaded: LoadedTask | None, *, taken: Collection[str]) -> PlannedTask | None:
        if loaded is None or not self._may_join(loaded, [one.loaded for one in self.certain.values()]):
            return None
        with suppress(TaskUnavailableError, EngineError):  # its turn tells
            planned = PlannedTask(loaded, self.leaf_works(loaded))
            is_single = all(len(question.requests) == 1 for question in planned.questions)
            if is_single and not any(work.fingerprint in taken for work in planned.works):
                return planned
        return None

    @property
    def is_wholly_certain(self) -> bool:
        """Whether every task of the suite is asked together with those of other suites."""
        return len(self.certain) == len(self.tasks)

    def certain_questions(self) -> list[TaskQuestion]:
        """The questions of the tasks that are asked together with those of other suites, task by task."""
        return self._in_order([*self.certain.values()])

    def _in_order(self, planned: Sequence[PlannedTask]) -> list[TaskQuestion]:
        """The questions task by task; where time may run out, those of each in random order."""
        found: list[TaskQuestion] = []
        for task in planned:
            found += task.questions if self.deadline is None else task.run(self).in_draw_order(task.questions)
        return found

    def longest_first(self, questions: Sequence[TaskQuestion]) -> list[TaskQuestion]:
        """The questions in the order that leaves the engine idle least, if it begins them in order."""
        if not getattr(self.engine, "begins_in_order", False):
            return list(questions)
        return longest_first(questions, self.job.expected_tokens)

    def _finish(self, task: PlannedTask) -> None:
        try:
            self._task(task)
        except (TaskUnavailableError, EngineError) as error:
            self.leave_out_unsupported(task.name, error)

    def _is_wanted(self, spec: Task) -> bool:
        """Whether the task has no condition, or one of them holds."""
        scores = self._scores()
        return not spec.when or any(
            _covers(condition, scores)
            and (condition.thinking is None or condition.thinking is self._model_thinks())
            for condition in spec.when
        )

    def _scores(self) -> dict[str, float]:
        return {score.task: score.value for score in self.tally.scores if score.group is None}

    def _leave_out(self, spec: Task) -> None:
        """Warn that there was no time for the task, unless its conditions exclude it.

        Whether the model thinks is not asked any more: if that decides, one warning is for the whole stage.
        """
        scores = self._scores()
        known = self.job.settings.thinking if self.thinks is None else self.thinks
        covering = [one for one in spec.when if _covers(one, scores)]
        never = self.excluded | set(self.tally.unavailable)
        if not spec.when or any(one.thinking in (None, known) for one in covering):
            self.warn(f"task `{spec.task}` was not started")
        elif (covering and known is None) or any(one.task not in scores.keys() | never for one in spec.when):
            if not self.stage_left_out:
                self.warn(SECOND_STAGE)
            self.stage_left_out = True
        else:
            self.excluded.add(spec.task)

    def _model_thinks(self) -> bool:
        """Whether the model thinks before it answers: as the settings say, else as it answers a question."""
        if self.thinks is None:
            asked = self.job.settings.thinking
            self.thinks = thinks(self.engine) if asked is None else asked
        return self.thinks

    def _unavailable(self, task: str, error: TrackerError | None) -> None:
        message = f"{error} ({error.hint})" if error and error.hint else str(error)
        self.tally.unavailable.append(task)
        if isinstance(error, EngineError):
            self.tally.refused.append(task)
        self.tally.warnings.append(message)
        self.emit(Event("unavailable", self.run.run_id, task, message=message))

    def _task(self, planned: PlannedTask) -> None:
        """Ask what is missing of one task, and score it."""
        loaded, leaf_works, works = planned.loaded, planned.leaf_works, planned.works
        questions, task_run = planned.questions, planned.run(self)
        # Also where only a sample of them is asked: the score stands for all items of the task.
        population = sum(leaf.n_docs for leaf in loaded.leaves)
        if self.share is not None:
            self.asks = True
            if self.job.until_half_width is None or not self.scores_first or loaded.spec.when:
                task_run.ask_share(questions, self.share, n_population=population)
            if loaded.spec.when or not self.scores_first:
                return
            self.asks = False  # the score decides which tasks follow
        if self._has_other_workers:
            self._count_own(works)
            if self.out_of_time and not any(work.items for work in works):
                self._leave_out(loaded.spec)
                return
        task_run.report(force=True, event="task")
        stopping: Ending | None = None
        target = self.job.until_half_width
        if self.job.reference is not None:
            questions = self._ask_against(self.job.reference, task_run, works)
            values = task_run.values(questions)
            stopping = Stopping(values, population, None, by_difference=True) if values else None
        elif self.deadline is None and target is None:
            task_run.ask(self.longest_first(questions))
        else:
            n_asked = len(questions)
            questions = self._ask_until_spent(task_run, questions, population)
            # Answers to the same question are no random draw: their scores' intervals have clusters.
            is_repeated = any(len(repeats) > 1 for repeats in leaf_works)
            if len(questions) < n_asked and not is_repeated:
                target = None if self.out_of_time else target
                stopping = task_run.ending(questions, target, n_total=population)
        task_run.report(force=True)
        self.refuse_refused(loaded, works)
        self.score_asked(loaded, leaf_works, questions, stopping=stopping)

    def leaf_works(self, loaded: LoadedTask) -> list[list[LeafWork]]:
        """The work of each leaf, once for each repeat."""
        docs = wanted_docs(self.job, self.run.suite, loaded)
        self.leaves.look_for_stored()
        return [self.leaves.repeated_work(leaf, docs[leaf.name] if docs else None) for leaf in loaded.leaves]

    def score_asked(
        self,
        loaded: LoadedTask,
        leaf_works: Sequence[Sequence[LeafWork]],
        questions: Sequence[TaskQuestion],
        *,
        stopping: Ending | None,
    ) -> None:
        """Count and score the items of these questions."""
        of_leaf: dict[int, list[TaskQuestion]] = {}
        for question in questions:
            of_leaf.setdefault(id(question.leaf), []).append(question)
        works = [work for repeats in leaf_works for work in repeats if id(work.leaf) in of_leaf]
        found = [(work, work.part(of_leaf[id(work.leaf)])) for work in works]
        works = [work for work, part in found if part.items]
        parts = [part for _, part in found if part.items]
        self.tally.n_items += sum(len(part.items) for part in parts)
        self.tally.n_reused_items += sum(part.n_reused_items for part in parts)
        for work, part in zip(works, parts, strict=True):
            self.tally.prompts[work.form] = None
            self.tally.reused.update(work.reused[doc] for doc in part.items if doc in work.reused)
        refusals = getattr(self.engine, "refusals", ())
        if unscored := unscored_items(parts, task=loaded.spec.task, refusals=refusals):
            self.warn(unscored)
        if scored := [part.scored for part in parts if part.scored.items]:
            self._score(loaded, _by_leaf(scored, leaf_works), stopping=stopping)

    def _ask_until_spent(
        self, task_run: TaskRun, questions: Sequence[TaskQuestion], population: int
    ) -> list[TaskQuestion]:
        """Ask until the time is up or the score of the whole task is as precise as was asked for."""
        target = self.job.until_half_width
        if target is None:
            return task_run.ask_until_spent(questions)
        return task_run.ask_until_spent(
            questions,
            is_enough=partial(_is_precise, task_run, target, population),
            n_likely=items_for_precision(target, n_total=population),
        )

    def _run_to_mean(self, half_width: float) -> None:
        """Ask all tasks in turn until the mean of their scores is known that well."""
        run = MeanRun(self, half_width, [])
        for task in self.tasks:
            if task.loaded is None:
                self._unavailable(task.spec.task, task.error)
                continue
            try:
                run.add(task.loaded)
            except (TaskUnavailableError, EngineError) as error:
                self.leave_out_unsupported(task.spec.task, error)
        run.ask()

    def leave_out_unsupported(self, task: str, error: TaskUnavailableError | EngineError) -> None:
        """Leave out a task that cannot be asked.

        Raises:
            EngineError: the engine died.
        """
        if isinstance(error, EngineError) and error.reason != "unsupported":
            raise error
        self._unavailable(task, error)

    def _count_own(self, works: Sequence[LeafWork]) -> None:
        """Count what the workers of this run have answered."""
        for work in works:
            for doc, item in work.items.items():
                if doc not in work.reused:
                    self.tally.count(item)

    def _ask_against(
        self, reference: PairedReference, task_run: TaskRun, works: Sequence[LeafWork]
    ) -> list[TaskQuestion]:
        """Ask what the reference has answered until the two differ significantly; returns these questions.

        Raises:
            TaskUnavailableError: the reference has answered none, or items share a context.
        """
        suite, task = self.run.suite.name, task_run.task
        paired = PairedTask.of(task, works, reference, suite=suite, items_path=self.items_path)
        drawn = task_run.ask_until_spent(paired.questions, is_enough=paired.is_told_apart)
        if (outcome := paired.outcome(drawn)) is not None:
            self.tally.against.append(outcome)
        return drawn

    def refuse_refused(self, loaded: LoadedTask, works: Sequence[LeafWork]) -> None:
        """Give up a task of which the server refused every request.

        Raises:
            EngineError: it did.
        """
        items = [item for work in works for item in work.items.values()]
        if items and all(item.refused for item in items):
            why = next(iter(getattr(self.engine, "refusals", ())[-1:]), "without a reason")
            raise EngineError(
                f"task `{loaded.spec.task}`: every request was refused: {why}", reason="unsupported"
            )

    def _score(
        self, loaded: LoadedTask, repeats: Sequence[Sequence[LeafItems]], *, stopping: Ending | None
    ) -> None:
        """Score the task from its leaves, each given by the items of its repeats."""
        asked = [one for some in repeats for one in some]
        parts = [pooled_repeats(some) for some in repeats]
        scores = self._scores_of(loaded, parts, stopping=stopping)
        for some in repeats:
            scores += self._scores_of_repeats(loaded, some)
        self.tally.scores += scores
        headlines = {(score.task, score.metric, score.filter) for score in scores}
        metrics = [metric for part in parts for metric in leaf_metrics(part, warn=self.warn)]
        for part, some in zip(parts, repeats, strict=True):
            with suppress(*TASK_ERRORS):  # the metrics of all repeats have told why
                metrics += repeat_metrics(part, some) if len(some) > 1 else []
        if loaded.is_group:
            metrics = [*group_metrics(loaded.spec.task, metrics, rules=loaded.rules), *metrics]
        self.tally.metrics += [
            replace(metric, is_headline=(metric.task, metric.metric, metric.filter) in headlines)
            for metric in metrics
        ]
        refusals = getattr(self.engine, "refusals", ())
        for part in parts:
            for problem in (
                empty_answers(part),
                cut_thinking(part, budget=part.leaf.max_output_tokens),
                looping_answers(part),
                refused_answers(part, refusals=refusals),
            ):
                if problem:
                    self.warn(problem)
        hidden: Counter[str] = sum((self.marks.get(one.leaf.name, Counter()) for one in asked), Counter())
        if marked := marked_answers(loaded.spec.task, parts, hidden=hidden):
            self.warn(marked)
        for difference in getattr(self.engine, "differences", ()):
            if difference not in self.tally.warnings:
                self.warn(difference)

    def note_marks(self, leaf: str | None) -> None:
        """Note the unknown marks that the engine has seen since the last time as those of a leaf's answer."""
        seen: Counter[str] | None = getattr(self.engine, "unknown_marks", None)
        if seen:
            if leaf is not None:
                self.marks.setdefault(leaf, Counter()).update(seen)
            seen.clear()

    def _scores_of_repeats(self, loaded: LoadedTask, repeats: Sequence[LeafItems]) -> list[TaskScore]:
        """The score of each repeat of a task, as parts of its own."""
        if is_asked_once(repeats) or not all(map(is_share, repeats)):
            return []
        found = []
        for part in repeats:
            leaf = part.leaf
            name = repeat_name(leaf.base_name, 1) if leaf.name == leaf.base_name else leaf.name
            with suppress(*TASK_ERRORS):  # the score of all repeats has told why
                score = leaf_score(part)
                found.append(replace(score, task=name, group=score.group or loaded.spec.task))
        return found

    def _scores_of(
        self, loaded: LoadedTask, parts: Sequence[LeafItems], *, stopping: Ending | None
    ) -> list[TaskScore]:
        """The score of the group, if its tasks share one metric, and of each task whose metric is a share."""
        shares = [part for part in parts if is_share(part)]
        of_leaves: dict[int, TaskScore] = {}

        def score_of(part: LeafItems) -> TaskScore:
            if id(part) not in of_leaves:
                of_leaves[id(part)] = leaf_score(part)
            return of_leaves[id(part)]

        compute: list[Callable[[], TaskScore]] = []
        if loaded.is_group:
            if len(shares) == len(parts) and len({(p.leaf.metric, p.leaf.filter) for p in parts}) == 1:
                name, weighted = loaded.spec.task, loaded.weight_by_size
                compute.append(
                    lambda: group_score(
                        name, parts, weight_by_size=weighted, stopping=stopping, score_of=score_of
                    )
                )
            compute += [partial(score_of, part) for part in shares]
        else:
            compute += [partial(leaf_score, part, stopping=stopping) for part in shares]
        found = []
        for score in compute:
            try:
                found.append(score())
            except TASK_ERRORS as error:
                self.warn(f"task `{loaded.spec.task}`: no score could be computed: {error}")
        return found

    def warn(self, message: str) -> None:
        """Record the warning with the run and report it at once."""
        self.tally.warnings.append(message)
        self.emit(Event("warning", self.run.run_id, message=message))


def wanted_docs(job: Job, suite: Suite, loaded: LoadedTask) -> dict[str, tuple[int, ...]] | None:
    """The documents to ask of each leaf; None: all of them."""
    limit = job.limit or suite.sample
    if limit is None:
        return None
    sizes = {leaf.name: leaf.n_docs for leaf in loaded.leaves}
    seed = job.sample_seed if job.limit else SAMPLE_SEED
    if seed is None:
        return first_docs(sizes, n=limit)
    return sampled_docs(sizes, n=limit, seed=seed)


def _is_precise(task_run: TaskRun, target: float, population: int, questions: Sequence[TaskQuestion]) -> bool:
    """Whether the score on these is known to the half width that was asked for."""
    return task_run.is_precise(questions, target, n_total=population)


def _by_leaf(parts: Sequence[LeafItems], leaf_works: Sequence[Sequence[LeafWork]]) -> list[list[LeafItems]]:
    """The parts of each leaf's repeats together."""
    grouped = (
        [part for part in parts if any(part.leaf is work.leaf for work in some)] for some in leaf_works
    )
    return [some for some in grouped if some]


def _covers(condition: Condition, scores: Mapping[str, float]) -> bool:
    """Whether the score of the condition's task is in its range, whatever it says about thinking."""
    return condition.task in scores and condition.covers(scores[condition.task])
