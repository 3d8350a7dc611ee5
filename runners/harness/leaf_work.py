"""What a leaf of a task asks, under which fingerprint, and which stored items answer it already."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from runners.engines import (
    ContinuationRequest,
    Engine,
    GenerationRequest,
    engine_spec,
    engine_specs,
    is_served,
    runs_remote_code,
)
from runners.harness.episodes import with_episodes
from runners.harness.lm_tasks import NEUTRAL, LeafTask, TaskUnavailableError
from runners.harness.questions import TaskQuestion
from runners.harness.sampling import is_sampled, model_sampling, resampled
from runners.harness.scoring import LeafItems, item_score
from runners.harness.storage import Storage
from runners.harness.tool_prompts import ChatRenderer
from runners.harness.trust import TRUSTED_FOR, outdated_runs
from tracker.files.items import parts_by_fingerprint, read_items, write_fingerprint
from tracker.installation import installed_version
from tracker.records import Item, Job, PromptForm, RepetitionLimits, RunRequest, fingerprint
from tracker.serialization import dump
from tracker.wording import agreeing, counted

HARNESS_VERSION = "1"  # raised when the harness changes the content of items
LEAST_THINKING_TOKENS = 4_096  # thinking rarely ends in fewer; IFEval leaves 1,280, lm-eval's default is 256


@dataclass(slots=True)
class LeafWork:
    """One leaf task with its questions and its items so far."""

    leaf: LeafTask
    fingerprint: str
    questions: list[TaskQuestion]
    items: dict[int, Item]
    reused: dict[int, str]  # doc_id → the earlier run that answered it
    form: PromptForm

    def part(self, asked: Sequence[TaskQuestion]) -> LeafItems:
        """The items of these questions of the leaf, in their order, from which the score is computed."""
        items = {q.doc_id: self.items[q.doc_id] for q in asked if q.doc_id in self.items}
        return LeafItems(self.leaf, self.fingerprint, items, len(self.reused.keys() & items.keys()))


class LeafPlanner:
    """Makes the work of each leaf of a run."""

    def __init__(
        self, engine: Engine, job: Job, run: RunRequest, warn: Callable[[str], None], storage: Storage
    ) -> None:
        """`warn` records a sentence with the run."""
        self._engine, self._job, self._run, self._warn = engine, job, run, warn
        self._storage = storage
        self._stored: Mapping[str, Sequence[Path]] = {}  # chunks of items by their fingerprint
        self._items_path = Path(job.items_path)
        self._lm_eval = installed_version("lm_eval", extra="cpu")
        self.sampling: dict[str, float] | None = None  # of the model, read when a task asks for it
        self._is_thinking_off = False  # in some task, and the user was told

    def look_for_stored(self) -> None:
        """List the items that are stored by now, of all runs."""
        self._storage.wait()
        self._stored = parts_by_fingerprint(self._items_path)

    def repeated_work(self, leaf: LeafTask, docs: tuple[int, ...] | None) -> list[LeafWork]:
        """The work of a leaf, once for each repeat; greedy answers and choices are asked once."""
        first = self._work(leaf, docs)
        n_repeats = self._run.suite.repeats
        if n_repeats == 1 or not leaf.is_written or not first.questions:
            return [first]
        if not is_sampled(first.questions):
            self._warn(
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
        is_asked_for = self._job.settings.thinking is not None or self._run.max_output_tokens is not None
        if not chat or is_asked_for or budget is None or budget >= LEAST_THINKING_TOKENS:
            return True
        if not getattr(self._engine, "can_stop_thinking", False):
            return True
        if not self._is_thinking_off:
            self._is_thinking_off = True
            self._warn(
                f"thinking is switched off where an answer may have fewer than {LEAST_THINKING_TOKENS:,}"
                f" tokens, as in task `{leaf.name}` ({budget:,}); `--thinking` leaves it on"
            )
        return False

    def _sampling_values(self) -> dict[str, float] | None:
        """The settings for written answers; None: those of the task."""
        mode = self._run.suite.sampling
        if mode == "model" and self.sampling is None:
            self.sampling = model_sampling(self._job.model, self._engine)
        return {"temperature": 0.0} if mode == "greedy" else self.sampling

    def _work(self, leaf: LeafTask, docs: tuple[int, ...] | None, *, repeat: int = 0) -> LeafWork:
        suite, job = self._run.suite, self._job
        chat = (suite.chat and leaf.is_written) if leaf.chat is None else leaf.chat
        chat = chat and not leaf.is_text
        if chat and self._engine.info.chat_template_hash is None:
            self._warn(
                f"task `{leaf.name}`: the model has no chat template, so prompts are sent as plain text"
            )
            chat = False
        can_think = self._can_think(leaf, chat=chat)
        values = self._sampling_values() if leaf.has_texts else None
        parts = self._identity(leaf, chat=chat, can_think=can_think, repeat=repeat, values=values)
        takes_tools = chat and leaf.episode is not None and getattr(self._engine, "takes_tools", False)
        chat_prompt = self._chat_prompt(can_think=can_think) if chat else None
        renderer = ChatRenderer(chat_prompt, takes_tools=takes_tools) if leaf.episode else None
        if renderer is not None:
            parts["tools"] = renderer.form
        key = fingerprint(parts)
        self._storage.write_first(
            key, partial(write_fingerprint, self._items_path, self._run.run_id, key, parts)
        )
        skipped: list[str] = []
        runs: dict[int, str] = {}
        stored = read_items(self._stored.get(key, ()), skipped=skipped, runs=runs)
        for name in skipped:
            self._warn(f"chunk `{name}` is unreadable, so its items are asked again")
        questions = leaf.questions(docs=docs, chat_prompt=chat_prompt)
        if renderer is not None and leaf.episode is not None:
            questions = with_episodes(questions, leaf.episode, renderer)
        if chat and is_served(job.settings.engine) and any(map(_is_scored, questions)):
            raise TaskUnavailableError(
                f"task `{leaf.name}`: a server cannot score choices or continuations through a chat template",
                hint="--no-chat, or `--engine vllm` or `--engine transformers`",
            )
        questions = resampled(questions, values, seed=job.settings.seed, repeat=repeat)
        known = {*engine_spec(job.settings.engine).sampling, *getattr(self._engine, "more_sampling", ())}
        _require_sampling(leaf.name, questions, engine=job.settings.engine, known=known, values=values)
        items = {
            q.doc_id: _scored_anew(stored[q.doc_id], leaf)
            for q in questions
            if q.doc_id in stored and _answers(stored[q.doc_id], q) and not stored[q.doc_id].refused
        }
        items = self._trusted(leaf, items, runs)
        tools = None if renderer is None else renderer.form
        form = PromptForm(leaf.group or leaf.name, chat, leaf.has_system, tools)
        others = items if job.shard is None else {doc for doc in items if runs[doc] != self._run.run_id}
        return LeafWork(leaf, key, questions, items, {doc: runs[doc] for doc in others}, form)

    def _chat_prompt(self, *, can_think: bool) -> Callable[..., str]:
        """The engine's chat template, with thinking off where there is no room for it."""
        chat_prompt: Callable[..., str] = self._engine.chat_prompt
        return chat_prompt if can_think else partial(chat_prompt, thinking=False)

    def _identity(
        self, leaf: LeafTask, *, chat: bool, can_think: bool, repeat: int, values: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Everything that can change the items of a leaf; its hash is their fingerprint."""
        job = self._job
        parts: dict[str, Any] = {
            "model_id": job.model.model_id,
            "revision": job.model.revision,
            "quantization": job.model.quantization,
            "engine": dump(self._engine.info),
            "seed": job.settings.seed,
            "thinking": job.settings.thinking if can_think else False,
            "tensor_parallel_size": job.settings.tensor_parallel_size,
            "task": leaf.identity,
            "chat": chat,
            "lm_eval": self._lm_eval,
            "harness": HARNESS_VERSION,
        }
        if job.settings.head_dtype != "auto":
            parts["head_dtype"] = job.settings.head_dtype
        if job.settings.batch_invariant:
            parts["batch_invariant"] = True
        if leaf.has_texts and job.settings.repetition_detection is not None:
            parts["repetition_detection"] = dump(RepetitionLimits.parse(job.settings.repetition_detection))
        if leaf.has_texts and job.settings.speculative is not None:  # the probability of a choice has none
            parts["speculative"] = getattr(self._engine, "speculative", None) or job.settings.speculative
        if values is not None:
            parts["sampling"] = values
        if repeat:
            parts["repeat"] = repeat
        if job.replicate > 1:
            parts["replicate"] = job.replicate
        if runs_remote_code(job.model, job.settings):  # of this repository, at this commit
            parts["remote_code"] = job.model.revision
        return parts

    def _trusted(self, leaf: LeafTask, items: dict[int, Item], runs: Mapping[int, str]) -> dict[int, Item]:
        """The stored items that count again: all, or if nothing identifies the weights, the recent ones."""
        if getattr(self._engine, "is_pinned", True):
            return items
        outdated = outdated_runs({runs[doc] for doc in items}, self._items_path)
        kept = {doc: item for doc, item in items.items() if runs[doc] not in outdated}
        if n_old := len(items) - len(kept):
            stored = f"{counted(n_old, 'stored answer')} {agreeing(n_old, 'is', 'are')}"
            self._warn(
                f"task `{leaf.name}`: {stored} older than {TRUSTED_FOR.days} days and asked again,"
                " since the server does not tell whether its weights changed"
            )
        return kept


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


def _scored_anew(item: Item, leaf: LeafTask) -> Item:
    """The item with the score by this run's metric: the run that answered may have had another one."""
    return replace(item, score=item_score(item.metrics, metric=leaf.metric, filter_name=leaf.filter))


def _answers(item: Item, question: TaskQuestion) -> bool:
    """Whether the item answers exactly this question: same document, same few-shot examples."""
    return item.doc_hash == question.doc_hash and item.prompt == question.prompt
