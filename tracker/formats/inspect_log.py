"""Logs of Inspect (inspect_ai): `.eval`, a zip file with an entry per sample, and `.json`, one document."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tracker.formats.bounded import DAMAGED_HINT, MAX_ITEMS, ForeignFileError, checked_name, parsed
from tracker.formats.foreign_run import UNKNOWN_END, ForeignRun, ForeignTask, Reported
from tracker.formats.zipped import zipped_file
from tracker.records import Item
from tracker.sources.fields import listed, mapping, moment, number, text, whole

TOOL = "inspect"
HEADER, SAMPLES = "header.json", "samples/"
LETTERS = {
    "C": 1.0,
    "I": 0.0,
    "P": 0.5,
    "N": 0.0,
}  # correct, incorrect, partial, no answer, as Inspect counts
MEANS = ("accuracy", "mean")
ENDS = {"stop": "stop", "max_tokens": "length", "model_length": "length"}
PROVIDERS = ("hf", "vllm", "sglang", "transformer_lens", "llama-cpp-python", "ollama", "openai-api")
ENDED_HINT = "import a log that ended; `inspect eval-retry` completes one"


def is_inspect(document: Any) -> bool:
    """Whether this is a log of Inspect, or its header."""
    found = mapping(document)
    return isinstance(found.get("eval"), Mapping) and "status" in found


def read_inspect_zip(path: Path) -> ForeignRun:
    """The run in a `.eval` file.

    Raises:
        ForeignFileError: it is damaged, did not end, or contradicts itself.
    """
    with zipped_file(path) as found:
        if HEADER not in found.names:
            what = (
                "did not end" if any("_journal" in name for name in found.names) else "is no log of Inspect"
            )
            raise ForeignFileError(f"`{path}` {what}: it has no `{HEADER}`", hint=ENDED_HINT)
        header = parsed(found.read(HEADER), f"{path}: {HEADER}")
        n_samples = sum(name.startswith(SAMPLES) and name.endswith(".json") for name in found.names)
    if not is_inspect(header):
        raise ForeignFileError(f"`{path}` is no log of Inspect", hint=DAMAGED_HINT)
    return _run(path, header, n_samples)


def read_inspect_json(path: Path, document: Any) -> ForeignRun:
    """The run in a log that is one JSON document.

    Raises:
        ForeignFileError: it did not end, or contradicts itself.
    """
    return _run(path, document, len(listed(mapping(document).get("samples"))))


def _run(path: Path, document: Any, n_samples: int) -> ForeignRun:
    found = mapping(document)
    about, results = mapping(found.get("eval")), mapping(found.get("results"))
    if found.get("status") != "success":
        problem = f"`{path}` did not end: its status is `{str(found.get('status'))[:40]}`"
        raise ForeignFileError(problem, hint=ENDED_HINT)
    if found.get("invalidated") is True:
        raise ForeignFileError(f"`{path}` was declared invalid", hint="import another log")
    completed = whole(results.get("completed_samples"))
    if n_samples and completed is not None and completed != n_samples:
        problem = f"`{path}` has {n_samples:,} samples, but says that {completed:,} were completed"
        raise ForeignFileError(problem, hint=DAMAGED_HINT)
    name = checked_name(about.get("task"), str(path), "the task").rpartition("/")[2]
    stats = mapping(found.get("stats"))
    version = text(mapping(about.get("packages")).get("inspect_ai"))
    epochs = whole(mapping(about.get("config")).get("epochs")) or 1
    return ForeignRun(
        tool=TOOL,
        tool_version=version,
        path=path,
        files=(path,),
        model=_model(path, about),
        started_at=moment(about.get("created")),
        ended_at=moment(stats.get("completed_at")),
        tasks=(_task(path, name, found, epochs, n_samples),),
        warnings=(f"each question was asked {epochs} times",) if epochs > 1 else (),
    )


def _model(path: Path, about: Mapping[str, Any]) -> str:
    """The model without the name of what ran it, where an `org/name` remains."""
    name = checked_name(about.get("model"), str(path), "the model")
    provider, _, rest = name.partition("/")
    if provider in PROVIDERS and "/" in rest:
        name = rest
    return name if name.count("/") < 3 and not name.startswith("/") else name.rpartition("/")[2]


def _task(path: Path, name: str, found: Mapping[str, Any], epochs: int, n_samples: int) -> ForeignTask:
    metrics: list[Reported] = []
    score: Reported | None = None
    for one in listed(mapping(found.get("results")).get("scores")):
        scorer = checked_name(mapping(one).get("name"), str(path), "a scorer")
        values = mapping(mapping(one).get("metrics"))
        for key, metric in values.items():
            if key in ("stderr", "std", "var", "bootstrap_stderr"):
                continue
            value = number(mapping(metric).get("value"))
            if value is None:
                problem = f"`{path}`: {scorer}: {key} is {mapping(metric).get('value')}, which is no score"
                raise ForeignFileError(problem, hint=DAMAGED_HINT)
            reported = Reported(
                checked_name(key, str(path), "a metric"),
                scorer,
                value,
                stderr=number(mapping(values.get("stderr")).get("value")) if key in MEANS else None,
                is_mean=True if key in MEANS else None,
            )
            metrics.append(reported)
            if score is None and key in MEANS and 0.0 <= value <= 1.0:
                score = reported
    if not metrics:
        raise ForeignFileError(
            f"`{path}` has no scores", hint="import a log that was scored (`inspect score`)"
        )
    read = partial(_items, path, found, name, score or metrics[0], epochs)
    return ForeignTask(
        name, score, tuple(metrics), items=read if n_samples else None, n_items=n_samples or None,
        n_total=whole(mapping(mapping(found.get("eval")).get("dataset")).get("samples")),
    )  # fmt: skip


def _samples(path: Path, found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if "samples" in found:
        for place, sample in enumerate(listed(found["samples"]), 1):
            yield f"{path}, sample {place:,}", sample
        return
    with zipped_file(path) as packed:
        for name in packed.names:
            if name.startswith(SAMPLES) and name.endswith(".json"):
                yield f"{path}: {name}", parsed(packed.read(name), f"{path}: {name}")


def _items(path: Path, found: Mapping[str, Any], task: str, score: Reported, epochs: int) -> Iterator[Item]:
    """The items, numbered in the order of the data set.

    Raises:
        ForeignFileError: a sample lacks what it must have, failed, or is there twice.
    """
    given = listed(mapping(mapping(found.get("eval")).get("dataset")).get("sample_ids"))
    places = {str(one): place for place, one in enumerate(given[:MAX_ITEMS])}
    seen: set[int] = set()
    for where, sample in _samples(path, found):
        row = mapping(sample)
        name, epoch = row.get("id"), whole(row.get("epoch")) or 1
        if not isinstance(name, str | int) or isinstance(name, bool) or not 1 <= epoch <= epochs:
            raise ForeignFileError(f"`{where}` has no `id`, or an impossible `epoch`", hint=DAMAGED_HINT)
        if row.get("error"):
            raise ForeignFileError(f"`{where}` failed, so its score is not known", hint=ENDED_HINT)
        doc_id = places.setdefault(str(name), len(places)) * epochs + epoch - 1
        if doc_id in seen:
            raise ForeignFileError(f"`{where}` is there twice: `{str(name)[:40]}`", hint=DAMAGED_HINT)
        seen.add(doc_id)
        yield _item(row, task, score, doc_id, cluster=str(name) if epochs > 1 else None)


def _item(row: Mapping[str, Any], task: str, score: Reported, doc_id: int, *, cluster: str | None) -> Item:
    output = mapping(row.get("output"))
    first = mapping((listed(output.get("choices")) or [None])[0])
    response, thinking = _content(mapping(first.get("message")).get("content"))
    given = mapping(mapping(row.get("scores")).get(score.filter))
    value = _value(given.get("value"))
    usage = mapping(output.get("usage"))
    prompt, target = _prompt(row.get("input")), _target(row.get("target"))
    choices = tuple(str(one) for one in listed(row.get("choices")))
    asked = json.dumps([prompt, target, choices], sort_keys=True)
    return Item(
        task=task,
        doc_id=doc_id,
        doc_hash=hashlib.sha256(asked.encode(errors="replace")).hexdigest(),
        prompt=prompt,
        target=target,
        response=response or text(output.get("completion")) or "",
        extracted=given["answer"] if isinstance(given.get("answer"), str) else "",
        score=value if value is not None and 0.0 <= value <= 1.0 else None,
        metrics={} if value is None else {score.key: value},
        finish_reason=ENDS.get(str(first.get("stop_reason")), UNKNOWN_END),
        prompt_tokens=whole(usage.get("input_tokens")) or 0,
        output_tokens=whole(usage.get("output_tokens")) or 0,
        latency_s=number(output.get("time")),
        choices=choices,
        thinking=thinking or None,
        cluster=cluster,
    )


def _value(value: Any) -> float | None:
    if isinstance(value, str) and value in LETTERS:
        return LETTERS[value]
    return float(value) if isinstance(value, bool) else number(value)


def _content(value: Any) -> tuple[str, str]:
    """The text and the thinking of a message."""
    if isinstance(value, str):
        return value, ""
    parts = [mapping(one) for one in listed(value)]
    said = [str(one.get("text")) for one in parts if one.get("type") == "text"]
    thought = [str(one.get("reasoning")) for one in parts if one.get("type") == "reasoning"]
    return "\n".join(said), "\n".join(thought)


def _prompt(value: Any) -> str:
    """The question: a text, or messages with their roles."""
    if isinstance(value, str):
        return value
    messages = [mapping(one) for one in listed(value)]
    if len(messages) == 1:
        return _content(messages[0].get("content"))[0]
    return "\n\n".join(f"{one.get('role')}: {_content(one.get('content'))[0]}" for one in messages)


def _target(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) if value else ""
