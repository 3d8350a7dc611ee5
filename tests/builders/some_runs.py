"""Small valid runs and items; a test changes what it needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tracker.answers.placement import protocol
from tracker.files.items import write_part, write_run
from tracker.records import (
    Cost,
    EngineInfo,
    EngineSettings,
    Item,
    Model,
    Run,
    RunStatus,
    TaskMetric,
    TaskScore,
    fingerprint,
)
from tracker.settings import Settings
from tracker.store import Store, open_snapshot, publish

STARTED_AT = datetime(2026, 11, 24, 0, 30, tzinfo=UTC)
TASKS = ("count_letters", "sort_words", "odd_one_out")
TABLES = ("models", "runs", "task_scores")


def model(model_id: str = "acme/atlas-8b", **more: Any) -> Model:
    return Model(model_id, "0a1b2c3d" * 5, **{"n_params": 8_030_000_000, "license": "apache-2.0"} | more)


def key_of(task: str, of: Model) -> str:
    return fingerprint({"task": task, "model": of.model_id})


def score(task: str, of: Model, value: float = 0.5) -> TaskScore:
    """A score by the metric that the shipped suites read of the task."""
    known = protocol().get(task)
    metric, chosen = (
        (known.metric, known.filter) if known and known.metric and known.filter else ("acc", "none")
    )
    return TaskScore(task, metric, chosen, value, 0.1, 0.3, 0.7, 10, 0.25, 0.0, key_of(task, of), n_total=10)


def run(number: int = 1, *, of: Model | None = None, **more: Any) -> Run:
    """A complete run; its id sorts by `number`."""
    of = of or model()
    common: dict[str, Any] = {
        "suite": "quick",
        "suite_version": 1,
        "settings": EngineSettings(),
        "status": RunStatus.COMPLETE,
        "started_at": STARTED_AT.replace(minute=number % 60),
        "ended_at": STARTED_AT.replace(hour=2),
        "pid": 4242,
        "engine": EngineInfo("transformers", "5.19.0", "float32", "cpu", 2048, versions={"torch": "2.13.0"}),
        "scores": tuple(score(task, of) for task in TASKS),
        "metrics": (
            TaskMetric("wikitext", "word_perplexity", "none", 21.75, None, 10, False, is_headline=False),
            TaskMetric(TASKS[0], "acc", "none", 0.5, 0.16, 10, True, is_headline=True),
        ),
        "cost": Cost(duration_s=3.5, prompt_tokens=900, output_tokens=90, tokens_per_s=41.0),
        "n_items": 30,
        "warnings": ("`gpqa`: no network",),
        "fit": {"fits": True},
        "hardware": {"cpu": "two cores"},
    }
    return Run(f"20261124T{number:06d}-000000", of, **common | more)


def items(task: str, n: int = 10, *, start: int = 0) -> list[Item]:
    """Items, of which every second is right, every fifth unparsed and every seventh truncated."""
    return [
        Item(
            task=task,
            doc_id=doc_id,
            doc_hash=f"{doc_id:08x}",
            prompt=f"Question {doc_id}?",
            target="yes",
            response="I think yes",
            extracted="[invalid]" if doc_id % 5 == 4 else "yes",
            score=float(doc_id % 2 == 0),
            metrics={"acc,none": float(doc_id % 2 == 0)},
            finish_reason="length" if doc_id % 7 == 6 else "stop",
            prompt_tokens=4,
            output_tokens=3,
        )
        for doc_id in range(start, start + n)
    ]


def write_files(settings: Settings, a_run: Run, *, n_items: int = 10) -> Run:
    """Write the run's folder as a worker does."""
    write_run(settings.items_path, a_run)
    for task_score in a_run.scores:
        write_part(settings.items_path, a_run.run_id, task_score.fingerprint, items(task_score.task, n_items))
    return a_run


def store_runs(settings: Settings, *runs: Run) -> None:
    """Write, store and publish, as a bench does."""
    with Store.open(settings) as store:
        for a_run in runs:
            store.add_run(write_files(settings, a_run))
    publish(settings)


def failed(number: int, **more: Any) -> Run:
    detail = "needs 812 GB of memory, 80 GB are there"
    whole = run(number, status=RunStatus.FAILED, reason="does_not_fit", detail=detail, **more)
    return replace(whole, scores=(), n_items=0, engine=None)


def dump(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, as a new reader sees it."""
    publish(settings)
    with open_snapshot(settings) as snapshot:
        return {name: snapshot.select(f"select * from {name} order by all").rows for name in TABLES}


def parts_of(settings: Settings) -> list[Path]:
    return sorted(settings.items_path.glob("*/*.parquet"))
