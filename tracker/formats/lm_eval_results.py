"""Results of lm-eval with samples, as its versions 0.3 to 0.4 write them.

Recent: `results_DATE.json` and `samples_TASK_DATE.jsonl`, metrics as `acc,none`. Older: `results.json` and
`ARGUMENTS_TASK.jsonl`, whose samples are one JSON list, metrics also as `acc`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from tracker.formats.bounded import DAMAGED_HINT, ForeignFileError, checked_name, json_lines
from tracker.formats.foreign_run import UNKNOWN_END, ForeignRun, ForeignTask, Reported
from tracker.records import Item
from tracker.sources.fields import listed, mapping, number, text, whole

TOOL = "lm-eval"
NO_FILTER = "none"
STDERR = "_stderr"
SHARES = ("acc", "acc_norm", "acc_bytes", "exact_match", "em", "acc_mutual_info")  # means of 0 and 1
BITS = re.compile(r"[0-9a-f]{40}")
NAMED_DATE = re.compile(r"results_(\d{4}-\d{2}-\d{2})T(\d{2})-(\d{2})-(\d{2})")
LONGEST_S = 1e8  # of an evaluation: three years
ENDLESS = ("nan", "-nan", "inf", "+inf", "-inf", "infinity", "-infinity")
UNREADABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError)


def is_lm_eval(document: Any) -> bool:
    """Whether this is a results file of lm-eval."""
    found = mapping(document)
    has_results = isinstance(found.get("results"), Mapping)
    return has_results and bool({"config", "configs", "versions"} & found.keys()) and "eval" not in found


def read_lm_eval(path: Path, document: Any) -> ForeignRun:
    """The run in a results file, whose samples lie beside it.

    Raises:
        ForeignFileError: it has no results, or contradicts itself.
    """
    found = mapping(document)
    results = {
        checked_name(name, str(path), "a task"): mapping(row)
        for name, row in mapping(found["results"]).items()
    }
    if not results:
        raise ForeignFileError(f"`{path}` has no results", hint=DAMAGED_HINT)
    sample_files = {name: file for name in results if (file := _samples(path, found, name)) is not None}
    groups = {name for name in results if _parts(found, name) and name not in sample_files}
    parents = _parents(found, results)
    tasks = tuple(
        _task(path, found, name, sample_files.get(name), parents)
        for name in results
        if name not in groups or name not in parents  # a group within a group is no row of its own
    )
    started_at = _started_at(path, found)
    took_s = number(found.get("total_evaluation_time_seconds"))
    config = mapping(found.get("config"))
    revision = text(config.get("model_sha")) or text(config.get("model_revision"))
    return ForeignRun(
        tool=TOOL,
        tool_version=text(found.get("lm_eval_version")),
        path=path,
        files=(path, *sorted(sample_files.values())),
        model=_model(path, found),
        started_at=started_at,
        ended_at=started_at + timedelta(seconds=took_s)
        if started_at and took_s and 0 < took_s < LONGEST_S
        else None,
        tasks=tasks,
        revision=revision if revision and BITS.fullmatch(revision) else None,
        n_params=whole(config.get("model_num_parameters")) or None,
        dtype=text(config.get("model_dtype")),
        warnings=_shots(found, results),
    )


def _model(path: Path, found: Mapping[str, Any]) -> str:
    """The name of the model; of a folder, its last part."""
    config = mapping(found.get("config"))
    given = config.get("model_args")
    pairs = (
        dict(part.partition("=")[::2] for part in given.split(","))
        if isinstance(given, str)
        else mapping(given)
    )
    named = text(found.get("model_name"))
    argued = text(pairs.get("pretrained")) or text(pairs.get("model"))
    if named and argued and named != argued:
        problem = f"`{path}` names two models: `{named[:80]}` and `{argued[:80]}`"
        raise ForeignFileError(problem, hint="import one results file for each model")
    name = named or argued or text(config.get("model"))
    if name and (name.startswith(("/", ".", "~")) or "\\" in name or name.count("/") > 1):
        name = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return checked_name(name, str(path), "the model")


def _started_at(path: Path, found: Mapping[str, Any]) -> datetime | None:
    seconds = number(found.get("date"))
    if seconds is not None:
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (OverflowError, OSError, ValueError) as error:
            raise ForeignFileError(f"`{path}`: {seconds:g} is no date", hint=DAMAGED_HINT) from error
    if named := NAMED_DATE.match(path.name):
        try:
            return datetime.fromisoformat(f"{named[1]}T{named[2]}:{named[3]}:{named[4]}+00:00")
        except ValueError:
            return None
    return None


def _parts(found: Mapping[str, Any], group: str) -> list[str]:
    """The tasks and groups in a group."""
    return [one for one in listed(mapping(found.get("group_subtasks")).get(group)) if isinstance(one, str)]


def _parents(found: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, str]:
    """The group of each task that is part of one with results of its own: of several, the outermost."""
    above: dict[str, str] = {}
    for group in mapping(found.get("group_subtasks")):
        for part in _parts(found, group):
            if part != group:
                above.setdefault(part, str(group))
    outermost: dict[str, str] = {}
    for name in results:
        seen = {name}
        outer = above.get(name)
        while outer is not None and outer not in seen:
            if outer in results and _reported(mapping(results[outer]), {}, outer):
                outermost[name] = outer
            seen.add(outer)
            outer = above.get(outer)
    return outermost


def _task(
    path: Path, found: Mapping[str, Any], name: str, samples: Path | None, parents: Mapping[str, str]
) -> ForeignTask:
    row = mapping(mapping(found["results"])[name])
    config = mapping(mapping(found.get("configs")).get(name))
    better = mapping(mapping(found.get("higher_is_better")).get(name))
    metrics = _reported(row, better, name, config=config, where=str(path))
    counts = mapping(mapping(found.get("n-samples")).get(name))
    score = _headline(metrics, config)
    return ForeignTask(
        name=name,
        score=score,
        metrics=metrics,
        items=partial(_items, samples, name, score or metrics[0]) if samples and metrics else None,
        n_items=whole(counts.get("effective")) or whole(row.get("samples")) or whole(row.get("sample_len")),
        n_total=whole(counts.get("original")),
        parts=tuple(one for one, group in parents.items() if group == name and not _parts(found, one)),
        group=parents.get(name),
    )


def _reported(
    row: Mapping[str, Any],
    better: Mapping[str, Any],
    task: str,
    *,
    config: Mapping[str, Any] | None = None,
    where: str = "",
) -> tuple[Reported, ...]:
    """The metrics of a task that are numbers, in their order.

    Raises:
        ForeignFileError: one is not finite, or a share is not between 0 and 1.
    """
    means = {
        text(mapping(one).get("metric")): mapping(one).get("aggregation")
        for one in listed((config or {}).get("metric_list"))
    }
    found = []
    for key, value in row.items():
        name, comma, filter_name = key.partition(",")
        if name.endswith(STDERR) or name in ("alias", "samples", "sample_len", "name", "sample_count"):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        finite = number(value)
        if finite is None or (name in SHARES and not 0.0 <= finite <= 1.0):
            problem = f"`{where}`: {task}: {name} is {value}, which is no possible score"
            raise ForeignFileError(problem, hint=DAMAGED_HINT)
        stated = means.get(name)
        is_mean = stated == "mean" if isinstance(stated, str) else (True if name in SHARES else None)
        found.append(
            Reported(
                checked_name(name, where or task, "a metric"),
                filter_name or NO_FILTER,
                finite,
                stderr=number(row.get(f"{name}{STDERR}{comma}{filter_name}")),
                higher_is_better=better.get(name) if isinstance(better.get(name), bool) else None,
                is_mean=is_mean,
            )
        )
    return tuple(found)


def _headline(metrics: tuple[Reported, ...], config: Mapping[str, Any]) -> Reported | None:
    """The metric that is the score: the first that the task's own file names, else the first of all."""
    names = [text(mapping(one).get("metric")) for one in listed(config.get("metric_list"))]
    filters = [text(mapping(one).get("name")) for one in listed(config.get("filter_list"))]
    shares = [one for one in metrics if 0.0 <= one.value <= 1.0 and one.higher_is_better is not False]
    shares = [one for one in shares if not one.metric.endswith(("perplexity", "bits_per_byte"))]

    def place(one: Reported) -> tuple[int, int]:
        return (
            names.index(one.metric) if one.metric in names else len(names),
            filters.index(one.filter) if one.filter in filters else len(filters),
        )

    return min(shares, key=place, default=None)


def _samples(path: Path, found: Mapping[str, Any], task: str) -> Path | None:
    """The samples of a task beside the results; None: there are none. A link is not followed."""
    date = path.stem.removeprefix("results").removeprefix("_")
    names = [f"samples_{task}_{date}.jsonl"] if date else [f"samples_{task}.jsonl"]
    arguments = mapping(found.get("config")).get("model_args")
    if isinstance(arguments, str):
        names.append(f"{re.sub('[/=]', '__', arguments)}_{task}.jsonl")
    for name in names:
        if "/" in name or len(name) > 255:
            continue
        file = path.with_name(name)
        if file.is_file() and not file.is_symlink():
            return file
    return None


def _shots(found: Mapping[str, Any], results: Mapping[str, Any]) -> tuple[str, ...]:
    """How the questions were put, as far as the file says."""
    shots = mapping(found.get("n-shot"))
    by_number: dict[int, list[str]] = {}
    for name in results:
        if (n := whole(shots.get(name))) is not None:
            by_number.setdefault(n, []).append(name)
    said = [
        f"{n}-shot: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
        for n, names in sorted(by_number.items())
    ]
    template = found.get("chat_template")
    if template is not None:
        said.append("through a chat template")
    return (f"asked {'; '.join(said)}",) if said else ()


def _items(samples: Path, task: str, score: Reported) -> Iterator[Item]:
    """The items of one task, those of the score's filter.

    Raises:
        ForeignFileError: a sample lacks what it must have, or a question stands there twice.
    """
    seen: set[int] = set()
    for where, sample in json_lines(samples):
        try:
            row = mapping(sample)
            if row.get("filter", score.filter) != score.filter:
                continue
            item = _item(row, task, score)
        except UNREADABLE as error:
            raise ForeignFileError(
                f"`{where}` is no sample of lm-eval: {error}", hint=DAMAGED_HINT
            ) from error
        if item.doc_id in seen:
            raise ForeignFileError(f"`{where}`: question {item.doc_id} is there twice", hint=DAMAGED_HINT)
        seen.add(item.doc_id)
        yield item


def _item(row: Mapping[str, Any], task: str, score: Reported) -> Item:
    doc_id = whole(row["doc_id"])
    if doc_id is None:
        raise ValueError(f"doc_id {row['doc_id']!r}")
    arguments = _arguments(row.get("arguments"))
    responses = [_first(one) for one in listed(row.get("resps"))]
    is_scored = bool(responses) and all(map(_is_log_prob, responses))
    labels = tuple(_text(one[1]).strip() if len(one) > 1 else "" for one in arguments)
    choices = labels if is_scored and len(labels) == len(responses) > 1 else ()
    log_probs = tuple(_log_prob(one[0]) for one in responses) if is_scored else ()
    names = [name for name in listed(row.get("metrics")) if isinstance(name, str)] or [score.metric]
    metrics = {f"{name},{score.filter}": _value(row.get(name)) for name in names if name in row}
    response = "" if is_scored or not responses else _text(responses[0])
    extracted = _text(_first(listed(row.get("filtered_resps"))[:1])) or response
    if choices:
        response = extracted = choices[max(range(len(choices)), key=log_probs.__getitem__)]
    return Item(
        task=task,
        doc_id=doc_id,
        doc_hash=text(row.get("doc_hash")) or _hash(row.get("doc")),
        prompt=_text(arguments[0][0]) if arguments and arguments[0] else "",
        target=_target(row.get("target"), choices),
        response=response,
        extracted="" if is_scored and not choices else extracted,
        score=_share(metrics.get(score.key)),
        metrics=metrics,
        finish_reason="loglikelihood" if is_scored else UNKNOWN_END,
        prompt_tokens=0,
        output_tokens=0,
        choices=choices,
        log_probs=log_probs,
    )


def _target(given: Any, choices: tuple[str, ...]) -> str:
    """The right answer: of choices, whose number lm-eval writes, the text."""
    target = _text(given)
    is_number = target.isascii() and target.isdecimal() and len(target) < 10
    return choices[int(target)] if is_number and int(target) < len(choices) else target


def _arguments(given: Any) -> list[list[Any]]:
    """The arguments of each request, of both layouts."""
    if isinstance(given, Mapping):
        return [list(mapping(one).values()) for one in given.values()]
    return [one for one in listed(given) if isinstance(one, list)]


def _first(value: Any) -> Any:
    """What is in lists of one entry each; a pair of log-probability and flag stays one."""
    while isinstance(value, list) and value and not _is_log_prob(value):
        value = value[0]
    return value


def _is_log_prob(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2 or str(value[1]) not in ("True", "False"):
        return False
    return number(value[0]) is not None or str(value[0]).strip().lower() in ENDLESS


def _log_prob(value: Any) -> float:
    """A log-probability; of what a model holds for impossible it is endless."""
    found = float(value)
    if math.isnan(found) or found == math.inf:
        raise ValueError(f"a log-probability is {found}")
    return found


def _value(value: Any) -> Any:
    """A metric of an item; one that is a number must be finite."""
    if isinstance(value, int | float) and not isinstance(value, bool) and number(value) is None:
        raise ValueError(f"a metric is {value}")
    return value


def _share(value: Any) -> float | None:
    if isinstance(value, bool | int | float) and 0.0 <= float(value) <= 1.0:
        return float(value)
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _hash(doc: Any) -> str:
    """The hash of a question, as lm-eval computes it."""
    return hashlib.sha256(json.dumps(doc, indent=2, ensure_ascii=False).encode(errors="replace")).hexdigest()
