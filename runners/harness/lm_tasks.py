"""The interface to lm-eval: its tasks, prompts, filters and metrics.

Imported by the worker only. Everything about how lm-eval builds a prompt, parses an answer and aggregates a
metric stays here, so that each item equals the one of `lm_eval.simple_evaluate`: the same seeds, the same
order of few-shot draws, the same filters.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasets.exceptions import DatasetGenerationError
from lm_eval.api.group import Group
from lm_eval.api.metrics import acc_all, stderr_for_metric
from lm_eval.api.samplers import FirstNSampler
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager
from lm_eval.utils import env as jinja_env
from lm_eval.utils import handle_non_serializable, hash_string

from runners.engines import ContinuationRequest, GenerationRequest, TextRequest
from runners.harness.code_eval import (
    forbid_code_eval,
    is_scored_in_sandbox,
    require_sandbox,
    use_sandbox,
)
from runners.harness.fewshot_texts import FEW_SHOT
from runners.harness.questions import ItemVerdict, Request, TaskQuestion
from runners.harness.scoring import N_RESAMPLES, TASK_ERRORS, GroupRule
from runners.harness.task_errors import data_hint, first_line
from runners.harness.task_index import folders_of, tag_members, tasks_that_run_code
from tracker.errors import TrackerError, UnreachableError
from tracker.private_home import shared_files
from tracker.records import Suite, Task
from tracker.stats import bootstrap_interval
from tracker.suites import LOOSE

FEWSHOT_SEED = 1234  # these three as in lm-eval's `simple_evaluate`
NUMPY_SEED = 1234
RANDOM_SEED = 0
OWN_MEANS = "not supported: it runs code that the model wrote by its own means, not with `code_eval`"
# Metrics, and functions that aggregate one, whose values do not lie between 0 and 1.
NO_SHARES = frozenset({
    "perplexity", "weighted_perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte",
    "bleu", "chrf", "ter", "mcc", "matthews_corrcoef", "brier_score",
})  # fmt: skip
TEXT_METRICS = frozenset({"bleu", "chrf", "ter", "rouge1", "rouge2", "rougeL", "rougeLsum"})  # of 0 to 100
TEXT_RESAMPLES = 100  # as lm-eval, since each of them takes so long
MAX_OUTPUT_TOKENS = 256  # lm-eval's default for tasks without a limit
OF_CHECKPOINTS = ("repetition_penalty", "no_repeat_ngram_size")  # which a generation_config.json may set
TRANSLATED = ("until", "max_gen_toks", "do_sample", "temperature", "top_p")  # fields of a `GenerationRequest`
SAME_KEY = {"min_tokens": "min_new_tokens", "min_gen_toks": "min_new_tokens"}
NEUTRAL: dict[str, tuple[Any, ...]] = {  # values of generation_kwargs that change nothing
    "num_beams": (1,), "num_return_sequences": (1,), "length_penalty": (1,), "early_stopping": (False,),
    "use_cache": (True, False), "repetition_penalty": (1,), "presence_penalty": (0,), "top_k": (0, -1),
    "frequency_penalty": (0,), "min_p": (0,), "no_repeat_ngram_size": (0,), "min_new_tokens": (0,),
    "typical_p": (1,), "skip_special_tokens": (True,),
}  # fmt: skip

ChatPromptFunction = Callable[..., str]

# lm-eval recompiles a task's templates for every field of every document, which takes nine tenths of the time
# for a prompt or a score (profiled: 400 sums, 3.5 ms each, 0.3 ms with this cache).
jinja_env.from_string = lru_cache(maxsize=4096)(jinja_env.from_string)


MAX_BUDGET = 2**31  # tokens of an answer; more is a mistake


class TaskUnavailableError(UnreachableError):
    """A task without data, without support, or whose own code fails; the others continue."""


@contextmanager
def _task_errors(task: str) -> Iterator[None]:
    try:
        yield
    except TrackerError:
        raise
    except TASK_ERRORS as error:
        hint = "check its YAML file and the functions named there"
        raise TaskUnavailableError(
            f"task `{task}`: its own code failed: {first_line(error)}", hint=hint
        ) from error


class LeafTask:
    """One lm-eval task with its documents, and the metric that is its score."""

    def __init__(
        self,
        task: Any,
        spec: Task,
        *,
        group: str | None,
        code_hash: str | None = None,
        is_loose: bool = False,
    ) -> None:
        self._task = task
        self._code_hash = code_hash  # of the files of a user's own task; lm-eval's are covered by its version
        self.name = str(task.task_name)
        self.group = group
        self.output_type = str(task.get_config("output_type"))
        _configure(task, spec)
        self.filters = tuple(f.name for f in task._filters)
        self._sources = _expanded_metrics(task)
        self._check_names(spec)
        self.metric = spec.metric or self._first_share()
        self.is_share = self._is_share(self.metric)
        self.filter = spec.filter or self.filters[0]
        self.is_choice = self.output_type == "multiple_choice"
        self.is_written = self.output_type == "generate_until"
        self.is_text = self.output_type == "loglikelihood_rolling"  # without a prompt
        self._system = None if self.is_text else spec.system
        self.has_system = bool(self._system)
        # of one task alone: another metric asks again, so that its items have the score that is shown
        self._stated = {"metric": spec.metric, "filter": spec.filter} if is_loose else {}
        self.n_docs = len(task.eval_docs)
        self._chance = spec.chance
        self.chat = spec.chat
        self.base_name = self.name  # without the number of a repeat
        self._expected: tuple[Sequence[int] | None, Future[list[TaskQuestion]]] | None = None

    @property
    def has_texts(self) -> bool:
        """Whether an answer may be written."""
        return self.output_type not in ("multiple_choice", "loglikelihood", "loglikelihood_rolling")

    @property
    def episode(self) -> str | None:
        """The function, as `package.module:name`, that begins an episode; None: an answer is one text."""
        place = (self._task.get_config("metadata") or {}).get("episode")
        return str(place) if place else None

    @property
    def max_output_tokens(self) -> int | None:
        """The budget of each written answer; None: nothing is written."""
        if not self.has_texts:
            return None
        options = normalize_gen_kwargs(
            dict(self._task.get_config("generation_kwargs") or {}), MAX_OUTPUT_TOKENS
        )
        return int(options["max_gen_toks"])

    def repeated(self, repeat: int) -> LeafTask:
        """The same task, asked once more; `repeat` counts from 1 for the second time."""
        again = copy.copy(self)
        again.name = repeat_name(self.base_name, repeat + 1)
        return again

    def _check_names(self, spec: Task) -> None:
        """Refuse a metric or filter that the task does not have.

        Raises:
            TaskUnavailableError: it does not; the ones it has are named.
        """
        metrics = self._metric_names()
        stated = self._task.get_config("metric_list") or []
        is_fixed = bool(stated) and all(isinstance(one.get("metric"), str) for one in stated)
        for kind, name, known in (("metric", spec.metric, metrics), ("filter", spec.filter, self.filters)):
            if name is not None and name not in known and (kind == "filter" or is_fixed):
                raise TaskUnavailableError(
                    f"task `{self.name}` has no {kind} `{name}`", hint=f"it has: {', '.join(map(str, known))}"
                )

    def _first_share(self) -> str:
        """The first metric that lies between 0 and 1 and of which more is better, else the first."""
        names = self._metric_names()
        good = (name for name in names if self._is_share(name) and self.higher_is_better(name) is not False)
        return next(good, names[0] if names else "acc")

    def _metric_names(self) -> list[str]:
        """Every metric of the items, in the task's order: `pass@1` and not the function that gives it."""
        names = [str(name) for name in self._task.aggregation() if name not in self._sources]
        by_source = {name: [one for one, source in self._sources.items() if source == name] for name in names}
        return [one for name in names for one in by_source[name] or [name]]

    def _is_share(self, metric: str) -> bool:
        function = self._task.aggregation().get(metric)
        if metric.partition("_")[0] in TEXT_METRICS and not metric.endswith("_acc"):
            return False
        return metric not in NO_SHARES and getattr(function, "__name__", "") not in NO_SHARES

    def higher_is_better(self, metric: str) -> bool | None:
        """Whether more of this metric is better; None: the task does not say."""
        said = (self._task.higher_is_better() or {}).get(self._sources.get(metric, metric))
        return said if isinstance(said, bool) else None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything about the task that can change an item; part of the fingerprint."""
        with _task_errors(self.name):
            config = json.loads(json.dumps(self._task.dump_config(), default=_source))
        config.pop("dataset_kwargs", None)  # local paths; documents and prompts are compared in full
        (config.get("metadata") or {}).pop("config_source", None)  # a local path too
        identity = {"task": self.base_name, "config": config, "version": str(self._task.VERSION)}
        identity |= {"code": self._code_hash} if self._code_hash else {}
        identity |= {"system": self._system} if self._system else {}
        return identity | {name: value for name, value in self._stated.items() if value is not None}

    @property
    def chance(self) -> float:
        """The score of guessing, from the suite or from the number of choices."""
        if self._chance is None:
            counts = (max(1, len(self._task.doc_to_choice(d))) for d in self._task.eval_docs)
            self._chance = float(np.mean([1 / n for n in counts])) if self.is_choice else 0.0
        return self._chance

    @property
    def has_plain_prompts(self) -> bool:
        """Whether templates alone make the prompts, without functions of the task."""
        fields = ("doc_to_text", "doc_to_target", "doc_to_choice", "process_docs", "fewshot_config")
        found = [self._task.get_config(name) for name in fields]
        parts = [part for one in found for part in (one.values() if isinstance(one, dict) else [one])]
        return not any(map(callable, parts))

    @cached_property
    def is_scored_by_lm_eval(self) -> bool:
        """Whether answers are scored without functions or filters of the task."""
        own = ("process_results", "filter_list")
        return self.is_choice and self.has_plain_prompts and not any(map(self._task.get_config, own))

    def expect(self, docs: Sequence[int] | None, built: Future[list[TaskQuestion]]) -> None:
        """Take the questions of these documents from `built` when they are first wanted without a chat."""
        self._expected = (docs, built)

    def questions(
        self, *, docs: Sequence[int] | None, chat_prompt: ChatPromptFunction | None
    ) -> list[TaskQuestion]:
        """The questions of these documents (None: all), each with the few-shot examples of a whole run.

        Raises:
            TaskUnavailableError: the task's own templates or code fail.
        """
        expected, self._expected = self._expected, None
        if expected is not None and chat_prompt is None and expected[0] == docs:
            _, built = expected
            if not built.cancel():  # begun, or there already
                return built.result()
        return self.build(docs=docs, chat_prompt=chat_prompt)

    def build(
        self, *, docs: Sequence[int] | None, chat_prompt: ChatPromptFunction | None
    ) -> list[TaskQuestion]:
        """The same, built now."""
        if docs is not None and not docs:
            return []
        places = sorted(docs) if docs is not None and self._draws_nothing else None
        self._task.set_fewshot_seed(seed=FEWSHOT_SEED)
        examples = getattr(getattr(self._task, "sampler", None), "df", None)
        with _task_errors(self.name), FEW_SHOT.kept(examples):
            self._task.build_all_requests(
                # Examples are drawn one question after the other, so those in between are built as well.
                limit=None if docs is None or places else max(docs) + 1,
                samples=places,
                system_instruction=self._system,
                apply_chat_template=chat_prompt is not None,
                fewshot_as_multiturn=chat_prompt is not None,
                chat_template=chat_prompt,
            )
        by_doc: dict[int, list[Any]] = {}
        for instance in self._task.instances:
            doc_id = places[instance.doc_id] if places else instance.doc_id
            by_doc.setdefault(doc_id, []).append(instance)
        self._task._instances = None  # owned by the questions from here on
        wanted = by_doc.keys() if docs is None else set(docs)
        with _task_errors(self.name):
            return [self._question(doc, instances) for doc, instances in by_doc.items() if doc in wanted]

    @property
    def _draws_nothing(self) -> bool:
        """Whether a question's few-shot examples do not depend on the questions before it."""
        sampler = getattr(self._task, "sampler", None)
        return not self._task.get_config("num_fewshot") or isinstance(sampler, FirstNSampler)

    def _question(self, doc_id: int, instances: list[Any]) -> TaskQuestion:
        instances.sort(key=lambda instance: instance.idx)
        repeated = [instance for instance in instances for _ in range(instance.repeats or 1)]
        doc = json.dumps(instances[0].doc, indent=2, default=handle_non_serializable, ensure_ascii=False)
        return TaskQuestion(
            leaf=self,
            doc_id=doc_id,
            doc_hash=str(hash_string(doc)),
            prompt=str(instances[0].args[0]),
            requests=tuple(_request(instance, number) for number, instance in enumerate(repeated)),
            instances=tuple(repeated),
        )

    def verdict(self, question: TaskQuestion, answers: Sequence[Any]) -> ItemVerdict:
        """Filter and score the answers: (log_prob, is_greedy) pairs, log-probs of whole texts, or texts.

        Raises:
            TaskUnavailableError: the task's own filters or metrics fail.
        """
        with _task_errors(self.name):
            return self._verdict(question, answers)

    def _verdict(self, question: TaskQuestion, answers: Sequence[Any]) -> ItemVerdict:
        unique = list({id(instance): instance for instance in question.instances}.values())
        for instance in unique:
            instance.resps = []
        for instance, answer in zip(question.instances, answers, strict=True):
            instance.resps.append(answer)
        for ensemble in self._task._filters:
            ensemble.apply(unique)
        doc = unique[0].doc
        compared = self._compared(unique, doc)
        metrics = {
            f"{metric},{name}": value
            for name in self.filters
            for metric, value in self._task.process_results(
                doc, [instance.filtered_resps[name] for instance in unique]
            ).items()
        }
        if not all(type(value) is float for value in metrics.values()):
            metrics = json.loads(json.dumps(metrics, default=_plain))
        extracted = self._extracted(unique, compared)
        return ItemVerdict(
            metrics=metrics,
            extracted=extracted,
            response=extracted if self.is_choice else _written(answers),
            target=self._target(doc, compared),
            choices=compared,
        )

    def _compared(self, instances: list[Any], doc: Any) -> tuple[str, ...]:
        """A label for each scored request: its continuation, or what distinguishes its context."""
        scored = [one.args for one in instances if one.request_type == "loglikelihood"]
        labels = [str(args[1]).strip() for args in scored]
        if not self.is_choice:
            return tuple(labels)
        n_choices = self._n_choices(instances, doc)
        if n_choices > 1 and len(set(labels[:n_choices])) == 1:
            labels[:n_choices] = _differing([str(args[0]) for args in scored[:n_choices]])
        return (*labels[:n_choices], *(f"{label} (alone)" for label in labels[n_choices:]))

    def _n_choices(self, instances: list[Any], doc: Any) -> int:
        """How many requests are choices; the rest are scored without the question (`acc_mutual_info`)."""
        return min(len(self._task.doc_to_choice(doc)), len(instances))

    def _extracted(self, instances: list[Any], compared: Sequence[str]) -> str:
        if self.is_choice:
            return self._chosen(instances, compared)
        value = instances[0].filtered_resps.get(self.filter, "")
        return str(value[0] if isinstance(value, list) and value else value)

    def _chosen(self, instances: list[Any], compared: Sequence[str]) -> str:
        """The label of the most probable choice."""
        n_choices = self._n_choices(instances, instances[0].doc)
        return compared[int(np.argmax([one.resps[0][0] for one in instances[:n_choices]]))]

    def _target(self, doc: Any, compared: Sequence[str]) -> str:
        target = self._task.doc_to_target(doc)
        if self.is_choice and getattr(self._task, "multiple_input", False):
            right = self._task.doc_to_text(doc)  # there it is the number of the right context
            return compared[right] if isinstance(right, int) and 0 <= right < len(compared) else str(target)
        if self.is_choice and isinstance(target, int):
            choices = self._task.doc_to_choice(doc)
            return str(choices[target]) if 0 <= target < len(choices) else str(target)
        return target if isinstance(target, str) else json.dumps(target, default=_plain)

    def aggregate(self, values: Sequence[Any], *, metric: str) -> float:
        """The task's own aggregation of this metric over items."""
        function = self._task.aggregation().get(metric)
        return float(function(values)) if function else float(np.mean(values))

    def stderr(self, values: Sequence[Any], *, metric: str) -> float | None:
        """The standard error of a score that is no plain mean, for those metrics that lm-eval gives one.

        By lm-eval's formula, or else by resampling the items.
        """
        function = self._task.aggregation().get(metric)
        estimate = function and stderr_for_metric(function, bootstrap_iters=TEXT_RESAMPLES)
        if not estimate or len(values) < 2:
            return None
        if function is acc_all:
            return float(estimate(values))
        n_resamples = TEXT_RESAMPLES if metric in TEXT_METRICS else N_RESAMPLES
        return bootstrap_interval(values, function, n_resamples=n_resamples).stderr

    def is_mean(self, metric: str) -> bool:
        """Whether the aggregation is the plain mean of item scores."""
        function = self._task.aggregation().get(metric)
        return function is None or getattr(function, "__name__", "") == "mean"


def repeat_name(task: str, number: int) -> str:
    """The name of one repeat of a task, counted from 1."""
    return f"{task}#{number}"


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A task of a suite with its leaf tasks: itself, or the members of a group."""

    spec: Task
    leaves: tuple[LeafTask, ...]
    is_group: bool
    weight_by_size: bool = True  # a group's score is the mean over items, not over leaves
    rules: tuple[GroupRule, ...] = ()  # of a group

    @property
    def is_mean_of_tasks(self) -> bool:
        """Whether it is a group whose score counts its tasks equally, each the mean of its items."""
        is_equal = self.is_group and not self.weight_by_size
        return is_equal and all(leaf.is_mean(leaf.metric) for leaf in self.leaves)


def load_task(spec: Task, suite: Suite, *, cache_path: Path) -> LoadedTask:
    """Load the task with its data.

    Raises:
        UnknownNameError: there is no such task.
        TaskUnavailableError: its data cannot be loaded, or it is not supported.
    """
    random.seed(RANDOM_SEED)
    np.random.seed(NUMPY_SEED)
    folders = folders_of([spec.task], include_path=suite.include_path, cache_path=cache_path)
    forbid_code_eval()
    if tasks_that_run_code([spec.task], include_path=suite.include_path, cache_path=cache_path):
        _require_sandbox(spec.task)
        use_sandbox()  # before its functions are loaded: those of `humaneval` run `code_eval` on import
    try:
        manager = TaskManager(
            include_path=[str(f) for f in folders],
            include_defaults=False,
            metadata={} if suite.seed is None else {"seed": suite.seed},
        )
        members = tag_members(folders, include_path=suite.include_path, cache_path=cache_path)
        for tag in members.keys() & manager.task_index.keys():
            known = (name for name in members[tag] if name in manager.task_index)
            manager.task_index[tag].tags.update(known)
        with _files_in(suite.include_path), shared_files():
            loaded = manager.load([spec.task])
    except TrackerError:
        raise
    except TASK_ERRORS as error:
        if problem := _yaml_problem(spec.task, folders):
            raise TaskUnavailableError(f"task `{spec.task}`: {problem}", hint="correct the file") from error
        root = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
        raise TaskUnavailableError(f"task `{spec.task}`: {first_line(root)}", hint=data_hint(root)) from error
    with _task_errors(spec.task):
        return _leaves(spec, suite, loaded)


def _leaves(spec: Task, suite: Suite, loaded: Mapping[str, Any]) -> LoadedTask:
    """The task as lm-eval has loaded it, with its leaves.

    Raises:
        TaskUnavailableError: it is not supported, or a group without tasks.
    """
    groups, tasks = loaded["groups"], loaded["tasks"]
    if not tasks:
        hint = "name its tasks in its YAML file"
        raise TaskUnavailableError(f"the group `{spec.task}` has no tasks", hint=hint)
    group: Group | None = groups.get(spec.task)
    is_group = group is not None or list(tasks) != [spec.task]
    for name, task in tasks.items():
        _refuse(name, task)
    code = _code_hash(suite.include_path) if suite.include_path else None
    named = spec.task if is_group else None
    is_loose = suite.name == LOOSE
    leaves = tuple(
        LeafTask(task, spec, group=named, code_hash=code, is_loose=is_loose) for task in tasks.values()
    )
    stated = group.aggregate_metric_list if group and group.aggregate_metric_list else ()
    rules = tuple(
        GroupRule(str(rule.metric), tuple(map(str, rule.filter_list or ())), bool(rule.weight_by_size))
        for rule in stated
        if rule.aggregation in (None, "mean")  # lm-eval also takes a function, over all items of the group
    )
    return LoadedTask(spec, leaves, is_group, all(rule.weight_by_size for rule in rules), rules)


@contextmanager
def _files_in(folder: str | None) -> Iterator[None]:
    """Resolve relative data paths of tasks against the user's `folder` within this block.

    The worker's own working directory is the job's folder, which holds no task files.
    """
    if folder is None:
        yield
        return
    original = ConfigurableTask.download

    def download(task: Any, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        given = dict(dataset_kwargs or {})
        for key in given.keys() & {"data_files", "data_dir"}:
            given[key] = _in_folder(given[key], Path(folder))
        if str(task.DATASET_PATH).startswith("."):
            task.DATASET_PATH = str(Path(folder, task.DATASET_PATH).resolve())
        original(task, given, **kwargs)

    ConfigurableTask.download = download
    try:
        yield
    finally:
        ConfigurableTask.download = original


def _in_folder(files: Any, folder: Path) -> Any:
    """The same files, by split or as a list, with the full path of those in `folder`."""
    if isinstance(files, Mapping):
        return {split: _in_folder(each, folder) for split, each in files.items()}
    if isinstance(files, list | tuple):
        return [_in_folder(each, folder) for each in files]
    if not isinstance(files, str) or not files or Path(files).is_absolute() or "://" in files:
        return files
    is_there = any(folder.glob(files))
    return str((folder / files).resolve()) if is_there else files  # other files are in a Hub repository


def _require_sandbox(task: str) -> None:
    try:
        require_sandbox()
    except TrackerError as error:
        raise TaskUnavailableError(f"task `{task}`: {error}", hint=error.hint) from error


def _refuse(name: str, task: Any) -> None:
    runs_code = getattr(task, "UNSAFE_CODE", False) or task.get_config("unsafe_code")
    stated = [one.get("metric") for one in task.get_config("metric_list") or ()]
    functions = [one for one in (*stated, task.get_config("process_results")) if callable(one)]
    if runs_code and not is_scored_in_sandbox(functions):
        raise TaskUnavailableError(f"task `{name}`: {OWN_MEANS}")
    if getattr(task, "MULTIMODAL", False):
        raise TaskUnavailableError(f"task `{name}`: not supported, because it needs images or audio")


def _expanded_metrics(task: Any) -> dict[str, str]:
    """The metrics that a function with several `k` gives, as in HumanEval, each with that function's name."""
    return {
        f"pass@{k}": one["metric"].__name__
        for one in task.get_config("metric_list") or ()
        if callable(one.get("metric")) and "k" in one
        for k in ([one["k"]] if isinstance(one["k"], int) else one["k"])
    }


def _configure(task: Any, spec: Task) -> None:
    """Set shots and output budget from the suite; a task defined with 0 shots keeps them, as in lm-eval."""
    own = task.get_config("num_fewshot")
    if spec.num_fewshot is not None and own != 0:
        task.set_config(key="num_fewshot", value=spec.num_fewshot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    if spec.max_output_tokens is not None and task.get_config("output_type") == "generate_until":
        task.set_config(key="generation_kwargs", value={"max_gen_toks": spec.max_output_tokens}, update=True)


def _request(instance: Any, number: int) -> Request:
    if instance.request_type == "loglikelihood":
        context, continuation = instance.args[:2]
        return ContinuationRequest(context=context, continuation=continuation)
    if instance.request_type == "loglikelihood_rolling":
        return TextRequest(instance.args[0])
    context, given = instance.args[:2]
    options = normalize_gen_kwargs(given, MAX_OUTPUT_TOKENS)
    temperature, top_p = float(options.get("temperature") or 0.0), float(options.get("top_p") or 1.0)
    budget, stop = int(options["max_gen_toks"]), tuple(s for s in options["until"] if s)
    _check("max_gen_toks", options["max_gen_toks"], is_possible=0 < budget <= MAX_BUDGET)
    _check("until", options["until"], is_possible=all(isinstance(one, str) for one in stop))
    _check("temperature", options.get("temperature"), is_possible=0 <= temperature < math.inf)
    _check("top_p", options.get("top_p"), is_possible=0 < top_p <= 1)
    return GenerationRequest(
        prompt=context,
        max_output_tokens=budget,
        stop=stop,
        temperature=temperature,
        top_p=top_p,
        seed=None if temperature == 0.0 else number,
        sampling=_more_sampling(options),
    )


def _check(name: str, value: Any, *, is_possible: bool) -> None:
    if not is_possible:
        raise ValueError(f"`{name}` in its `generation_kwargs` is {value!r}")


def _more_sampling(options: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a task's `generation_kwargs` besides `TRANSLATED` that change something.

    A neutral penalty does if the checkpoint has another one.
    """
    named = {SAME_KEY.get(key, key): value for key, value in options.items() if key not in TRANSLATED}
    return {
        key: value
        for key, value in named.items()
        if value is not None and (key in OF_CHECKPOINTS or value not in NEUTRAL.get(key, ()))
    }


def _written(answers: Sequence[Any]) -> str:
    """The first written answer, else the first one."""
    return str(next((answer for answer in answers if isinstance(answer, str)), answers[0]))


def _differing(texts: Sequence[str]) -> list[str]:
    """What distinguishes each text: its words without those at the beginning and end that all share."""
    words = [text.split() for text in texts]
    shortest = min(map(len, words))
    same = [len({tuple(each[:n]) for each in words}) == 1 for n in range(1, shortest + 1)]
    n_first = sum(same)
    ends = [len({tuple(each[-n:]) for each in words}) == 1 for n in range(1, shortest - n_first + 1)]
    n_last = sum(ends)
    labels = [" ".join(each[n_first : len(each) - n_last]) for each in words]
    return labels if all(labels) else list(texts)


def _source(value: Any) -> Any:
    """A function as its source text, so that a fingerprint depends on its code and not on its address.

    Raises:
        TypeError: the value has no stable text form.
    """
    if isinstance(value, partial):
        return {"function": _source(value.func), "arguments": [value.args, value.keywords]}
    if callable(value):
        with suppress(OSError, TypeError):
            return inspect.getsource(value)
        return (
            f"{getattr(value, '__module__', '?')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
        )
    text = _plain(value)
    if isinstance(text, str) and " at 0x" in text:
        raise TypeError(f"{type(value).__name__} has no stable text form")
    return text


@lru_cache
def _code_hash(include_path: str) -> str | None:
    """Hash of the Python and YAML files in a user's task folder; None for ours, which have a version."""
    folder = Path(include_path)
    if folder.is_relative_to(Path(__file__).parent):
        return None
    digest = hashlib.sha256()
    for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.yaml")]):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _yaml_problem(task: str, folders: Sequence[Path]) -> str | None:
    """The syntax error in the YAML file that names the task, with its line; None if there is none."""
    for path in (path for folder in folders for path in folder.rglob("*.yaml")):
        text = path.read_text(errors="replace")
        if task not in text:
            continue
        try:
            yaml.compose(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            return f"`{path.name}`, line {line}: {error.problem}"
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | set | tuple):
        return list(value)
    return str(value)
