"""The wall to lm-eval: its tasks, prompts, filters and metrics, in our words.

Imported by the worker only. Everything about how lm-eval builds a prompt, reads an answer and adds up a
metric stays here, so that an item equals the one that `lm_eval.simple_evaluate` would have made: the same
seeds, the same order of few-shot draws, the same filters.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import yaml
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import HfHubHTTPError
from jinja2 import TemplateError
from lm_eval.api.group import Group
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager
from lm_eval.utils import env as jinja_env
from lm_eval.utils import handle_non_serializable, hash_string

from runners.engines import ContinuationRequest, GenerationRequest
from runners.harness.questions import Question, Request, Verdict
from runners.harness.task_index import folders_of
from tracker.errors import UnreachableError
from tracker.records import Suite, Task

FEWSHOT_SEED = 1234  # these three as in lm-eval's `simple_evaluate`
NUMPY_SEED = 1234
RANDOM_SEED = 0
MAX_OUTPUT_TOKENS = 256  # lm-eval's default for a task that does not say

ChatPromptFunction = Callable[..., str]

# What loading a task's data set can raise when the data cannot be had: no network, no access, no such
# file or split (datasets raises ValueError and KeyError), a package that the task wants and that is missing.
DATA_ERRORS = (OSError, DatasetsError, HfHubHTTPError, httpx2.HTTPError, ImportError, LookupError, ValueError)


# lm-eval compiles a task's templates again for every field of every document, which is nine tenths of the
# time that it spends on a prompt or a verdict (profiled: 400 sums, 3.5 ms each, 0.3 ms with this).
jinja_env.from_string = lru_cache(maxsize=4096)(jinja_env.from_string)


# What a task's own templates, filters and metrics can raise; engines raise errors of ours.
TASK_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, RecursionError, TemplateError,
    TypeError, ValueError,
)  # fmt: skip


class TaskUnavailableError(UnreachableError):
    """A task whose data cannot be had, that may not be run, or that fails by itself; the others go on."""


@contextmanager
def _task_errors(task: str) -> Iterator[None]:
    try:
        yield
    except TASK_ERRORS as error:
        hint = "look at its YAML and the functions that it names"
        raise TaskUnavailableError(f"{task}: its own code fails: {_first_line(error)}", hint=hint) from error


class LeafTask:
    """One lm-eval task with its documents, and which of its numbers is the score."""

    def __init__(self, task: Any, spec: Task, *, group: str | None, code_hash: str | None = None) -> None:
        self._task = task
        self._code_hash = code_hash  # of the files around a user's own task; lm-eval's are in its version
        self.name = str(task.task_name)
        self.group = group
        self.output_type = str(task.get_config("output_type"))
        _configure(task, spec)
        self.filters = tuple(f.name for f in task._filters)
        self.metric = spec.metric or next(iter(task.aggregation()), "acc")
        self.filter = spec.filter or self.filters[0]
        self.is_choice = self.output_type == "multiple_choice"
        self.n_docs = len(task.eval_docs)
        self._chance = spec.chance

    @property
    def identity(self) -> dict[str, Any]:
        """What of the task can change an item: goes into the fingerprint."""
        with _task_errors(self.name):
            config = json.loads(json.dumps(self._task.dump_config(), default=_source))
        config.pop("dataset_kwargs", None)  # paths of this machine; documents and prompts are compared whole
        (config.get("metadata") or {}).pop("config_source", None)  # another such path
        identity = {"task": self.name, "config": config, "version": str(self._task.VERSION)}
        return identity | ({"code": self._code_hash} if self._code_hash else {})

    @property
    def chance(self) -> float:
        """The score of guessing, from the suite or from the number of choices."""
        if self._chance is not None:
            return self._chance
        if not self.is_choice:
            return 0.0
        return float(np.mean([1 / max(1, len(self._task.doc_to_choice(d))) for d in self._task.eval_docs]))

    def questions(self, *, limit: int | None, chat_prompt: ChatPromptFunction | None) -> list[Question]:
        """The first `limit` questions, built in order so that few-shot draws equal lm-eval's.

        Raises:
            TaskUnavailableError: the task's own templates or code fail.
        """
        self._task.set_fewshot_seed(seed=FEWSHOT_SEED)
        with _task_errors(self.name):
            self._task.build_all_requests(
                limit=limit,
                apply_chat_template=chat_prompt is not None,
                fewshot_as_multiturn=chat_prompt is not None,
                chat_template=chat_prompt,
            )
        by_doc: dict[int, list[Any]] = {}
        for instance in self._task.instances:
            by_doc.setdefault(instance.doc_id, []).append(instance)
        self._task._instances = None  # they live in the questions from here on
        return [self._question(doc_id, instances) for doc_id, instances in by_doc.items()]

    def _question(self, doc_id: int, instances: list[Any]) -> Question:
        instances.sort(key=lambda instance: instance.idx)
        repeated = [instance for instance in instances for _ in range(instance.repeats or 1)]
        doc = json.dumps(instances[0].doc, indent=2, default=handle_non_serializable, ensure_ascii=False)
        return Question(
            leaf=self,
            doc_id=doc_id,
            doc_hash=str(hash_string(doc)),
            prompt=str(instances[0].args[0]),
            requests=tuple(_request(instance, number) for number, instance in enumerate(repeated)),
            instances=tuple(repeated),
        )

    def verdict(self, question: Question, answers: Sequence[Any]) -> Verdict:
        """Filter and score the answers: (log_prob, is_greedy) pairs, or texts.

        Raises:
            TaskUnavailableError: the task's own filters or metrics fail.
        """
        with _task_errors(self.name):
            return self._verdict(question, answers)

    def _verdict(self, question: Question, answers: Sequence[Any]) -> Verdict:
        unique = list({id(instance): instance for instance in question.instances}.values())
        for instance in unique:
            instance.resps = []
        for instance, answer in zip(question.instances, answers, strict=True):
            instance.resps.append(answer)
        for ensemble in self._task._filters:
            ensemble.apply(unique)
        doc = unique[0].doc
        metrics = {
            f"{metric},{name}": value
            for name in self.filters
            for metric, value in self._task.process_results(
                doc, [instance.filtered_resps[name] for instance in unique]
            ).items()
        }
        return Verdict(
            metrics=json.loads(json.dumps(metrics, default=_plain)),
            extracted=self._extracted(unique),
            response=_chosen(unique) if self.is_choice else str(answers[0]),
            target=self._target(doc),
        )

    def _extracted(self, instances: list[Any]) -> str:
        if self.is_choice:
            return _chosen(instances)
        value = instances[0].filtered_resps.get(self.filter, "")
        return str(value[0] if isinstance(value, list) and value else value)

    def _target(self, doc: Any) -> str:
        target = self._task.doc_to_target(doc)
        if self.is_choice and isinstance(target, int):
            choices = self._task.doc_to_choice(doc)
            return str(choices[target]) if 0 <= target < len(choices) else str(target)
        return target if isinstance(target, str) else json.dumps(target, default=_plain)

    def aggregate(self, values: Sequence[Any], *, metric: str) -> float:
        """The task's own aggregation of this metric over items."""
        function = self._task.aggregation().get(metric)
        return float(function(values)) if function else float(np.mean(values))

    def is_mean(self, metric: str) -> bool:
        """Whether the aggregation is the plain mean of item scores."""
        function = self._task.aggregation().get(metric)
        return function is None or function.__name__ == "mean"


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A suite's task with the leaves it is made of: itself, or the parts of a group."""

    spec: Task
    leaves: tuple[LeafTask, ...]
    is_group: bool
    weight_by_size: bool = True  # a group's score is the mean over items, not over leaves


def load_task(spec: Task, suite: Suite, *, cache_path: Path) -> LoadedTask:
    """The task with its data.

    Raises:
        UnknownNameError: there is no such task.
        TaskUnavailableError: its data cannot be had, or it may not be run here.
    """
    random.seed(RANDOM_SEED)
    np.random.seed(NUMPY_SEED)
    folders = folders_of([spec.task], include_path=suite.include_path, cache_path=cache_path)
    try:
        manager = TaskManager(
            include_path=[str(f) for f in folders],
            include_defaults=False,
            metadata={} if suite.seed is None else {"seed": suite.seed},
        )
        loaded = manager.load([spec.task])
    except (*DATA_ERRORS, *TASK_ERRORS) as error:
        if problem := _yaml_problem(spec.task, folders):
            raise TaskUnavailableError(f"{spec.task}: {problem}", hint="correct the file") from error
        raise TaskUnavailableError(f"{spec.task}: {_first_line(error)}", hint=_data_hint(error)) from error
    groups, tasks = loaded["groups"], loaded["tasks"]
    group: Group | None = groups.get(spec.task)
    is_group = group is not None or list(tasks) != [spec.task]
    for name, task in tasks.items():
        _refuse(name, task)
    code = _code_hash(suite.include_path) if suite.include_path else None
    named = spec.task if is_group else None
    leaves = tuple(LeafTask(task, spec, group=named, code_hash=code) for task in tasks.values())
    rules = group.aggregate_metric_list if group and group.aggregate_metric_list else ()
    return LoadedTask(spec, leaves, is_group, all(rule.weight_by_size for rule in rules))


def _refuse(name: str, task: Any) -> None:
    output_type = task.get_config("output_type")
    if getattr(task, "UNSAFE_CODE", False) or task.get_config("unsafe_code"):
        raise TaskUnavailableError(
            f"{name}: it runs code that the model wrote, and there is no sandbox for it"
        )
    if getattr(task, "MULTIMODAL", False):
        raise TaskUnavailableError(f"{name}: it needs images or sound, and only text is supported")
    if output_type == "loglikelihood_rolling":
        raise TaskUnavailableError(f"{name}: perplexity is not a score between 0 and 1")


def _configure(task: Any, spec: Task) -> None:
    """Set shots and budget as the suite says; a task whose file says 0 shots keeps them, as in lm-eval."""
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
    context, given = instance.args[:2]
    options = normalize_gen_kwargs(given, MAX_OUTPUT_TOKENS)
    temperature = float(options.get("temperature") or 0.0)
    return GenerationRequest(
        prompt=context,
        max_output_tokens=int(options["max_gen_toks"]),
        stop=tuple(s for s in options["until"] if s),
        temperature=temperature,
        top_p=float(options.get("top_p") or 1.0),
        seed=None if temperature == 0.0 else number,
    )


def _chosen(instances: list[Any]) -> str:
    log_probs = [instance.resps[0][0] for instance in instances]
    return str(instances[int(np.argmax(log_probs))].args[1]).strip()


def _source(value: Any) -> Any:
    """A function as its source, so that a fingerprint says what it does and not where it lies in memory.

    Raises:
        TypeError: a value that has no text of its own.
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
        raise TypeError(f"{type(value).__name__} has no text that stays the same")
    return text


@lru_cache
def _code_hash(include_path: str) -> str | None:
    """A hash over the Python and YAML files of a user's task folder; ours carry a version instead."""
    folder = Path(include_path)
    if folder.is_relative_to(Path(__file__).parent):
        return None
    digest = hashlib.sha256()
    for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.yaml")]):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _yaml_problem(task: str, folders: Sequence[Path]) -> str | None:
    """What is wrong with the YAML file that names the task, with its line; None: it can be read."""
    for path in (path for folder in folders for path in folder.rglob("*.yaml")):
        text = path.read_text(errors="replace")
        if task not in text:
            continue
        try:
            yaml.compose(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            return f"{path.name}, line {line}: {error.problem}"
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | set | tuple):
        return list(value)
    return str(value)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _data_hint(error: BaseException) -> str:
    if isinstance(error, ImportError):
        return f"pip install {error.name}" if error.name else ""
    if isinstance(error, TASK_ERRORS):
        return "look at its YAML: the data set, its splits and its fields"
    offline = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("HF_DATASETS_OFFLINE")
    return "HF_HUB_OFFLINE is set" if offline else "its data set comes from the Hugging Face Hub"
