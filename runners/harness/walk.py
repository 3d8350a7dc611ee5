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
from typing import Any, Literal, cast

import numpy as np

from runners.engines import (
    ContinuationRequest,
    Engine,
    GenerationRequest,
    engine_spec,
    engine_specs,
    is_served,
    runs_remote_code,
)
from runners.harness.answering import ItemSink, answer, thinks
from runners.harness.events import Event
from runners.harness.lm_tasks import (
    NEUTRAL,
    TASK_ERRORS,
    LeafTask,
    LoadedTask,
    TaskUnavailableError,
    load_task,
    repeat_name,
)
from runners.harness.questions import TaskQuestion
from runners.harness.sample import SAMPLE_SEED, first_docs, sampled_docs
from runners.harness.sampling import is_sampled, model_sampling, resampled
from runners.harness.scoring import (
    LeafItems,
    Stopping,
    cut_thinking,
    empty_answers,
    group_metrics,
    group_score,
    is_asked_once,
    is_share,
    item_score,
    leaf_metrics,
    leaf_score,
    looping_answers,
    marked_answers,
    pooled_repeats,
    refused_answers,
    repeat_metrics,
    unscored_items,
)
from runners.harness.trust import TRUSTED_FOR, outdated_runs
from tracker.errors import EngineError, TrackerError
from tracker.files.items import read_items, stored_parts, write_fingerprint
from tracker.installation import installed_version
from tracker.records import (
    Condition,
    Item,
    Job,
    PromptForm,
    RepetitionLimits,
    RunRequest,
    Suite,
    Task,
    TaskMetric,
    TaskScore,
    fingerprint,
)
from tracker.serialization import dump
from tracker.stats import anytime_interval
from tracker.wording import agreeing, counted

HARNESS_VERSION = "1"  # raised when the harness changes the content of items
PROGRESS_S = 0.5
# If a budget may end a task, questions are drawn at random and asked in blocks: within a block an engine
# chooses the order (shortest first, by prompt), so only complete blocks are a fair sample. Blocks grow, so
# that a short budget loses little and a large card stays busy.
BLOCKS = (4, 256)  # the first and the largest
LEAST_THINKING_TOKENS = 4_096  # thinking rarely ends in fewer; IFEval leaves 1,280, lm-eval's default is 256
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
    prompts: dict[PromptForm, None] = field(default_factory=dict)  # an ordered set
    prompt_tokens: int = 0
    output_tokens: int = 0
    generated_tokens: int = 0
    generation_s: float = 0.0
    answering_s: float = 0.0
    ttfts_s: list[float] = field(default_factory=list)

    def count(self, item: Item) -> None:
        """Add the cost of one newly answered item."""
        self.prompt_tokens += item.prompt_tokens
        self.output_tokens += item.output_tokens
        if item.finish_reason != "loglikelihood":
            self.generated_tokens += item.output_tokens
        if item.ttft_s is not None:
            self.ttfts_s.append(item.ttft_s)


@dataclass(slots=True)
class LeafWork:
    """One leaf task with its questions and its items so far."""

    leaf: LeafTask
    fingerprint: str
    questions: list[TaskQuestion]
    items: dict[int, Item]
    reused: dict[int, str]  # doc_id → the run that answered it
    form: PromptForm

    def part(self, asked: Sequence[TaskQuestion]) -> LeafItems:
        """The items of these questions, in their order, from which the score is computed."""
        items = {
            q.doc_id: self.items[q.doc_id] for q in asked if q.leaf is self.leaf and q.doc_id in self.items
        }
        return LeafItems(self.leaf, self.fingerprint, items, len(self.reused.keys() & items.keys()))


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
    sampling: dict[str, float] | None = None  # of the model, read when a task asks for it
    excluded: set[str] = field(default_factory=set)  # tasks none of whose conditions holds
    is_thinking_off: bool = False  # in some task, and the user was told
    stage_left_out: bool = False  # whether the user was told that no task of the second stage was chosen

    @property
    def items_path(self) -> Path:
        """Folder of all item files."""
        return Path(self.job.items_path)

    @property
    def out_of_time(self) -> bool:
        """Whether the time budget is spent."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def run_tasks(self) -> None:
        """Run every task of the suite.

        Raises:
            EngineError, UnreachableError: the engine died; items already answered are kept.
        """
        for task in self.tasks:
            if self.stopped() or self.out_of_time:
                self._leave_out(task.spec)
                continue
            if not self._is_wanted(task.spec):
                self.excluded.add(task.spec.task)
                continue
            self._run_task(task if task.loaded or task.error else self._loaded_late(task.spec))

    def _loaded_late(self, spec: Task) -> PreparedTask:
        """A task whose conditions hold, with its data."""
        return _prepared(spec, self.run.suite, cache_path=self.items_path.parent / "cache")

    def _run_task(self, task: PreparedTask) -> None:
        if task.loaded is None:
            self._unavailable(task.spec.task, task.error)
            return
        try:
            self.task(task.loaded)
        except TaskUnavailableError as error:
            self._unavailable(task.spec.task, error)
        except EngineError as error:
            if error.reason != "unsupported":
                raise
            self._unavailable(task.spec.task, error)

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

    def task(self, loaded: LoadedTask) -> None:
        """Answer and score one task."""
        self._unknown_marks().clear()
        docs = self._docs(loaded)
        leaf_works = [self._repeated_work(leaf, docs[leaf.name] if docs else None) for leaf in loaded.leaves]
        works = [work for repeats in leaf_works for work in repeats]
        questions = [question for work in works for question in work.questions]
        task_run = _TaskRun(self, loaded.spec.task, {work.leaf.name: work for work in works}, len(questions))
        task_run.report(force=True, event="task")
        stopping: Stopping | None = None
        if self.deadline is None and self.job.until_half_width is None:
            task_run.ask(questions)
        else:
            # Also where only a sample of them is asked: the score stands for all items of the task.
            population = sum(leaf.n_docs for leaf in loaded.leaves)
            n_asked = len(questions)
            questions = self._drawn(task_run, questions, n_total=population)
            # Answers to the same question are no random draw: their scores' intervals have clusters.
            is_repeated = any(len(repeats) > 1 for repeats in leaf_works)
            if len(questions) < n_asked and not is_repeated:
                target = None if self.out_of_time else self.job.until_half_width
                stopping = Stopping(task_run.values(questions), population, target)
        task_run.report(force=True)
        self._refuse_refused(loaded, works)
        works = [work for work in works if work.part(questions).items]
        parts = [work.part(questions) for work in works]
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

    def _refuse_refused(self, loaded: LoadedTask, works: Sequence[LeafWork]) -> None:
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

    def _docs(self, loaded: LoadedTask) -> dict[str, tuple[int, ...]] | None:
        """The documents to ask of each leaf; None: all of them."""
        limit = self.job.limit or self.run.suite.sample
        if limit is None:
            return None
        sizes = {leaf.name: leaf.n_docs for leaf in loaded.leaves}
        seed = self.job.sample_seed if self.job.limit else SAMPLE_SEED
        if seed is None:
            return first_docs(sizes, n=limit)
        return sampled_docs(sizes, n=limit, seed=seed)

    def _drawn(
        self, task_run: _TaskRun, questions: Sequence[TaskQuestion], *, n_total: int
    ) -> list[TaskQuestion]:
        """Ask in random order until a budget is spent; returns the first of them that all have an answer.

        All that are answered by then would be no fair sample, since they lack the long answers. An engine
        that begins in order gets all questions at once where only time is short, so that it never waits for
        the last answers of a block. Of another one, whole blocks count: it may sort what it is given.

        `n_total`: items of the task, of which these may be a sample.
        """
        order = np.random.default_rng(self.job.settings.seed).permutation(len(questions))
        target = self.job.until_half_width
        in_order = target is None and self._answers_in_order(questions)
        drawn: list[TaskQuestion] = []
        size = len(order) if in_order else BLOCKS[0]
        while len(drawn) < len(order):
            block = [questions[n] for n in order[len(drawn) : len(drawn) + size]]
            size = min(2 * size, BLOCKS[1])
            task_run.ask(block)
            have_all = [task_run.has_all([question]) for question in block]
            if not all(have_all):
                n_first = have_all.index(False) if in_order else 0
                drawn += block[:n_first]
                n_left = sum(have_all) - n_first
                answers, are = counted(n_left, "answer"), agreeing(n_left, "is", "are")
                behind = "behind the first missing one" if in_order else "of an incomplete block"
                self.warn(f"task `{task_run.task}`: {answers} {behind} {are} not scored")
                break
            drawn += block
            if target is not None and task_run.half_width(drawn, n_total=n_total) <= target:
                break
        return drawn

    def _answers_in_order(self, questions: Sequence[TaskQuestion]) -> bool:
        """Whether the engine begins the answers to these in the order in which they are given."""
        are_texts = all(isinstance(one, GenerationRequest) for each in questions for one in each.requests)
        return are_texts and getattr(self.engine, "begins_in_order", False)

    def _score(
        self, loaded: LoadedTask, repeats: Sequence[Sequence[LeafItems]], *, stopping: Stopping | None
    ) -> None:
        """Score the task from its leaves, each given by the items of its repeats."""
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
        if marked := marked_answers(loaded.spec.task, parts, hidden=self._unknown_marks()):
            self.warn(marked)
        for difference in getattr(self.engine, "differences", ()):
            if difference not in self.tally.warnings:
                self.warn(difference)

    def _unknown_marks(self) -> Counter[str]:
        """The marks that the engine noticed since the task began."""
        marks: Counter[str] | None = getattr(self.engine, "unknown_marks", None)
        return Counter() if marks is None else marks

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
        self, loaded: LoadedTask, parts: Sequence[LeafItems], *, stopping: Stopping | None
    ) -> list[TaskScore]:
        """The score of the group, if its tasks share one metric, and of each task whose metric is a share."""
        shares = [part for part in parts if is_share(part)]
        compute: list[Callable[[], TaskScore]] = []
        if loaded.is_group:
            if len(shares) == len(parts) and len({(p.leaf.metric, p.leaf.filter) for p in parts}) == 1:
                name, weighted = loaded.spec.task, loaded.weight_by_size
                compute.append(lambda: group_score(name, parts, weight_by_size=weighted, stopping=stopping))
            compute += [partial(leaf_score, part) for part in shares]
        else:
            compute += [partial(leaf_score, part, stopping=stopping) for part in shares]
        found = []
        for score in compute:
            try:
                found.append(score())
            except TASK_ERRORS as error:
                self.warn(f"no score could be computed: {error}")
        return found

    def _repeated_work(self, leaf: LeafTask, docs: tuple[int, ...] | None) -> list[LeafWork]:
        """The work of a leaf, once for each repeat; greedy answers and choices are asked once."""
        first = self._work(leaf, docs)
        n_repeats = self.run.suite.repeats
        if n_repeats == 1 or not leaf.is_written or not first.questions:
            return [first]
        if not is_sampled(first.questions):
            self.warn(
                f"task `{leaf.name}`: its answers are greedy, so each question is asked once, not {n_repeats}"
                " times; `--sampling model` samples them"
            )
            return [first]
        return [first, *(self._work(leaf.repeated(n), docs, repeat=n) for n in range(1, n_repeats))]

    def _can_think(self, leaf: LeafTask, *, chat: bool) -> bool:
        """Whether to leave thinking to the template: not where a small budget cannot hold it.

        What the user asked for, thinking or a budget, is not changed.
        """
        budget = leaf.max_output_tokens
        is_asked_for = self.job.settings.thinking is not None or self.run.max_output_tokens is not None
        if not chat or is_asked_for or budget is None or budget >= LEAST_THINKING_TOKENS:
            return True
        if not getattr(self.engine, "can_stop_thinking", False):
            return True
        if not self.is_thinking_off:
            self.is_thinking_off = True
            self.warn(
                f"thinking is switched off where an answer may have fewer than {LEAST_THINKING_TOKENS:,}"
                f" tokens, as in task `{leaf.name}` ({budget:,}); `--thinking` leaves it on"
            )
        return False

    def _sampling_values(self) -> dict[str, float] | None:
        """The settings for written answers; None: those of the task."""
        mode = self.run.suite.sampling
        if mode == "model" and self.sampling is None:
            self.sampling = model_sampling(self.job.model, self.engine)
        return {"temperature": 0.0} if mode == "greedy" else self.sampling

    def _work(self, leaf: LeafTask, docs: tuple[int, ...] | None, *, repeat: int = 0) -> LeafWork:
        suite, job = self.run.suite, self.job
        chat = (suite.chat and leaf.is_written) if leaf.chat is None else leaf.chat
        chat = chat and not leaf.is_text
        if chat and self.engine.info.chat_template_hash is None:
            self.warn(
                f"task `{leaf.name}`: the model has no chat template, so prompts are sent as plain text"
            )
            chat = False
        can_think = self._can_think(leaf, chat=chat)
        parts = {
            "model_id": job.model.model_id,
            "revision": job.model.revision,
            "quantization": job.model.quantization,
            "engine": dump(self.engine.info),
            "seed": job.settings.seed,
            "thinking": job.settings.thinking if can_think else False,
            "tensor_parallel_size": job.settings.tensor_parallel_size,
            "task": leaf.identity,
            "chat": chat,
            "lm_eval": installed_version("lm_eval", extra="cpu"),
            "harness": HARNESS_VERSION,
        }
        if job.settings.head_dtype != "auto":
            parts["head_dtype"] = job.settings.head_dtype
        if leaf.has_texts and job.settings.repetition_detection is not None:
            parts["repetition_detection"] = dump(RepetitionLimits.parse(job.settings.repetition_detection))
        values = self._sampling_values() if leaf.has_texts else None
        if values is not None:
            parts["sampling"] = values
        if repeat:
            parts["repeat"] = repeat
        if runs_remote_code(job.model, job.settings):  # of this repository, at this commit
            parts["remote_code"] = job.model.revision
        key = fingerprint(parts)
        write_fingerprint(self.items_path, self.run.run_id, key, parts)
        skipped: list[str] = []
        runs: dict[int, str] = {}
        stored = read_items(stored_parts(self.items_path, key), skipped=skipped, runs=runs)
        for name in skipped:
            self.warn(f"chunk `{name}` is unreadable, so its items are asked again")
        chat_prompt = (
            self.engine.chat_prompt
            if can_think
            else partial(cast(Any, self.engine).chat_prompt, thinking=False)
        )
        questions = leaf.questions(docs=docs, chat_prompt=chat_prompt if chat else None)
        if chat and is_served(job.settings.engine) and any(map(_is_scored, questions)):
            raise TaskUnavailableError(
                f"task `{leaf.name}`: a server cannot score choices or continuations through a chat template",
                hint="--no-chat, or `--engine vllm` or `--engine transformers`",
            )
        questions = resampled(questions, values, seed=job.settings.seed, repeat=repeat)
        known = {*engine_spec(job.settings.engine).sampling, *getattr(self.engine, "more_sampling", ())}
        _require_sampling(leaf.name, questions, engine=job.settings.engine, known=known, values=values)
        items = {
            q.doc_id: _scored_anew(stored[q.doc_id], leaf)
            for q in questions
            if q.doc_id in stored and _answers(stored[q.doc_id], q) and not stored[q.doc_id].refused
        }
        items = self._trusted(leaf, items, runs)
        form = PromptForm(leaf.group or leaf.name, chat, leaf.has_system)
        return LeafWork(leaf, key, questions, items, {doc: runs[doc] for doc in items}, form)

    def _trusted(self, leaf: LeafTask, items: dict[int, Item], runs: Mapping[int, str]) -> dict[int, Item]:
        """The stored items that count again: all, or if nothing identifies the weights, the recent ones."""
        if getattr(self.engine, "is_pinned", True):
            return items
        outdated = outdated_runs({runs[doc] for doc in items}, self.items_path)
        kept = {doc: item for doc, item in items.items() if runs[doc] not in outdated}
        if n_old := len(items) - len(kept):
            stored = f"{counted(n_old, 'stored answer')} {agreeing(n_old, 'is', 'are')}"
            self.warn(
                f"task `{leaf.name}`: {stored} older than {TRUSTED_FOR.days} days and asked again,"
                " since the server does not tell whether its weights changed"
            )
        return kept

    def warn(self, message: str) -> None:
        """Record the warning with the run and report it at once."""
        self.tally.warnings.append(message)
        self.emit(Event("warning", self.run.run_id, message=message))


def _by_leaf(parts: Sequence[LeafItems], leaf_works: Sequence[Sequence[LeafWork]]) -> list[list[LeafItems]]:
    """The parts of each leaf's repeats together."""
    grouped = (
        [part for part in parts if any(part.leaf is work.leaf for work in some)] for some in leaf_works
    )
    return [some for some in grouped if some]


def _is_scored(question: TaskQuestion) -> bool:
    return any(isinstance(request, ContinuationRequest) for request in question.requests)


def _require_sampling(
    task: str,
    questions: Sequence[TaskQuestion],
    *,
    engine: str,
    known: Collection[str],
    values: Mapping[str, Any] | None,
) -> None:
    """Check that the engine supports every sampling setting of the task's requests: those `known`.

    `values`: the settings that replace the task's own.

    Raises:
        TaskUnavailableError: it does not; the setting is named.
    """
    asked = {
        key: value
        for question in questions
        for request in question.requests
        if isinstance(request, GenerationRequest)
        for key, value in request.sampling.items()
        if value not in NEUTRAL.get(key, ())
    }
    for key in sorted(asked.keys() - set(known)):
        is_own = key in (values or ())
        others = [spec.name for spec in engine_specs() if key in spec.sampling]
        place = "of the model's own sampling" if is_own else "in its generation_kwargs"
        instead = "--sampling task" if is_own else "remove it from the YAML file"
        raise TaskUnavailableError(
            f"task `{task}`: `{key}: {asked[key]}` {place} is not supported by the engine `{engine}`",
            hint=" or ".join(f"`--engine {name}`" for name in others) or instead,
        )


def _covers(condition: Condition, scores: Mapping[str, float]) -> bool:
    """Whether the score of the condition's task is in its range, whatever it says about thinking."""
    return condition.task in scores and condition.covers(scores[condition.task])


def _scored_anew(item: Item, leaf: LeafTask) -> Item:
    """The item with the score by this run's metric: the run that answered may have had another one."""
    return replace(item, score=item_score(item.metrics, metric=leaf.metric, filter_name=leaf.filter))


def _answers(item: Item, question: TaskQuestion) -> bool:
    """Whether the item answers exactly this question: same document, same few-shot examples."""
    return item.doc_hash == question.doc_hash and item.prompt == question.prompt


@dataclass(slots=True)
class _TaskRun:
    """One task in progress: asks missing questions, stores answers, reports progress."""

    suite_run: RunningSuite
    task: str
    works: dict[str, LeafWork]
    n_total: int
    last_report: float = 0.0

    def ask(self, questions: Sequence[TaskQuestion]) -> None:
        """Ask the questions that have no item yet.

        Raises:
            EngineError, UnreachableError: the engine died; items already answered are kept.
        """
        suite_run = self.suite_run
        wanted = [q for q in questions if q.doc_id not in self.works[q.leaf.name].items]
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
        self.suite_run.emit(
            Event(
                event,
                self.suite_run.run.run_id,
                self.task,
                n_done=sum(len(work.items) for work in self.works.values()),
                n_total=self.n_total,
                output_tokens=tally.output_tokens,
                prompt_tokens=tally.prompt_tokens,
            )
        )
