"""Compute scores from items: pure arithmetic."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from runners.engines.thinking import like_a_mark
from runners.harness.questions import Leaf
from tracker.records import Item, TaskMetric, TaskScore, fingerprint
from tracker.stats import (
    Interval,
    anytime_interval,
    bootstrap_interval,
    mean_interval,
    normal_interval,
    stderr_of_mean,
)
from tracker.wording import agreeing, counted

UNPARSED = "[invalid]"  # result of lm-eval's regex filters without a match
N_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class GroupRule:
    """One metric that a group states for itself."""

    metric: str
    filters: tuple[str, ...]  # empty: every filter with this metric
    weight_by_size: bool  # a mean over items, not over tasks


@dataclass(frozen=True, slots=True)
class LeafItems:
    """The items behind one leaf's score."""

    leaf: Leaf
    fingerprint: str
    items: Mapping[int, Item]  # by doc_id; of repeated questions, in any order
    n_reused_items: int
    repeats: int | None = None  # times that each question was asked; None: once

    @property
    def scored(self) -> LeafItems:
        """Without the items of which the engine gave no log-probability."""
        return replace(self, items={key: one for key, one in self.items.items() if not one.is_unscored})

    @property
    def n_questions(self) -> int:
        """Different questions; each repeated one counts once."""
        return len({item.doc_id for item in self.items.values()})


# Whatever a task's own templates, filters, metrics and modules may raise; engines raise errors of ours.
TASK_ERRORS = (Exception, SystemExit)


@dataclass(frozen=True, slots=True)
class Stopping:
    """A task that was stopped early. The questions asked are a random sample, in draw order."""

    values: tuple[float, ...]
    n_total: int
    half_width: float | None  # the precision reached; None: the time was up
    by_difference: bool = False  # from a reference: the scores themselves were looked at

    def interval(self) -> Interval:
        """The 95% interval: anytime-valid if scores ended the task, else that of a finite sample."""
        if self.half_width is None and not self.by_difference:
            return mean_interval(self.values, n_total=self.n_total)
        return anytime_interval(self.values, n_total=self.n_total, half_width=self.half_width)


@dataclass(frozen=True, slots=True)
class GivenInterval:
    """A task whose items were drawn in another way, with its interval, which holds at every look."""

    found: Interval
    is_of_tasks: bool = False  # of a group: of the mean over its tasks, not over its items

    def interval(self) -> Interval:
        """The 95% interval."""
        return self.found


Ending = Stopping | GivenInterval  # of a task that was stopped early


def item_score(metrics: Mapping[str, Any], *, metric: str, filter_name: str) -> float | None:
    """The suite's metric of one item; None if it is not a number between 0 and 1."""
    value = metrics.get(f"{metric},{filter_name}")
    return float(value) if value is not None and _is_share_of_1(value) else None


def _is_share_of_1(value: Any) -> bool:
    return isinstance(value, bool | int | float) and 0.0 <= float(value) <= 1.0


def metric_values(leaf: Leaf, items: Sequence[Item]) -> list[Any]:
    """The leaf's metric of each item, as the task computed it.

    Raises:
        ValueError: there are no items, or one lacks the metric.
    """
    key = f"{leaf.metric},{leaf.filter}"
    if not items:
        raise ValueError(f"task `{leaf.base_name}` has no items")
    for item in items:
        if key not in item.metrics:
            known = ", ".join(sorted(item.metrics))
            raise ValueError(
                f"task `{leaf.base_name}`: its items lack the metric `{key}`; available: {known}"
            )
    return [item.metrics[key] for item in items]


def is_share(part: LeafItems) -> bool:
    """Whether the headline metric of these items lies between 0 and 1, by its kind and by its values."""
    leaf, items = part.leaf, list(part.items.values())
    if not leaf.is_share or not leaf.is_mean(leaf.metric) or not items:
        return leaf.is_share
    key = f"{leaf.metric},{leaf.filter}"
    return all(_is_share_of_1(item.metrics[key]) for item in items if key in item.metrics)


def leaf_metrics(part: LeafItems, *, warn: Callable[[str], None]) -> list[TaskMetric]:
    """Every metric that all items of a task have, in its own unit; one that cannot be computed is told."""
    leaf, items = part.leaf, list(part.items.values())
    shared = [key for key in items[0].metrics if all(key in item.metrics for item in items)]
    found = []
    for key in shared:
        name, _, filter_name = key.rpartition(",")
        values = [item.metrics[key] for item in items]
        try:
            stderr = (
                _stderr([float(value) for value in values], items)
                if leaf.is_mean(name)
                else leaf.stderr(values, metric=name)
            )
            metric = TaskMetric(
                task=leaf.base_name,
                metric=name,
                filter=filter_name,
                value=leaf.aggregate(values, metric=name),
                stderr=stderr,
                n_items=len(items),
                higher_is_better=leaf.higher_is_better(name),
                is_headline=False,  # which one is, follows from the scores
            )
        except TASK_ERRORS as error:
            warn(f"task `{leaf.base_name}`: the metric `{name}` could not be computed: {error}")
        else:
            found.append(metric)
    return found


@dataclass(frozen=True, slots=True)
class WrittenAnswers:
    """What became of the written answers of a task, as shares of all, and the score of the completed ones."""

    empty_fraction: float | None = None
    only_thinking_fraction: float | None = None
    cut_thinking_fraction: float | None = None
    completed_fraction: float | None = None
    completed_value: float | None = None
    completed_ci_low: float | None = None
    completed_ci_high: float | None = None
    mean_output_tokens: float | None = None


def is_cut_thinking(item: Item) -> bool:
    """Whether the token budget was spent before the thinking ended."""
    return item.truncated and bool(item.thinking) and not item.response.strip()


def written_answers(
    items: Sequence[Item], score: Callable[[Sequence[Item]], Interval] | None
) -> WrittenAnswers:
    """The shares of answers that are empty, cut off while thinking or completed, with the score of the last.

    `score`: the interval of the score of some items, as for all of them; None: it is no mean of items.
    """
    if not all(item.is_written for item in items):
        return WrittenAnswers()
    completed = [item for item in items if item.is_completed]
    interval = score(completed) if completed and score else None
    return WrittenAnswers(
        empty_fraction=_share(item.is_empty for item in items),
        only_thinking_fraction=_share(item.is_empty and bool(item.thinking) for item in items),
        cut_thinking_fraction=_share(map(is_cut_thinking, items)),
        completed_fraction=len(completed) / len(items),
        completed_value=interval.value if interval else None,
        completed_ci_low=interval.low if interval else None,
        completed_ci_high=interval.high if interval else None,
        mean_output_tokens=float(np.mean([item.output_tokens for item in items])),
    )


def cut_thinking(part: LeafItems, *, budget: int | None) -> str | None:
    """The sentence about answers cut off while the model was thinking; None: there are none.

    `budget`: the tokens that each answer may have.
    """
    n_cut = sum(is_cut_thinking(one) and one.finish_reason == "length" for one in part.items.values())
    if not n_cut:
        return None
    tokens = "" if budget is None else f" of {budget:,} tokens"
    return (
        f"task `{part.leaf.base_name}`: {n_cut:,} of {len(part.items):,} answers were cut off while"
        f" the model was thinking and count as empty: the budget{tokens} is too small; raise it with"
        " `--thinking-budget` or use `--no-thinking`"
    )


def looping_answers(part: LeafItems) -> str | None:
    """The sentence about answers that repeated themselves until they were cut off; None: there are none."""
    n_looping = sum(item.finish_reason == "repetition" for item in part.items.values())
    if not n_looping:
        return None
    was = agreeing(
        n_looping, "was cut off, since it repeated itself", "were cut off, since they repeated themselves"
    )
    answers = counted(len(part.items), "answer")
    return f"task `{part.leaf.base_name}`: {n_looping:,} of {answers} {was}"


def empty_answers(part: LeafItems) -> str | None:
    """The sentence about answers that ended by themselves without text; None: there are none."""
    written = [item for item in part.items.values() if item.is_written]
    empty = [item for item in written if item.is_empty]
    if not empty:
        return None
    answers, are = counted(len(written), "answer"), agreeing(len(empty), "is", "are")
    message = f"task `{part.leaf.base_name}`: {len(empty):,} of {answers} {are} empty"
    thought = sum(bool(item.thinking) for item in empty)
    if thought:
        return (
            f"{message}; of {thought:,} the text is in the thinking: the marks of thinking, or the server's"
            " reasoning parser, do not fit the model"
        )
    return (
        f"{message}: the model or its server ended them without text, for example because of a content filter"
    )


def marked_answers(task: str, parts: Sequence[LeafItems], *, hidden: Mapping[str, int]) -> str | None:
    """The sentence about a task's answers that begin with an unknown mark of thinking; None: there are none.

    `hidden`: the marks with which the engine saw answers begin, also those that no text shows, with the
    number of answers; those that were stored before are not among them.
    """
    written = [item for part in parts for item in part.items.values() if item.is_written]
    seen = Counter(mark for item in written if (mark := like_a_mark(item.response)))
    found = (seen | Counter(hidden)).most_common(1)
    if not written or not found:
        return None
    mark, n_marked = found[0]
    n_marked = min(n_marked, len(written))  # the engine also saw answers that are not scored
    answers, begin = counted(len(written), "answer"), agreeing(n_marked, "begins", "begin")
    return (
        f"task `{task}`: {n_marked:,} of {answers} {begin} with `{mark}`, which looks"
        " like an unknown mark of thinking: what follows it is scored as the answer"
    )


def refused_answers(part: LeafItems, *, refusals: Sequence[str]) -> str | None:
    """The sentence about requests that the server refused or could not answer; None: there are none."""
    items = part.items.values()
    n_refused = sum(item.refused for item in items)
    if not n_refused:
        return None
    why = f": {refusals[-1]}" if refusals else ""
    were = agreeing(
        n_refused, "got no answer and counts as an empty one", "got no answer and count as empty ones"
    )
    asked = f"{n_refused:,} of {counted(len(items), 'request')} {were}"
    return f"task `{part.leaf.base_name}`: {asked}; repeat the command to ask them again{why}"


def unscored_items(parts: Sequence[LeafItems], *, task: str, refusals: Sequence[str]) -> str | None:
    """The sentence about questions of a task without log-probabilities; None: there are none."""
    items = [item for part in parts for item in part.items.values()]
    n_unscored = sum(item.is_unscored for item in items)
    if not n_unscored:
        return None
    why = f": {refusals[-1]}" if refusals else ": a log-probability is no number"
    are = agreeing(n_unscored, "has no log-probabilities and is", "have no log-probabilities and are")
    return (
        f"task `{task}`: {n_unscored:,} of {counted(len(items), 'question')} {are} not in"
        f" the score; repeat the command to ask them again{why}"
    )


def group_metrics(
    name: str, metrics: Sequence[TaskMetric], *, rules: Sequence[GroupRule]
) -> list[TaskMetric]:
    """The metrics of a group: means over its tasks, weighted as its rules say."""
    found = []
    wanted = [
        (rule, name)
        for rule in rules
        for name in rule.filters or dict.fromkeys(one.filter for one in metrics if one.metric == rule.metric)
    ]
    for rule, filter_name in wanted:
        parts = [one for one in metrics if (one.metric, one.filter) == (rule.metric, filter_name)]
        if not parts:
            continue
        sizes = np.array([part.n_items for part in parts], dtype=float)
        weights = sizes / sizes.sum() if rule.weight_by_size else np.full(len(parts), 1 / len(parts))
        has_errors = all(part.stderr is not None for part in parts)
        errors = np.array([part.stderr or 0.0 for part in parts])
        found.append(
            TaskMetric(
                task=name,
                metric=rule.metric,
                filter=filter_name,
                value=float(np.dot(weights, [part.value for part in parts])),
                stderr=float(np.sqrt(np.dot(weights**2, errors**2))) if has_errors else None,
                n_items=int(sizes.sum()),
                higher_is_better=parts[0].higher_is_better,
                is_headline=False,
            )
        )
    return found


def leaf_score(part: LeafItems, *, stopping: Ending | None = None) -> TaskScore:
    """The score of one task with its 95% interval.

    Raises:
        ValueError: there are no items, or the value is not between 0 and 1.
    """
    leaf, items = part.leaf, list(part.items.values())
    interval = stopping.interval() if stopping and leaf.is_mean(leaf.metric) else _interval(leaf, items)
    return TaskScore(
        task=leaf.base_name,
        metric=leaf.metric,
        filter=leaf.filter,
        value=interval.value,
        stderr=interval.stderr,
        ci_low=interval.low,
        ci_high=interval.high,
        n_items=part.n_questions,
        chance=leaf.chance,
        truncated_fraction=_share(item.truncated for item in items),
        unparsed_fraction=_share(item.extracted == UNPARSED for item in items),
        fingerprint=part.fingerprint,
        n_reused_items=part.n_reused_items,
        n_total=leaf.n_docs,
        group=leaf.group,
        repeats=part.repeats,
        **_fields(written_answers(items, partial(_interval, leaf) if leaf.is_mean(leaf.metric) else None)),
    )


def is_asked_once(parts: Sequence[LeafItems]) -> bool:
    """Whether these parts of one task are no repeats, or the first of them alone, which is the same."""
    return len(parts) == 1 and parts[0].leaf.name == parts[0].leaf.base_name


def pooled_repeats(parts: Sequence[LeafItems]) -> LeafItems:
    """All repeats of one task as one: items of one question are a cluster, since they are not independent."""
    leaf = parts[0].leaf
    if is_asked_once(parts):
        return parts[0]
    items = [
        replace(item, task=leaf.base_name, cluster=item.cluster or f"{leaf.base_name} {item.doc_id}")
        for part in parts
        for item in part.items.values()
    ]
    return LeafItems(
        leaf,
        fingerprint({str(place): part.fingerprint for place, part in enumerate(parts)}),
        dict(enumerate(items)),
        sum(part.n_reused_items for part in parts),
        repeats=len(parts),
    )


def repeat_metrics(pooled: LeafItems, parts: Sequence[LeafItems]) -> list[TaskMetric]:
    """Of the headline metric of a repeated task: pass^k, and the spread of the score between its repeats.

    pass^k is the share of questions that all k answers solve (Yao et al., tau-bench, arXiv:2406.12045).
    """
    leaf, key = pooled.leaf, f"{pooled.leaf.metric},{pooled.leaf.filter}"
    whole = [doc for doc in parts[0].items if all(doc in part.items for part in parts)]
    if not whole or not leaf.is_mean(leaf.metric):
        return []
    table = np.array([[float(part.items[doc].metrics[key]) for doc in whole] for part in parts])
    spread = float(table.mean(axis=1).std(ddof=1))

    def metric(name: str, value: float, stderr: float | None, *, is_good: bool) -> TaskMetric:
        return TaskMetric(
            leaf.base_name, f"{leaf.metric} {name}", leaf.filter, value, stderr, len(whole), is_good, False
        )

    found = [metric("standard deviation of repeats", spread, None, is_good=False)]
    if np.isin(table, (0.0, 1.0)).all():
        solved = mean_interval(table.min(axis=0).tolist())
        found.insert(0, metric(f"pass^{len(parts)}", solved.value, solved.stderr, is_good=True))
    return found


def group_score(
    name: str,
    parts: Sequence[LeafItems],
    *,
    weight_by_size: bool,
    stopping: Ending | None = None,
    score_of: Callable[[LeafItems], TaskScore] = leaf_score,
) -> TaskScore:
    """The score of a group: the mean over all items, or over its tasks if the group is defined so.

    Raises:
        ValueError: a task of the group has no items or no plain mean.
    """
    scores = [score_of(part) for part in parts]
    sizes = np.array([score.n_items for score in scores], dtype=float)
    weights = sizes / sizes.sum() if weight_by_size else np.full(len(scores), 1 / len(scores))
    if weight_by_size and all(part.leaf.is_mean(part.leaf.metric) for part in parts):
        items = [item for part in parts for item in part.items.values()]
        interval = stopping.interval() if stopping else _pooled(parts, items)
        written = written_answers(items, partial(_pooled, parts))
    else:
        is_given = isinstance(stopping, GivenInterval) and stopping.is_of_tasks
        interval = stopping.interval() if stopping and is_given else _weighted(scores, weights)
        written = _written_in_parts(scores, sizes)
    first = scores[0]
    return TaskScore(
        task=name,
        metric=first.metric,
        filter=first.filter,
        value=interval.value,
        stderr=interval.stderr,
        ci_low=interval.low,
        ci_high=interval.high,
        n_items=int(sizes.sum()),
        chance=float(np.dot(weights, [score.chance for score in scores])),
        truncated_fraction=float(np.dot(sizes, [score.truncated_fraction for score in scores]) / sizes.sum()),
        unparsed_fraction=float(
            np.dot(sizes, [score.unparsed_fraction or 0.0 for score in scores]) / sizes.sum()
        ),
        fingerprint=fingerprint({score.task: score.fingerprint for score in scores}),
        n_reused_items=sum(score.n_reused_items for score in scores),
        n_total=sum(part.leaf.n_docs for part in parts),
        repeats=first.repeats,
        **_fields(written),
    )


def _interval(leaf: Leaf, items: Sequence[Item]) -> Interval:
    """The leaf's score of these items with its interval."""
    values = metric_values(leaf, items)
    if leaf.is_mean(leaf.metric):
        return _mean([float(value) for value in values], items)
    by_cluster: dict[str, list[Any]] = {}
    for place, (item, value) in enumerate(zip(items, values, strict=True)):
        by_cluster.setdefault(item.cluster or str(place), []).append(value)
    return bootstrap_interval(
        list(by_cluster.values()),
        lambda sample: leaf.aggregate([value for some in sample for value in some], metric=leaf.metric),
        n_resamples=N_RESAMPLES,
    )


def _pooled(parts: Sequence[LeafItems], items: Sequence[Item]) -> Interval:
    """The mean over these items of several tasks."""
    keys = {
        item.task: f"{part.leaf.metric},{part.leaf.filter}"
        for part in parts
        for item in itertools.islice(part.items.values(), 1)
    }
    return _mean([float(item.metrics[keys[item.task]]) for item in items], items)


def _written_in_parts(scores: Sequence[TaskScore], sizes: Any) -> WrittenAnswers:
    """The shares over all answers of a group; only its tasks have a score of the completed ones."""
    if any(score.completed_fraction is None for score in scores):
        return WrittenAnswers()

    def over_all(name: str) -> float:
        return float(np.dot(sizes, [getattr(score, name) for score in scores]) / sizes.sum())

    return WrittenAnswers(
        empty_fraction=over_all("empty_fraction"),
        only_thinking_fraction=over_all("only_thinking_fraction"),
        cut_thinking_fraction=over_all("cut_thinking_fraction"),
        completed_fraction=over_all("completed_fraction"),
        mean_output_tokens=over_all("mean_output_tokens"),
    )


def _share(flags: Iterable[bool]) -> float:
    return float(np.mean(list(flags)))


def _fields(written: WrittenAnswers) -> dict[str, Any]:
    return {each.name: getattr(written, each.name) for each in fields(written)}


def _stderr(values: Sequence[float], items: Sequence[Item]) -> float | None:
    """The standard error of a mean of any unit; None for one item."""
    if all(0.0 <= value <= 1.0 for value in values):
        return _mean(values, items).stderr
    return stderr_of_mean(values, clusters=_clusters(items))


def _mean(values: Sequence[float], items: Sequence[Item]) -> Interval:
    return mean_interval(values, clusters=_clusters(items))


def _clusters(items: Sequence[Item]) -> list[str]:
    return [item.cluster or f"{item.task} {item.doc_id}" for item in items]


def _weighted(scores: Sequence[TaskScore], weights: Any) -> Interval:
    """Weighted mean of independent parts: variances add up with the squared weights."""
    value = float(np.dot(weights, [score.value for score in scores]))
    stderr = float(np.sqrt(np.dot(weights**2, [(score.stderr or 0.0) ** 2 for score in scores])))
    return normal_interval(value, stderr, least=0.0, most=1.0)
