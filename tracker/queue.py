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
ASKED = "asked for"  # a reason: a person wants it measured, whatever is known to be in the way
NEW_WEIGHTS = "new weights since it was measured"
CLOCK_S = 2.0  # by which the start of a process and our own clock may differ
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
        measured = _measured(store, suite)
        changed, n_passed_over = [], 0
        for one in known:
            old, run = jobs.pop(one.model_id.casefold(), None), measured.get(one.model_id.casefold())
            worth = priority(one, claims, now)
            if old is None and (one.kind in NEVER or worth.points < LEAST or _is_measured(run, one, version)):
                n_passed_over += 1
                continue
            job = old or JobRow(one.model_id, suite, version, one.kind, "queued", 0.0, (), now, now)
            job = _brought_up(job, one, worth.points, worth.reasons)
            changed.append(_reopened(job, run, one, version))
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
        job = found or JobRow(model_id, suite, version, "unknown", "queued", 0.0, (ASKED,), now, now)
        listed = [row for row in store.query("known_models") if row["name"].casefold() == model_id.casefold()]
        if listed and found is None:  # its size is then known to the budget
            one = Candidate.from_row(listed[0])
            job = _brought_up(replace(job, model_id=one.model_id), one, 0.0, job.reasons)
        job = replace(job, status="queued", parked_reason=None, attempts=0, updated_at=now)
        job = replace(job, reasons=tuple(dict.fromkeys((*job.reasons, ASKED))))
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


@dataclass(frozen=True, slots=True)
class Measured:
    """The newest run of a model, and whether its weights are those that the Hub has now."""

    run_id: str
    is_complete: bool
    suite_version: int
    newer: frozenset[str]  # commits with other weights


def _measured(store: Store, suite: str) -> dict[str, Measured]:
    """What was measured with that suite, by casefolded id; a renamed model also by its new name."""
    hashes: dict[str, dict[str, str]] = {}
    for row in store.query("weights"):
        hashes.setdefault(row["model_id"].casefold(), {})[row["revision"]] = row["weights_hash"]
    found = {}
    for row in store.query("measured_suites"):
        if row["suite"] == suite:
            known = hashes.get(row["model_id"].casefold(), {})
            ours = known.get(row["revision"])
            newer = frozenset(c for c, hashed in known.items() if ours is not None and hashed != ours)
            is_complete = row["status"] == "complete"
            run = Measured(row["run_id"], is_complete, row["suite_version"], newer)
            found[row["model_id"].casefold()] = run
    for row in store.query("gone_models"):
        old = found.get(row["name"].casefold())
        if old is not None and row["renamed_to"]:
            found.setdefault(row["renamed_to"].casefold(), old)
    return found


def _is_measured(run: Measured | None, one: Candidate, version: int) -> bool:
    """Whether the weights that the Hub has now were measured whole with this version of the suite."""
    is_whole = run is not None and run.is_complete and run.suite_version == version
    return is_whole and not (run and one.revision in run.newer)


def _brought_up(job: JobRow, one: Candidate, points: float, reasons: tuple[str, ...]) -> JobRow:
    """The job with what the sources say now, and what `tracker fit` said of the same commit."""
    asked = (ASKED,) if ASKED in job.reasons else ()
    is_read = job.predicted_by == "fit" and job.revision == one.revision
    return replace(
        job,
        kind=one.kind.value,
        priority=points,
        reasons=tuple(dict.fromkeys((*reasons, *asked))),
        revision=one.revision,
        n_params=one.n_params,
        weights_bytes=job.weights_bytes if is_read else one.weights_bytes,
        predicted_bytes=job.predicted_bytes if is_read else needed_bytes(one.weights_bytes),
        predicted_by="fit" if is_read else "weights",
    )


def _reopened(job: JobRow, run: Measured | None, one: Candidate, version: int) -> JobRow:
    """The job, open again if it is closed and the suite has a new version, or the model other weights.

    A new commit with the same weights is none: most change a text.
    """
    is_new = run is not None and one.revision in run.newer
    if job.status in ("done", "failed") and (is_new or job.suite_version != version):
        job = replace(job, status="queued", attempts=0, run_id=None)
    reasons = (*job.reasons, NEW_WEIGHTS) if is_new and job.status == "queued" else job.reasons
    return replace(job, suite_version=version, reasons=reasons)


def _settled(
    job: JobRow, measured: Mapping[str, Measured], memory_bytes: int, known: Mapping[str, Candidate]
) -> JobRow:
    """The job parked if something is in the way, back in line if nothing is, done if it is measured."""
    one = known[job.model_id.casefold()]
    run = measured.get(job.model_id.casefold())
    if job.status == "running" and not is_at_work(job):
        job = replace(job, status="queued", lease_pid=None)
    if run is not None and job.status == "queued" and _is_measured(run, one, job.suite_version):
        return replace(job, status="done", run_id=run.run_id)
    why = obstacle(one, memory_bytes, fit_bytes=job.predicted_bytes if job.predicted_by == "fit" else None)
    is_asked = job.set_priority is not None or ASKED in job.reasons
    if job.status == "queued" and why is not None and not is_asked:
        return replace(job, status="parked", parked_reason=why)
    by_us = job.parked_reason is not None and not job.parked_reason.startswith(("by hand", "bench:"))
    if job.status == "parked" and why is None and by_us:
        return replace(job, status="queued", parked_reason=None)
    return job


def is_at_work(job: JobRow) -> bool:
    """Whether the process that took the job still runs: one of that number which began later is another."""
    if job.lease_pid is None:
        return False
    try:
        began_at_s = float(psutil.Process(job.lease_pid).create_time())
    except psutil.NoSuchProcess:
        return False
    return began_at_s <= job.updated_at.timestamp() + CLOCK_S


def _gone(job: JobRow, renamed_to: str | None) -> JobRow:
    """The job of a model that is no longer there, set aside."""
    why = f"renamed to `{renamed_to}`" if renamed_to else "no longer on the Hub"
    return replace(job, status="parked", parked_reason=why)


def _best(jobs: list[JobRow]) -> list[JobRow]:
    """The best of those that wait, and of those that are parked; all that are neither."""
    ranked = sorted(jobs, key=lambda job: -job.rank)
    kept = set()
    for status in ("queued", "parked"):
        kept |= {job.model_id for job in [one for one in ranked if one.status == status][:MAX_QUEUED]}
    return [job for job in jobs if job.model_id in kept or job.status not in ("queued", "parked")]
