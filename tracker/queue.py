"""The queue of what to measure next: made from what the sources say, changed by a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psutil

from runners.hardware import describe_hardware
from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.tables import load_tables
from tracker.priorities import LEAST, NEVER, Candidate, obstacle, priority, read_claims
from tracker.settings import Settings
from tracker.sizing import needed_bytes
from tracker.store import JobRow, Store, publish
from tracker.suites import get_suite

DEFAULT_SUITE = "quick"
MAX_QUEUED = 200  # of the best; a queue nobody can read through is none
ATTEMPTS = 3
# names under which the Hub's benchmarks are tasks of lm-eval; Epoch's stand in data/frontier/benchmarks.csv
HUB_TASKS = (
    ("openai/gsm8k", "gsm8k", "close"),
    ("Idavidrein/gpqa", "gpqa_diamond_cot_zeroshot", "close"),
    ("TIGER-Lab/MMLU-Pro", "mmlu_pro", "close"),
    ("cais/mmlu", "mmlu", "close"),
    ("google/IFEval", "ifeval", "close"),
    ("openai/openai_humaneval", "humaneval_instruct", "close"),
    ("Rowan/hellaswag", "hellaswag", "close"),
    ("allenai/winogrande", "winogrande", "close"),
)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh of the queue did."""

    n_added: int
    n_queued: int
    n_parked: int
    n_done: int
    n_passed_over: int  # adapters, merges and models worth too little


def refresh(settings: Settings, *, suite: str = DEFAULT_SUITE, now: datetime | None = None) -> Refreshed:
    """Bring the queue up to date: add what is worth it, park what cannot be run, close what is measured.

    Raises:
        UnknownNameError: there is no such suite.
    """
    version, now = get_suite(suite).version, now or datetime.now(UTC)
    memory_bytes = machine_memory()
    with Store.open(settings) as store:
        store.put_benchmark_tasks(benchmark_tasks())
        known = [Candidate.from_row(row) for row in store.query("known_models")]
        sizes = {one.model_id.casefold(): one.n_params for one in known}
        claims = read_claims(store.query("model_claims"), sizes)
        jobs = {row["model_id"].casefold(): job_of(row) for row in store.query("jobs", suite=suite)}
        measured = {
            row["model_id"].casefold(): row for row in store.query("measured_suites") if row["suite"] == suite
        }
        changed, n_passed_over = [], 0
        for one in known:
            old, run = jobs.pop(one.model_id.casefold(), None), measured.get(one.model_id.casefold())
            worth = priority(one, claims, now)
            is_done = run is not None and run["status"] == "complete" and run["suite_version"] == version
            if old is None and (one.kind in NEVER or worth.points < LEAST or is_done):
                n_passed_over += 1
                continue
            job = old or JobRow(one.model_id, suite, version, one.kind, "queued", 0.0, (), now, now)
            changed.append(_brought_up(job, one, worth.points, worth.reasons, version=version))
        changed = [_settled(job, measured, memory_bytes, known_by(known)) for job in changed]
        gone = {row["name"].casefold(): row["renamed_to"] for row in store.query("gone_models")}
        changed += [
            _gone(job, gone[key]) for key, job in jobs.items() if key in gone and job.status == "queued"
        ]
        kept = _best(changed)
        store.put_jobs(kept)
        everything = [job_of(row) for row in store.query("jobs", suite=suite)]
    publish(settings)
    n_added = sum(job.added_at == now for job in kept)
    n_of = {
        status: sum(job.status == status for job in everything) for status in ("queued", "parked", "done")
    }
    return Refreshed(
        n_added, n_of["queued"], n_of["parked"], n_of["done"], n_passed_over + len(changed) - len(kept)
    )


def add(
    settings: Settings, model_id: str, *, suite: str = DEFAULT_SUITE, priority: float | None = None
) -> JobRow:
    """Put a model into the queue, or change the priority that a person gave it.

    Raises:
        TrackerError: the name cannot be a repository of the Hub.
    """
    if model_id != "demo" and model_id.count("/") != 1:
        raise TrackerError(f"`{model_id}` is no model of the Hub", hint="a model is `org/name`, or `demo`")
    now = datetime.now(UTC)
    with Store.open(settings) as store:
        found = _job(store, model_id, suite)
        version = get_suite(suite).version
        job = found or JobRow(model_id, suite, version, "unknown", "queued", 0.0, ("asked for",), now, now)
        listed = [row for row in store.query("known_models") if row["name"].casefold() == model_id.casefold()]
        if listed and found is None:  # its size is then known to the budget
            one = Candidate.from_row(listed[0])
            job = _brought_up(replace(job, model_id=one.model_id), one, 0.0, job.reasons, version=version)
        job = replace(job, status="queued", parked_reason=None, attempts=0, updated_at=now)
        job = replace(job, set_priority=job.set_priority if priority is None else priority)
        store.put_jobs([job])
    publish(settings)
    return job


def park(settings: Settings, model_id: str, *, suite: str = DEFAULT_SUITE, reason: str) -> JobRow:
    """Set a job aside until someone takes it back.

    Raises:
        UnknownNameError: it is not in the queue.
    """
    with Store.open(settings) as store:
        job = require(store, model_id, suite)
        parked = replace(job, status="parked", parked_reason=reason, updated_at=datetime.now(UTC))
        store.put_jobs([parked])
    publish(settings)
    return parked


def remove(settings: Settings, model_id: str, *, suite: str = DEFAULT_SUITE) -> None:
    """Take a job out of the queue; a refresh may put it back, parking does not.

    Raises:
        UnknownNameError: it is not in the queue.
    """
    with Store.open(settings) as store:
        require(store, model_id, suite)
        store.remove_job(model_id, suite)
    publish(settings)


def require(store: Store, model_id: str, suite: str) -> JobRow:
    """The job of that model.

    Raises:
        UnknownNameError: it is not in the queue.
    """
    job = _job(store, model_id, suite)
    if job is None:
        names = [str(row["model_id"]) for row in store.query("jobs", suite=suite)]
        raise UnknownNameError("model in the queue", model_id, known=names)
    return job


def job_of(row: Mapping[str, Any]) -> JobRow:
    """The job in a row of `jobs`."""
    names = [name for name in JobRow.__slots__ if name != "reasons"]
    return JobRow(**{name: row[name] for name in names}, reasons=tuple(row["reasons"]))


def machine_memory() -> int:
    """Bytes that a model can have here: of the largest card, or of the machine if it has none."""
    hardware = describe_hardware()
    return max((card.total_bytes for card in hardware.gpus), default=hardware.ram_bytes)


def benchmark_tasks() -> list[tuple[str, str, str]]:
    """Which task of lm-eval is which benchmark of the sources."""
    shipped = load_tables().benchmarks.values()
    own = [(b.benchmark, b.lm_eval_task, b.lm_eval_match or "close") for b in shipped if b.lm_eval_task]
    return [*own, *HUB_TASKS]


def known_by(known: list[Candidate]) -> dict[str, Candidate]:
    """The candidates by their casefolded id."""
    return {one.model_id.casefold(): one for one in known}


def _job(store: Store, model_id: str, suite: str) -> JobRow | None:
    rows = store.query("jobs", suite=suite)
    found = [row for row in rows if row["model_id"].casefold() == model_id.casefold()]
    return job_of(found[0]) if found else None


def _brought_up(
    job: JobRow, one: Candidate, points: float, reasons: tuple[str, ...], *, version: int
) -> JobRow:
    """The job with what the sources say now; a new suite version opens a closed one again.

    A new commit does not: most change a text, and a new measurement takes hours. The digest names them.
    """
    reopened = job.status == "done" and job.suite_version != version
    return replace(
        job,
        status="queued" if reopened else job.status,
        attempts=0 if reopened else job.attempts,
        suite_version=version,
        kind=one.kind.value,
        priority=points,
        reasons=reasons,
        revision=one.revision,
        n_params=one.n_params,
        weights_bytes=one.weights_bytes,
        predicted_bytes=needed_bytes(one.weights_bytes),
    )


def _settled(
    job: JobRow, measured: Mapping[str, Any], memory_bytes: int, known: Mapping[str, Candidate]
) -> JobRow:
    """The job parked if something is in the way, back in line if nothing is, done if it is measured."""
    key = job.model_id.casefold()
    run = measured.get(key)
    if job.status == "running" and not (job.lease_pid and psutil.pid_exists(job.lease_pid)):
        job = replace(job, status="queued", lease_pid=None)
    if (
        run
        and run["status"] == "complete"
        and run["suite_version"] == job.suite_version
        and job.status == "queued"
    ):
        return replace(job, status="done", run_id=run["run_id"])
    why = obstacle(known[key], memory_bytes)
    if job.status == "queued" and why is not None and job.set_priority is None:
        return replace(job, status="parked", parked_reason=why)
    by_us = job.parked_reason is not None and not job.parked_reason.startswith("by hand")
    if (
        job.status == "parked"
        and why is None
        and by_us
        and not (job.parked_reason or "").startswith("bench:")
    ):
        return replace(job, status="queued", parked_reason=None)
    return job


def _gone(job: JobRow, renamed_to: str | None) -> JobRow:
    """The job of a model that is no longer there, set aside."""
    why = f"renamed to `{renamed_to}`" if renamed_to else "no longer on the Hub"
    return replace(job, status="parked", parked_reason=why)


def _best(jobs: list[JobRow]) -> list[JobRow]:
    """All that were there before or a person asked for, and the best of the new ones."""
    waiting = sorted((job for job in jobs if job.status in ("queued", "parked")), key=lambda job: -job.rank)
    kept = {job.model_id for job in waiting[:MAX_QUEUED]}
    return [job for job in jobs if job.model_id in kept or job.status not in ("queued", "parked")]
