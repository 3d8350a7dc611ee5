"""How long the answers of a job may become, by the stored answers of other models and of earlier runs.

An engine that begins with the longest is not left with one of them at the end. Nothing else depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracker.errors import StoreError
from tracker.records import Job
from tracker.settings import Settings
from tracker.store import open_snapshot, snapshot_id

MOST_ITEMS = 100_000  # of a job, half a megabyte of its file


def expected_tokens(job: Job, settings: Settings) -> Mapping[str, tuple[int, ...]]:
    """Of each task with stored answers, the tokens of an answer to each `doc_id`; 0: unknown.

    Empty where the job leaves no order to choose: a budget may end it, so that items are drawn at random. A
    store that cannot be read tells nothing here; who reads it for an answer says so.
    """
    ends_early = (job.minutes, job.until_half_width, job.until_mean_half_width, job.reference)
    if any(one is not None for one in ends_early) or snapshot_id(settings) is None:
        return {}
    try:
        rows = _rows(job, settings)
    except StoreError:
        return {}
    found: dict[str, list[int]] = {}
    n_left = MOST_ITEMS
    for row in rows:
        known = found.setdefault(row["task"], [])
        n_new = row["doc_id"] + 1 - len(known)
        if n_new <= n_left:
            known += [0] * (n_new - 1) + [row["n_tokens"]]
            n_left -= n_new
    return {task: tuple(known) for task, known in found.items() if known}


def _rows(job: Job, settings: Settings) -> list[dict[str, Any]]:
    tasks = sorted({task.task for run in job.runs for task in run.suite.tasks})
    with open_snapshot(settings) as snapshot:
        answers = snapshot.query("written_answers", model=job.model.model_id, tasks=tasks)
        if not answers:
            return []
        return snapshot.query(
            "expected_tokens",
            fingerprints=[row["fingerprint"] for row in answers],
            own=[row["fingerprint"] for row in answers if row["is_own"]],
        )
