"""Records of Every Eval Ever with their samples: `NAME.json` and `NAME_samples.jsonl` beside it.

The ranges and dates of a record are read as in `tracker.sources.every_eval_ever`, which ingests the aggregate
records of the public collection.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from tracker.formats.bounded import DAMAGED_HINT, ForeignFileError, checked_name, json_lines, sha256_of
from tracker.formats.foreign_run import UNKNOWN_END, ForeignRun, ForeignTask, Reported
from tracker.formats.lm_eval_results import SHARES
from tracker.records import Item
from tracker.records.origins import named_id
from tracker.sources.every_eval_ever import read_result, score_range, seconds
from tracker.sources.fields import listed, mapping, number, text, whole

TOOL = "every-eval-ever"
SAMPLES_END = "_samples.jsonl"
LEVEL = 0.95  # of the intervals that are taken over
NO_FILTER = "none"
KNOWN_ENDS = ("stop", "length", "repetition", "refused", "loglikelihood", UNKNOWN_END)


def is_eee(document: Any) -> bool:
    """Whether this is a record of Every Eval Ever."""
    found = mapping(document)
    return isinstance(found.get("evaluation_results"), list) and isinstance(found.get("model_info"), Mapping)


def read_eee(path: Path, document: Any) -> ForeignRun:
    """The run in a record.

    Raises:
        ForeignFileError: it names no model, has no result, or contradicts its samples.
    """
    record = mapping(document)
    model, meta = mapping(record.get("model_info")), mapping(record.get("source_metadata"))
    library = mapping(record.get("eval_library"))
    name = checked_name(text(model.get("id")) or text(model.get("name")), str(path), "the model")
    samples = _samples(path, record)
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for result in map(mapping, record["evaluation_results"]):
        task = checked_name(result.get("evaluation_name"), str(path), "an evaluation")
        by_task.setdefault(task, []).append(result)
    if not by_task:
        raise ForeignFileError(f"`{path}` has no results", hint=DAMAGED_HINT)
    groups = {row: text(_details(results[0]).get("group")) for row, results in by_task.items()}
    identity = (text(record.get("evaluation_id")), name)
    tasks = tuple(_task(path, row, results, samples, identity, groups) for row, results in by_task.items())
    tool = text(library.get("name"))
    details = mapping(model.get("additional_details"))
    return ForeignRun(
        tool=TOOL,
        tool_version=text(record.get("schema_version")),
        path=path,
        files=(path,) if samples is None else (path, samples),
        model=named_id(name),
        started_at=_moment(path, record),
        tasks=tasks,
        revision=text(details.get("revision")),
        n_params=whole(details.get("n_params")),
        evaluated_by=text(meta.get("source_organization_name")),
        warnings=(f"evaluated with {tool} {text(library.get('version')) or ''}".strip(),) if tool else (),
    )


def _moment(path: Path, record: Mapping[str, Any]) -> datetime | None:
    stamp = seconds(record.get("evaluation_timestamp")) or seconds(record.get("retrieved_timestamp"))
    try:
        return None if stamp is None else datetime.fromtimestamp(stamp, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise ForeignFileError(f"`{path}`: {stamp:g} is no date", hint=DAMAGED_HINT) from error


def _samples(path: Path, record: Mapping[str, Any]) -> Path | None:
    """The samples beside the record; a path out of its folder is not followed.

    Raises:
        ForeignFileError: they have another checksum than the record says.
    """
    detailed = mapping(record.get("detailed_evaluation_results"))
    given = text(detailed.get("file_path"))
    names = [f"{path.stem}{SAMPLES_END}"] if given is None else [given.rpartition("/")[2]]
    for name in names:
        if not name or "\\" in name or "\0" in name or name in (".", ".."):
            continue
        file = path.with_name(name)
        if not file.is_file() or file.is_symlink():
            continue
        checksum = text(detailed.get("checksum"))
        if checksum and detailed.get("hash_algorithm") == "sha256" and checksum != _checksum(file):
            problem = f"`{file}` is not the file that `{path.name}` describes: its checksum differs"
            raise ForeignFileError(problem, hint=DAMAGED_HINT)
        return file
    return None


def _checksum(file: Path) -> str:
    sha256_of((file,))  # bounds and errors
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _details(result: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(mapping(result.get("metric_config")).get("additional_details"))


def _task(
    path: Path,
    name: str,
    results: list[Mapping[str, Any]],
    samples: Path | None,
    identity: tuple[str | None, str],
    groups: Mapping[str, str | None],
) -> ForeignTask:
    ranges = [score_range(result) for result in results]
    reported = [_reported(path, name, result, ends) for result, ends in zip(results, ranges, strict=True)]
    place = next((n for n, ends in enumerate(ranges) if ends is not None), None)
    chosen = 0 if place is None else place
    details = _details(results[chosen])
    doubt = mapping(mapping(results[chosen].get("score_details")).get("uncertainty"))
    read = None
    if samples is not None and place is not None:
        key = text(results[chosen].get("evaluation_result_id"))
        ends = ranges[chosen] or (0.0, 1.0)
        read = partial(_items, samples, name, key, reported[chosen], ends, identity)
    return ForeignTask(
        name=name,
        score=None if place is None else reported[place],
        metrics=tuple(reported),
        items=read,
        n_items=whole(doubt.get("num_samples")),
        n_total=whole(details.get("n_total"))
        or whole(mapping(results[chosen].get("source_data")).get("samples_number")),
        chance=number(details.get("chance")),
        parts=tuple(part for part, group in groups.items() if group == name),
        group=groups.get(name) if groups.get(name) in groups else None,
    )


def _reported(path: Path, task: str, result: Mapping[str, Any], ends: tuple[float, float] | None) -> Reported:
    """A result; one with a range is a share of it."""
    config, details = mapping(result.get("metric_config")), mapping(result.get("score_details"))
    value = number(details.get("score"))
    if value is None or (ends is not None and not ends[0] <= value <= ends[1]):
        problem = f"`{path}`: {task}: the score is {details.get('score')}, which is not possible"
        raise ForeignFileError(problem, hint=DAMAGED_HINT)
    metric = text(config.get("metric_id")) or text(config.get("metric_name")) or "score"
    better = config.get("lower_is_better")
    filter_name = text(_details(result).get("filter"))  # which only our own records have
    is_mean = config.get("score_type") == "binary" or (filter_name is not None and metric in SHARES)
    found = Reported(
        checked_name(metric, str(path), "a metric"),
        filter_name or NO_FILTER,
        value,
        higher_is_better=not better if isinstance(better, bool) else None,
        is_mean=True if is_mean else None,
    )
    if ends is None:
        return found
    try:
        share = read_result("model", {**result, "evaluation_name": task}, {})
    except ValueError as error:
        raise ForeignFileError(f"`{path}`: {task}: {error}", hint=DAMAGED_HINT) from error
    assert share is not None
    level = number(
        mapping(mapping(details.get("uncertainty")).get("confidence_interval")).get("confidence_level")
    )
    interval = None
    if share.ci_low is not None and share.ci_high is not None and level in (None, LEVEL):
        interval = (share.ci_low, share.ci_high)
    return replace(found, value=share.value, stderr=share.stderr, interval=interval)


def _items(
    samples: Path,
    task: str,
    key: str | None,
    score: Reported,
    ends: tuple[float, float],
    identity: tuple[str | None, str],
) -> Iterator[Item]:
    """The items of one result.

    Raises:
        ForeignFileError: one is of another model or evaluation, lacks what it must have, or is there twice.
    """
    seen: set[str] = set()
    for where, sample in json_lines(samples, having=b"evaluation_name"):
        row = mapping(sample)
        if row.get("evaluation_name") != task or (key and row.get("evaluation_result_id") not in (None, key)):
            continue
        for name, told in zip(("evaluation_id", "model_id"), identity, strict=True):
            if told is not None and row.get(name) != told:
                problem = f"`{where}` has another {name} than its record: `{str(row.get(name))[:60]}`"
                raise ForeignFileError(problem, hint="import one record for each model and evaluation")
        name = str(row.get("sample_id"))
        if "sample_id" not in row or name in seen:
            what = "is there twice" if name in seen else "has no `sample_id`"
            raise ForeignFileError(f"`{where}` {what}", hint=DAMAGED_HINT)
        doc_id = int(name) if name.isascii() and name.isdecimal() and len(name) < 19 else len(seen)
        seen.add(name)
        try:
            yield _item(row, task, doc_id, score, ends)
        except (TypeError, ValueError) as error:
            raise ForeignFileError(f"`{where}`: {error}", hint=DAMAGED_HINT) from error


def _item(row: Mapping[str, Any], task: str, doc_id: int, score: Reported, ends: tuple[float, float]) -> Item:
    given, output, about = mapping(row.get("input")), mapping(row.get("output")), mapping(row.get("metadata"))
    value = number(mapping(row.get("evaluation")).get("score"))
    if value is None or not ends[0] <= value <= ends[1]:
        raise ValueError(f"its score is {mapping(row.get('evaluation')).get('score')}, which is not possible")
    share = (value - ends[0]) / (ends[1] - ends[0])
    references = [str(one) for one in listed(given.get("reference"))]
    prompt = text(given.get("formatted")) or str(given.get("raw") or "")
    usage, speed = mapping(row.get("token_usage")), mapping(row.get("performance"))
    messages = [mapping(one) for one in listed(row.get("messages"))]
    said = [str(one.get("content") or "") for one in messages if one.get("role") == "assistant"]
    answers = [mapping(one) for one in listed(row.get("answer_attribution"))]
    end = str(about.get("finish_reason"))
    latency_ms = number(speed.get("latency_ms"))
    asked = json.dumps({"raw": str(given.get("raw") or ""), "reference": references}, sort_keys=True)
    return Item(
        task=task,
        doc_id=doc_id,
        doc_hash=text(about.get("doc_hash"))
        or text(row.get("sample_hash"))
        or hashlib.sha256(asked.encode(errors="replace")).hexdigest(),
        prompt=prompt,
        target=references[0] if len(references) == 1 else json.dumps(references) if references else "",
        response="\n".join(str(one) for one in listed(output.get("raw"))) if output else (said or [""])[-1],
        extracted=str(answers[-1].get("extracted_value") or "") if answers else "",
        score=share,
        metrics={score.key: share},
        finish_reason=end if end in KNOWN_ENDS else UNKNOWN_END,
        prompt_tokens=whole(usage.get("input_tokens")) or 0,
        output_tokens=whole(usage.get("output_tokens")) or 0,
        latency_s=None if latency_ms is None else latency_ms / 1000,
        choices=tuple(str(one) for one in listed(given.get("choices"))),
        thinking="\n\n".join(str(one) for one in listed(output.get("reasoning_trace"))) or None,
        cluster=text(about.get("cluster")),
    )
