"""The queue of models to measure: filled from the sources, changed by the user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psutil

from runners.engines import engine_spec
from runners.hardware import describe_hardware
from tracker.errors import TrackerError, UnknownNameError, describe_failure
from tracker.frontier.tables import load_tables
from tracker.logs import get_logger
from tracker.memory_estimate import needed_bytes
from tracker.queue.priorities import (
    LEAST,
    NEVER,
    TOO_LARGE,
    Candidate,
    is_gguf_name,
    obstacle,
    pairs,
    priority,
    read_claims,
    stand_ins,
)
from tracker.settings import Settings
from tracker.store import JobRow, Store, publish
from tracker.store.decisions import log_job, log_removal
from tracker.suites import stored_suite

DEFAULT_SUITE = "quick"
MAX_QUEUED = 200  # only the best; a longer queue is too long to read
ATTEMPTS = 3
TRIED = "bench: tried"  # how the reason of a model begins that was parked after so many attempts
ASKED = "added by the user"  # a reason to measure a model despite any known obstacle
OLD_ASKED = "asked for"  # the same as earlier versions stored it
PARKED_BY_USER = "parked by the user"  # how such a reason to park begins
OLD_PARKED = "by hand"  # the same as earlier versions stored it
INSTEAD = "; measured instead: "  # before the copy, in the reason of a model that is too large
NEW_WEIGHTS = "new weights since it was measured"
CLOCK_S = 2.0  # by which the start time of a process may differ from our clock
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
    """The outcome of a refresh of the queue."""

    n_added: int
    n_queued: int
    n_parked: int
    n_done: int
    n_passed_over: int  # adapters, merges and models worth too little


def refresh(settings: Settings, *, suite: str = DEFAULT_SUITE, now: datetime | None = None) -> Refreshed:
    """Update the queue: add models with enough points, park what cannot run, close what is measured.

    Raises:
        UnknownNameError: there is no such suite.
    """
    version, now = stored_suite(suite, own=settings.suites_path).version, now or settings.now()
    memory_bytes = machine_memory()
    with Store.open(settings) as store:
        store.put_benchmark_tasks(benchmark_tasks())
        known = _candidates(store.query("known_models"))
        sizes = {one.model_id.casefold(): one.n_params for one in known}
        claims = read_claims(store.query("model_claims"), sizes)
        jobs = {row["model_id"].casefold(): job_of(row) for row in store.query("jobs", suite=suite)}
        measured = _measured(store, suite)
        is_readable = readable_here()
        copies = stand_ins(known, memory_bytes, is_readable=is_readable)
        paired = pairs(known, memory_bytes, is_readable=is_readable)
        changed, n_passed_over = [], 0
        for one in known:
            key = one.model_id.casefold()
            old, run = jobs.pop(key, None), measured.get(key)
            parent = copies.get(key)
            if parent and _is_measured(measured.get(parent.model_id.casefold()), parent, version):
                parent = None  # on another machine
            worth = priority(one, claims, now, stands_for=parent, pair_of=paired.get(key))
            if old is None and (one.kind in NEVER or worth.points < LEAST or _is_measured(run, one, version)):
                n_passed_over += 1
                continue
            job = old or JobRow(one.model_id, suite, version, one.kind, "queued", 0.0, (), now, now)
            job = _brought_up(job, one, worth.points, worth.reasons)
            changed.append(_reopened(job, run, one, version))
        changed = [_settled(job, measured, memory_bytes, known_by(known)) for job in changed]
        instead = {parent.model_id: known_by(known)[key].model_id for key, parent in copies.items()}
        changed = [_with_stand_in(job, instead.get(job.model_id)) for job in changed]
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


def readable_here() -> Callable[[str], bool]:
    """Whether an engine here can load a copy, by its name: GGUF where llama.cpp is installed."""
    from runners.memory.quantized_variants import is_readable  # the library of the Hub: slow to import

    has_llamacpp = engine_spec("llamacpp").is_installed
    return lambda name: is_readable([name]) or (has_llamacpp and is_gguf_name(name))


def add(
    settings: Settings, model_id: str, *, suite: str = DEFAULT_SUITE, priority: float | None = None
) -> JobRow:
    """Add a model to the queue, unpark it, or set its priority.

    Raises:
        TrackerError: the name cannot be a repository of the Hub.
    """
    if model_id != "demo" and model_id.count("/") != 1:
        raise TrackerError(f"`{model_id}` is not a Hub id", hint="use `org/name`, or `demo`")
    version = stored_suite(suite, own=settings.suites_path).version
    asked_at = datetime.now(UTC)
    with Store.open(settings) as store:
        found = _job(store, model_id, suite)
        job = found or JobRow(
            model_id, suite, version, "unknown", "queued", 0.0, (ASKED,), asked_at, asked_at
        )
        listed = [row for row in store.query("known_models") if row["name"].casefold() == model_id.casefold()]
        if listed and found is None:  # its size is then known to the budget
            one = Candidate.from_row(listed[0])
            job = _brought_up(replace(job, model_id=one.model_id), one, 0.0, job.reasons)
        job = replace(job, status="queued", parked_reason=None, attempts=0, updated_at=asked_at)
        job = replace(job, reasons=tuple(dict.fromkeys((*job.reasons, ASKED))))
        job = replace(job, set_priority=job.set_priority if priority is None else priority)
        store.put_jobs([job])
    log_job(settings, job)
    publish(settings)
    return job


def park(settings: Settings, model_id: str, *, suite: str = DEFAULT_SUITE, reason: str) -> JobRow:
    """Park a job until it is unparked.

    Raises:
        UnknownNameError: it is not in the queue.
    """
    with Store.open(settings) as store:
        job = require(store, model_id, suite)
        parked = replace(job, status="parked", parked_reason=reason, updated_at=datetime.now(UTC))
        store.put_jobs([parked])
    log_job(settings, parked)
    publish(settings)
    return parked


def remove(settings: Settings, model_id: str, *, suite: str = DEFAULT_SUITE) -> None:
    """Remove a job from the queue; a refresh may add it again, unless it is parked instead.

    Raises:
        UnknownNameError: it is not in the queue.
    """
    with Store.open(settings) as store:
        require(store, model_id, suite)
        store.remove_job(model_id, suite)
    log_removal(settings, model_id, suite)
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
    reasons = tuple(ASKED if reason == OLD_ASKED else reason for reason in row["reasons"])
    return JobRow(**{name: row[name] for name in names}, reasons=reasons)


def machine_memory() -> int:
    """Bytes of memory for a model here: of the largest card, or of the machine if it has no card."""
    hardware = describe_hardware()
    return max((card.total_bytes for card in hardware.gpus), default=hardware.ram_bytes)


def benchmark_tasks() -> list[tuple[str, str, str]]:
    """The task of lm-eval for each benchmark of the sources, with how closely they match."""
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
    """The newest run of a model, and the commits with other weights."""

    run_id: str
    is_complete: bool
    suite_version: int
    newer: frozenset[str]  # commits with other weights


def _measured(store: Store, suite: str) -> dict[str, Measured]:
    """The newest run with that suite by casefolded id; for a renamed model also by its new name."""
    hashes: dict[str, dict[str, str]] = {}
    for row in store.query("weights"):
        hashes.setdefault(row["model_id"].casefold(), {})[row["revision"]] = row["weights_hash"]
    found = {}
    for row in store.query("measured_suites"):
        if row["suite"] == suite:
            known = hashes.get(_listed_key(row["model_id"]), {})
            ours = known.get(row["revision"])
            newer = frozenset(c for c, hashed in known.items() if ours is not None and hashed != ours)
            is_complete = row["status"] == "complete"
            run = Measured(row["run_id"], is_complete, row["suite_version"], newer)
            found[_listed_key(row["model_id"])] = run
    for row in store.query("gone_models"):
        old = found.get(row["name"].casefold())
        if old is not None and row["renamed_to"]:
            found.setdefault(row["renamed_to"].casefold(), old)
    return found


def _listed_key(model_id: str) -> str:
    """The key under which the sources list a measured model: of a GGUF, its repository without the file."""
    repository, _, label = model_id.casefold().partition(":")
    return repository if label and is_gguf_name(repository) else model_id.casefold()


def _candidates(rows: Iterable[Mapping[str, Any]]) -> list[Candidate]:
    """The models in the rows; one that cannot be read is left out, with a line in the log."""
    found = []
    for row in rows:
        try:
            found.append(Candidate.from_row(row))
        except (ValueError, TypeError, KeyError) as error:
            said = describe_failure(error)
            get_logger("queue").warning("model left out", model_id=row.get("name"), error=said)
    return found


def _is_measured(run: Measured | None, one: Candidate, version: int) -> bool:
    """Whether the current weights have a complete run with this version of the suite."""
    is_whole = run is not None and run.is_complete and run.suite_version == version
    return is_whole and not (run and one.revision in run.newer)


def _brought_up(job: JobRow, one: Candidate, points: float, reasons: tuple[str, ...]) -> JobRow:
    """The job updated from the sources, with the prediction of `tracker fit` if the commit is the same."""
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
        predicted_bytes=job.predicted_bytes
        if is_read
        else needed_bytes(weights_bytes=one.weights_bytes, n_params=one.n_params),
        predicted_by="fit" if is_read else "weights",
    )


def _reopened(job: JobRow, run: Measured | None, one: Candidate, version: int) -> JobRow:
    """The job, reopened if the suite has a new version or the model has new weights.

    A new commit with the same weights does not count: most only change a text.
    """
    is_new = run is not None and one.revision in run.newer
    is_tried = job.status == "parked" and (job.parked_reason or "").startswith(TRIED)
    if (job.status in ("done", "failed") or is_tried) and (is_new or job.suite_version != version):
        job = replace(job, status="queued", parked_reason=None, attempts=0, run_id=None)
    reasons = (*job.reasons, NEW_WEIGHTS) if is_new and job.status == "queued" else job.reasons
    return replace(job, suite_version=version, reasons=reasons)


def _settled(
    job: JobRow, measured: Mapping[str, Measured], memory_bytes: int, known: Mapping[str, Candidate]
) -> JobRow:
    """The job as parked if there is an obstacle, queued if there is none any more, done if it is measured."""
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
    by_us = job.parked_reason is not None and not job.parked_reason.startswith(
        (PARKED_BY_USER, OLD_PARKED, "bench:")
    )
    if job.status == "parked" and why is None and by_us:
        return replace(job, status="queued", parked_reason=None)
    return job


def _with_stand_in(job: JobRow, copy: str | None) -> JobRow:
    """A job parked for its size, with the copy that is measured in its place."""
    reason = job.parked_reason or ""
    if job.status != "parked" or copy is None or not reason.startswith(TOO_LARGE):
        return job
    return replace(job, parked_reason=f"{reason.partition(INSTEAD)[0]}{INSTEAD}`{copy}`")


def is_at_work(job: JobRow) -> bool:
    """Whether the process that took the job is still running; one that started later only reuses its id."""
    if job.lease_pid is None:
        return False
    try:
        began_at_s = float(psutil.Process(job.lease_pid).create_time())
    except psutil.NoSuchProcess:
        return False
    return began_at_s <= job.updated_at.timestamp() + CLOCK_S


def _gone(job: JobRow, renamed_to: str | None) -> JobRow:
    """The job of a model that was removed or renamed, as parked."""
    why = f"renamed to `{renamed_to}`" if renamed_to else "no longer on the Hub"
    return replace(job, status="parked", parked_reason=why)


def _best(jobs: list[JobRow]) -> list[JobRow]:
    """The best queued jobs, the best parked jobs, and all others."""
    ranked = sorted(jobs, key=lambda job: -job.rank)
    kept = set()
    for status in ("queued", "parked"):
        kept |= {job.model_id for job in [one for one in ranked if one.status == status][:MAX_QUEUED]}
    return [job for job in jobs if job.model_id in kept or job.status not in ("queued", "parked")]
