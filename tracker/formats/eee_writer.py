"""Runs of this home as records of Every Eval Ever, each held against the schema of its version 0.3.0."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from tracker.errors import TrackerError
from tracker.foreign_text import one_line
from tracker.records import Run, TaskScore
from tracker.records.origins import IMPORTED, named_id

SCHEMA_VERSION = "0.3.0"
LIBRARY = "open-weight-tracker"
LEVEL = 0.95
UNNAMED = "not named"
CHECKSUM = "sha256"
Document = dict[str, Any]


class RecordError(TrackerError):
    """A record that its schema refuses: a bug of this program, and no file is written."""


def eee_record(run: Run, *, version: str, organization: str | None) -> Document:
    """The aggregate record of a run, without the reference to its samples.

    `version`: of this program; `organization`: who measured it.
    """
    stamp = str(int(run.started_at.timestamp()))
    engine = run.engine
    library = {"name": LIBRARY, "version": version}
    if run.origin is not None:
        library = {"name": run.origin.tool, "version": run.origin.tool_version or "unknown"}
    is_ours = run.origin is None and run.settings.base_url is None
    details = {
        "deployment_type": "self_deployed" if is_ours else "unknown",
        "model_availability": "open_weights" if is_ours else "unknown",
    }
    details |= {"revision": run.model.revision, "suite": run.suite, "suite_version": str(run.suite_version)}
    details |= {"n_params": str(run.model.n_params)} if run.model.n_params else {}
    details |= {"quantization": run.model.quantization} if run.model.quantization else {}
    source = {
        "source_name": LIBRARY if run.origin is None else f"{LIBRARY}, {IMPORTED}",
        "source_type": "evaluation_run",
        "source_organization_name": (run.origin and run.origin.evaluated_by) or organization or UNNAMED,
        "evaluator_relationship": "third_party",
    }
    model: Document = {"name": named_id(run.model.model_id), "id": named_id(run.model.model_id)}
    model["additional_details"] = details
    if engine is not None:
        model["inference_engine"] = {"name": engine.engine, "version": engine.engine_version}
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": evaluation_id(run),
        "evaluation_timestamp": stamp,
        "retrieved_timestamp": stamp,
        "source_metadata": source,
        "eval_library": library,
        "model_info": model,
        "evaluation_results": [_result(score, stamp) for score in run.scores],
    }


def evaluation_id(run: Run) -> str:
    """What joins a record and its samples."""
    return f"{run.suite}/{named_id(run.model.model_id)}/{run.run_id}"


def result_id(score: TaskScore) -> str:
    """What joins a result and its samples."""
    return f"{score.task}:{score.metric}:{score.filter}"


def _result(score: TaskScore, stamp: str) -> Document:
    details = {"filter": score.filter, "chance": repr(score.chance)}
    details |= {"group": score.group} if score.group else {}
    details |= {"n_total": str(score.n_total)} if score.n_total else {}
    doubt: Document = {"num_samples": score.n_items}
    if score.stderr is not None:
        doubt["standard_error"] = {"value": score.stderr}
    if score.ci_low is not None and score.ci_high is not None:
        doubt["confidence_interval"] = {
            "lower": score.ci_low, "upper": score.ci_high, "confidence_level": LEVEL,
        }  # fmt: skip
    return {
        "evaluation_result_id": result_id(score),
        "evaluation_name": score.task,
        "evaluation_timestamp": stamp,
        "source_data": {"dataset_name": score.task, "source_type": "other"},
        "metric_config": {
            "metric_id": score.metric,
            "metric_name": score.metric,
            "metric_unit": "proportion",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0.0,
            "max_score": 1.0,
            "additional_details": details,
        },
        "score_details": {"score": score.value, "uncertainty": doubt},
    }


def eee_sample(item: Mapping[str, Any], run: Run, score: TaskScore) -> Document:
    """One item of a score; `item` is a row of the read `items_page`."""
    about = {
        "doc_hash": item["doc_hash"],
        "finish_reason": item["finish_reason"],
        "cluster": item["cluster"],
    }
    asked = json.dumps({"raw": item["prompt"], "reference": [item["target"]]}, sort_keys=True)
    found: Document = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": evaluation_id(run),
        "model_id": named_id(run.model.model_id),
        "evaluation_name": score.task,
        "evaluation_result_id": result_id(score),
        "sample_id": str(item["doc_id"]),
        "sample_hash": hashlib.sha256(asked.encode(errors="replace")).hexdigest(),
        "interaction_type": "single_turn",
        "input": {"raw": item["prompt"], "reference": [item["target"]]},
        "output": {"raw": [item["response"]]},
        "answer_attribution": [
            {
                "turn_idx": 0, "source": "output.raw", "extracted_value": item["extracted"],
                "extraction_method": score.filter, "is_terminal": True,
            }
        ],
        "evaluation": {"score": item["score"], "is_correct": item["score"] == 1.0},
        "token_usage": {
            "input_tokens": item["prompt_tokens"], "output_tokens": item["output_tokens"],
            "total_tokens": item["prompt_tokens"] + item["output_tokens"],
        },
        "metadata": {name: value for name, value in about.items() if value is not None},
    }  # fmt: skip
    if item["choices"]:
        found["input"]["choices"] = list(item["choices"])
    if item["thinking"]:
        found["output"]["reasoning_trace"] = [item["thinking"]]
    if item["latency_s"] is not None:
        found["performance"] = {"latency_ms": item["latency_s"] * 1000}
    return found


def check_record(document: Document) -> None:
    """Hold a record against its schema.

    Raises:
        RecordError: it does not fit.
    """
    _check("eee_record.json", [document])


def check_samples(documents: Iterable[Document]) -> None:
    """Hold samples against their schema.

    Raises:
        RecordError: one does not fit.
    """
    _check("eee_sample.json", documents)


def _check(schema: str, documents: Iterable[Document]) -> None:
    validator = _validator(schema)
    for document in documents:
        error = next(validator.iter_errors(document), None)
        if error is not None:
            place = "/".join(map(str, error.absolute_path)) or "record"
            raise RecordError(f"{place}: {one_line(error.message)[:200]}", hint="nothing was written")


@cache
def _validator(schema: str) -> Any:
    from jsonschema import Draft7Validator  # not for those who export nothing

    return Draft7Validator(json.loads((files("tracker.formats") / "schemas" / schema).read_bytes()))
