"""Small results of lm-eval and records of Every Eval Ever, to be read as they are or damaged on purpose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DATE = "2025-03-04T05-06-07.123456"
SECONDS = 1741064767.0  # the same moment
CORRECT = (1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0)


def lm_eval_document(task: str = "sums", *, model: str = "acme/atlas-1b") -> dict[str, Any]:
    """A results file with one task."""
    mean = sum(CORRECT) / len(CORRECT)
    return {
        "results": {task: {"alias": task, "acc,none": mean, "acc_stderr,none": 0.18}},
        "group_subtasks": {task: []},
        "configs": {
            task: {"metric_list": [{"metric": "acc", "aggregation": "mean"}]}
        },
        "n-shot": {task: 2},
        "higher_is_better": {task: {"acc": True}},
        "n-samples": {task: {"original": 100, "effective": len(CORRECT)}},
        "config": {"model": "hf", "model_args": f"pretrained={model}", "model_num_parameters": 10**9},
        "date": SECONDS,
        "model_name": model,
        "lm_eval_version": "0.4.9",
        "total_evaluation_time_seconds": "12.5",
    }  # fmt: skip


def lm_eval_samples() -> list[dict[str, Any]]:
    """The samples of that task, in the recent layout."""
    return [
        {
            "doc_id": number,
            "doc": {"question": f"{number} + 1"},
            "target": str(number % 2),
            "arguments": {
                f"gen_args_{place}": {"arg_0": f"{number} + 1 =", "arg_1": f" {place}"} for place in range(2)
            },
            "resps": [[["-1.5", "False"]], [["-0.5", "True"]]],
            "filtered_resps": [["-1.5", "False"], ["-0.5", "True"]],
            "filter": "none",
            "metrics": ["acc"],
            "doc_hash": f"{number:064x}",
            "prompt_hash": "p",
            "target_hash": "t",
            "acc": score,
        }
        for number, score in enumerate(CORRECT)
    ]


def write_lm_eval(
    folder: Path,
    document: dict[str, Any] | None = None,
    samples: list[dict[str, Any]] | None = None,
    *,
    task: str = "sums",
) -> Path:
    """Write both beside each other; the path of the results."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"results_{DATE}.json"
    path.write_text(json.dumps(document or lm_eval_document(task)))
    rows = lm_eval_samples() if samples is None else samples
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"samples_{task}_{DATE}.jsonl").write_text(lines)
    return path


def older_lm_eval(folder: Path) -> Path:
    """The same as version 0.4.0 wrote it: lists for arguments, samples as one list, no counts."""
    folder.mkdir(parents=True, exist_ok=True)
    document = lm_eval_document()
    for name in (
        "n-samples",
        "model_name",
        "group_subtasks",
        "lm_eval_version",
        "total_evaluation_time_seconds",
    ):
        document.pop(name)
    document["config"] |= {"model_args": "pretrained=acme/atlas-1b"}
    samples = lm_eval_samples()
    for sample in samples:
        sample["arguments"] = [list(one.values()) for one in sample["arguments"].values()]
        sample["resps"] = [[[-1.5, False]], [[-0.5, True]]]
        sample["filtered_resps"] = [[-1.5, False], [-0.5, True]]
        for name in ("filter", "metrics", "doc_hash", "prompt_hash", "target_hash"):
            sample.pop(name)
    path = folder / "results.json"
    path.write_text(json.dumps(document))
    (folder / "pretrained__acme__atlas-1b_sums.jsonl").write_text(json.dumps(samples, indent=2))
    return path


def eee_document(*, model: str = "acme/atlas-1b") -> dict[str, Any]:
    """A record with one result, in percent."""
    mean = 100 * sum(CORRECT) / len(CORRECT)
    return {
        "schema_version": "0.3.0",
        "evaluation_id": f"sums/{model}/1741064767",
        "retrieved_timestamp": "1741064767",
        "source_metadata": {
            "source_type": "evaluation_run",
            "source_organization_name": "Acme Labs",
            "evaluator_relationship": "third_party",
        },
        "eval_library": {"name": "helm", "version": "1.0"},
        "model_info": {"name": "Atlas", "id": model, "additional_details": {}},
        "evaluation_results": [
            {
                "evaluation_result_id": "accuracy",
                "evaluation_name": "sums",
                "source_data": {"dataset_name": "sums", "source_type": "other"},
                "metric_config": {
                    "metric_id": "accuracy", "lower_is_better": False, "score_type": "continuous",
                    "min_score": 0, "max_score": 100,
                },
                "score_details": {"score": mean, "uncertainty": {"num_samples": len(CORRECT)}},
            }
        ],
    }  # fmt: skip


def eee_samples(*, model: str = "acme/atlas-1b") -> list[dict[str, Any]]:
    """Its samples."""
    return [
        {
            "schema_version": "0.3.0",
            "evaluation_id": f"sums/{model}/1741064767",
            "model_id": model,
            "evaluation_name": "sums",
            "evaluation_result_id": "accuracy",
            "sample_id": str(number),
            "interaction_type": "single_turn",
            "input": {"raw": f"{number} + 1 =", "reference": [str(number + 1)]},
            "output": {"raw": [str(number + 1)]},
            "answer_attribution": [],
            "evaluation": {"score": 100 * score, "is_correct": score == 1.0},
        }
        for number, score in enumerate(CORRECT)
    ]


def write_eee(
    folder: Path, document: dict[str, Any] | None = None, samples: list[dict[str, Any]] | None = None
) -> Path:
    """Write both beside each other; the path of the record."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "record.json"
    path.write_text(json.dumps(document or eee_document()))
    rows = eee_samples() if samples is None else samples
    (folder / "record_samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
