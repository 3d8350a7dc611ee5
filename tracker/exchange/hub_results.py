"""Scores as the Hub reads them from `.eval_results/*.yaml` of a model's repository.

The format is that of `EvalResultEntry` in huggingface_hub 2, the names are those of its examples. Writing a
file sends nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tracker.records import Run, TaskScore

PERCENT = 100.0  # the Hub's leaderboards show percent
HUB_TASKS: Mapping[str, tuple[str, str]] = {  # task of lm-eval: benchmark's data set and its task on the Hub
    "gpqa_diamond_cot_zeroshot": ("Idavidrein/gpqa", "gpqa_diamond"),
    "gpqa_diamond_zeroshot": ("Idavidrein/gpqa", "gpqa_diamond"),
    "gsm8k": ("openai/gsm8k", "gsm8k"),
    "mmlu_pro": ("TIGER-Lab/MMLU-Pro", "mmlu_pro"),
}


def hub_result(run: Run, score: TaskScore) -> dict[str, Any]:
    """One score as an entry of such a file."""
    dataset, task = HUB_TASKS[score.task]
    interval = ""
    if score.ci_low is not None and score.ci_high is not None:
        interval = f", 95% interval {PERCENT * score.ci_low:.1f} to {PERCENT * score.ci_high:.1f}"
    engine = run.engine.engine if run.engine else run.settings.engine
    return {
        "dataset": {"id": dataset, "task_id": task},
        "value": round(PERCENT * score.value, 4),
        "date": f"{run.started_at:%Y-%m-%d}",
        "notes": (
            f"open-weight-tracker, {engine}, revision {run.model.revision}, {score.metric} ({score.filter}),"
            f" {score.n_items} items{interval}"
        ),
    }


def hub_file(results: Sequence[Mapping[str, Any]]) -> str:
    """The results as YAML; every text is quoted as in JSON, which is YAML."""
    lines = []
    for result in results:
        dataset = result["dataset"]
        lines += [
            "- dataset:",
            f"    id: {json.dumps(dataset['id'])}",
            f"    task_id: {json.dumps(dataset['task_id'])}",
            f"  value: {result['value']}",
            f"  date: {json.dumps(result['date'])}",
            f"  notes: {json.dumps(result['notes'])}",
        ]
    return "\n".join(lines) + "\n"
