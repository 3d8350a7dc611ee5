"""A small store of real records in a separate folder, for the tests of the app.

The models are invented; their answers are drawn with a fixed seed and scored as a bench would score them.
"""

from __future__ import annotations

import atexit
import functools
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.builders.ingested_builder import add_ingests
from tests.builders.studies_builder import add_studies
from tracker.answers.placement import protocol
from tracker.files.items import (
    read_run,
    run_folders,
    write_part,
    write_run,
)
from tracker.records import (
    Cost,
    EngineInfo,
    EngineSettings,
    Item,
    Model,
    PromptForm,
    Reuse,
    Run,
    RunStatus,
    TaskScore,
    fingerprint,
)
from tracker.settings import Settings
from tracker.stats import mean_interval
from tracker.store import Store, publish

N_ITEMS = 60
START = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)  # the date on which the tests read the store: `TRACKER_NOW`
ODD_ID = "we*ird_[org]/<b>mo`del</b> & $x^2$ #1"
HOSTILE = (
    "<script>document.title = 'owned'</script>\n<img src=x onerror=\"document.title='owned'\">\n"
    "# A heading **bold** [link](https://example.org) $x^2$ :red[red] :material/home:\n"
    "\x1b[31mred in a terminal\x1b[0m \x07 \u202egnihton\u202c"
)
LONG = "All work and no play makes a long answer.\n" * 250_000  # 10.5 MB
TASKS = {  # chance of guessing
    "count_letters": 0.0,
    "add_two_numbers": 0.0,
    "sort_words": 0.0,
    "next_in_series": 0.25,
    "odd_one_out": 0.25,
    "true_or_false": 0.5,
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One invented model and how good it is at each task."""

    model: Model
    skills: tuple[float, ...]
    engine: str = "vllm"
    tokens_per_s: float = 1200.0
    memory_gb: float = 18.0


def _model(model_id: str, n_params: float, **more: str) -> Model:
    return Model(
        model_id,
        fingerprint({"weights": model_id}) + "0a1b2c3d",
        n_params=int(n_params),
        **{"license": "apache-2.0"} | more,
    )


CANDIDATES = (
    Candidate(
        _model("acme/tiny-135m-instruct", 134.5e6, quantization="Q4_1"),
        (0.10, 0.35, 0.02, 0.30, 0.27, 0.55),
        engine="transformers",
        tokens_per_s=41.0,
        memory_gb=0.9,
    ),
    Candidate(_model("acme/atlas-2-8b", 8.03e9), (0.62, 0.97, 0.55, 0.71, 0.64, 0.83)),
    Candidate(
        _model("borealis/nimbus-4b-thinking", 4.1e9, license="mit"),
        (0.70, 0.98, 0.60, 0.66, 0.52, 0.80),
        tokens_per_s=2100.0,
        memory_gb=10.0,
    ),
    Candidate(
        _model("cobalt/granite-garden-3b-base", 3.2e9, license="llama3.2"),
        (0.31, 0.72, 0.20, 0.49, 0.43, 0.66),
        tokens_per_s=2600.0,
        memory_gb=8.0,
    ),
    Candidate(
        _model(ODD_ID, 1.5e9, license="other"),
        (0.25, 0.60, 0.11, 0.41, 0.38, 0.58),
        tokens_per_s=3300.0,
        memory_gb=4.0,
    ),
)


def build_store(home: Path) -> Settings:
    """Fill `home` with the candidates' runs and a few failed ones, and publish the snapshot.

    A process builds it once; every further home is a copy.
    """
    shutil.copytree(_built(), home, dirs_exist_ok=True)
    return Settings(home=home)


@functools.cache
def _built() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tracker-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = Settings(home=folder)
    runs = [_finished(settings, c, place) for place, c in enumerate(CANDIDATES)]
    runs += [_resumed_half(settings, runs[2]), *_unhappy()]
    with Store.open(settings) as store:
        for run in runs:
            write_run(settings.items_path, run)
            store.add_run(run)
    add_ingests(settings, now=NOW)
    add_studies(settings, hostile=HOSTILE, long=LONG)
    publish(settings)
    return folder


def _finished(settings: Settings, candidate: Candidate, place: int) -> Run:
    dice = random.Random(place)
    started_at = START + timedelta(hours=7 * place)
    run_id = f"{started_at:%Y%m%dT%H%M%S}-{place:06x}"
    scores = []
    for (task, chance), skill in zip(TASKS.items(), candidate.skills, strict=True):
        items = [_item(task, doc_id, dice.random() < skill, chance) for doc_id in range(N_ITEMS)]
        if place == 0 and task == "count_letters":
            items = [*_hard_to_show(items[:3]), *items[3:]]
        key = fingerprint({"model": candidate.model.model_id, "task": task})
        write_part(settings.items_path, run_id, key, items)
        scores.append(_score(task, items, chance=chance, key=key))
    n_output = sum(5 for _ in range(N_ITEMS * len(TASKS)))
    return Run(
        run_id=run_id,
        model=candidate.model,
        suite="quick",
        suite_version=1,
        settings=EngineSettings(engine=candidate.engine),
        status=RunStatus.PARTIAL if place == 3 else RunStatus.COMPLETE,
        reason="minutes" if place == 3 else None,
        detail="stopped after 5 minutes, as asked" if place == 3 else None,
        started_at=started_at,
        ended_at=started_at + timedelta(seconds=200 + 31 * place),
        pid=4000 + place,
        engine=_engine(candidate),
        scores=tuple(scores),
        cost=Cost(
            duration_s=187.0 + 31 * place,
            load_s=4.2,
            prompt_tokens=36_000,
            prefilled_tokens=9_100,
            output_tokens=n_output,
            tokens_per_s=candidate.tokens_per_s,
            ttft_s=0.04,
            peak_memory_bytes=int(candidate.memory_gb * 1e9),
            memory_basis="used" if candidate.engine == "vllm" else None,
        ),
        n_items=N_ITEMS * len(TASKS),
        fit=_fit(candidate),
        warnings=("`gpqa_diamond`: its data set could not be reached; the other tasks ran",)
        if place == 3
        else (),
    )


def _fit(candidate: Candidate) -> dict[str, float]:
    """The fit check's prediction for 64 sequences of 4,096 tokens."""
    n_params = candidate.model.n_params or 0
    weights = int(n_params * (0.6 if candidate.model.quantization else 2))
    cache = int(64 * 4096 * max(12_000, n_params / 60_000))
    return {
        "weights_bytes": weights,
        "kv_cache_bytes": cache,
        "overhead_bytes": 1_500_000_000,
        "total_bytes": weights + cache + 1_500_000_000,
        "context": 4096,
        "n_sequences": 64,
        "fits": True,
    }


def _engine(candidate: Candidate) -> EngineInfo:
    on_card = candidate.engine == "vllm"
    return EngineInfo(
        engine=candidate.engine,
        engine_version="0.32.0" if on_card else "5.19.0",
        dtype="bfloat16",
        device="NVIDIA H100 80GB HBM3" if on_card else "cpu",
        max_model_len=4096,
    )


def _item(task: str, doc_id: int, is_right: bool, chance: float) -> Item:
    common = {
        "task": task,
        "doc_id": doc_id,
        "doc_hash": f"{doc_id:08x}",
        "metrics": {"acc,none": float(is_right)},
    }
    if chance:
        choices = ("yes", "no") if chance == 0.5 else ("north", "east", "south", "west")
        target = choices[doc_id % len(choices)]
        chosen = target if is_right else choices[(doc_id + 1) % len(choices)]
        log_probs = tuple(-0.7 if c == chosen else -2.1 - i for i, c in enumerate(choices))
        return Item(
            **common,
            prompt=f"Question {doc_id}: which of these does not belong with the others?\nAnswer:",
            target=target,
            response=chosen,
            extracted=chosen,
            score=float(is_right),
            finish_reason="loglikelihood",
            prompt_tokens=48,
            output_tokens=len(choices),
            cached_tokens=40,
            choices=choices,
            log_probs=log_probs,
        )
    truth = str(17 + doc_id)
    kind = "right" if is_right else ("wrong", "unparsed", "cut")[doc_id % 3]
    response = {
        "right": f"Let us see.\nThe answer is {truth}.",
        "wrong": f"The answer is {doc_id}.",
        "unparsed": "I would rather not say.",
        "cut": "First, consider that " + "and then " * 40,
    }[kind]
    return Item(
        **common,
        prompt=f"What is {doc_id} + 17? Think step by step, then say: The answer is N.",
        target=truth,
        response=response,
        extracted={"right": truth, "wrong": str(doc_id)}.get(kind, "[invalid]"),
        score=float(is_right),
        finish_reason="length" if kind == "cut" else "stop",
        prompt_tokens=30,
        output_tokens=128 if kind == "cut" else 9,
        latency_s=0.31,
        ttft_s=0.04,
        thinking=f"{doc_id} and 17 make {truth}." if is_right else None,
    )


def _hard_to_show(items: Sequence[Item]) -> list[Item]:
    first, second, third = items
    return [
        replace(first, prompt=HOSTILE, response=HOSTILE, extracted=HOSTILE, target=HOSTILE, thinking=HOSTILE),
        replace(second, response=LONG, finish_reason="length", output_tokens=2_500_000),
        replace(third, prompt="    four spaces stay four spaces", response="", extracted=""),
    ]


def _score(task: str, items: Sequence[Item], *, chance: float, key: str) -> TaskScore:
    interval = mean_interval([item.score or 0.0 for item in items])
    known = protocol().get(task)
    metric, chosen = (
        (known.metric, known.filter) if known and known.metric and known.filter else ("acc", "none")
    )
    return TaskScore(
        task=task,
        metric=metric,
        filter=chosen,
        value=interval.value,
        stderr=interval.stderr,
        ci_low=interval.low,
        ci_high=interval.high,
        n_items=len(items),
        chance=chance,
        truncated_fraction=sum(item.truncated for item in items) / len(items),
        unparsed_fraction=sum(item.extracted == "[invalid]" for item in items) / len(items),
        fingerprint=key,
        n_total=len(items),
    )


def _resumed_half(settings: Settings, whole: Run) -> Run:
    """A run of a second suite with two of the tasks, which reuses the items of the first run."""
    later = whole.started_at + timedelta(days=2)
    return replace(
        whole,
        run_id=f"{later:%Y%m%dT%H%M%S}-00000a",
        suite="smoke",
        started_at=later,
        ended_at=later + timedelta(seconds=6),
        scores=tuple(replace(score, n_reused_items=score.n_items) for score in whole.scores[1:3]),
        cost=replace(whole.cost, duration_s=4.0),
        n_items=2 * N_ITEMS,
        n_reused_items=2 * N_ITEMS,
        reused=(Reuse(whole.run_id, 2 * N_ITEMS, whole.started_at),),
        prompts=tuple(PromptForm(score.task, chat=True, system=False) for score in whole.scores[1:3]),
    )


def _unhappy() -> list[Run]:
    """Failed runs, and an interrupted one."""
    cases = [
        ("delta/colossus-405b", "does_not_fit", "needs 812 GB of memory, 80 GB are there", RunStatus.FAILED),
        ("delta/closed-door-7b", "gated", "the Hub asks for an accepted license", RunStatus.FAILED),
        ("acme/atlas-2-8b", None, "stopped with Ctrl-C", RunStatus.INTERRUPTED),
    ]
    runs = []
    for place, (model_id, reason, detail, status) in enumerate(cases):
        started_at = START + timedelta(days=3, hours=place)
        runs.append(
            Run(
                run_id=f"{started_at:%Y%m%dT%H%M%S}-0000f{place}",
                model=_model(model_id, 8.03e9 if "atlas" in model_id else 4.05e11),
                suite="quick",
                suite_version=1,
                settings=EngineSettings(engine="vllm"),
                status=status,
                reason=reason,
                detail=detail,
                started_at=started_at,
                ended_at=started_at + timedelta(seconds=12),
                pid=5000 + place,
            )
        )
    return runs


def measure_published(settings: Settings, *, hub_id: str) -> None:
    """Add an invented run of a published model on a task of the index, so that its lag links to items."""
    whole = next(
        run for run in _runs_of(settings) if run.suite == "quick" and run.status is RunStatus.COMPLETE
    )
    model = replace(whole.model, model_id=hub_id, quantization=None)
    later = NOW - timedelta(hours=1)
    run_id = f"{later:%Y%m%dT%H%M%S}-0000aa"
    key = fingerprint({"model": hub_id, "task": "gsm8k"})
    dice = random.Random(7)
    items = [_item("gsm8k", doc_id, dice.random() < 0.9, 0.0) for doc_id in range(N_ITEMS)]
    write_part(settings.items_path, run_id, key, items)
    run = replace(
        whole,
        run_id=run_id,
        model=model,
        suite="anchor",
        started_at=later,
        ended_at=later + timedelta(minutes=4),
        scores=(_score("gsm8k", items, chance=0.0, key=key),),
        n_items=N_ITEMS,
        settings=EngineSettings(engine="vllm"),
    )
    write_run(settings.items_path, run)
    with Store.open(settings) as store:
        store.add_run(run)
    publish(settings)


def _runs_of(settings: Settings) -> list[Run]:
    return [read_run(folder) for folder in run_folders(settings.items_path)]


if __name__ == "__main__":
    print(build_store(Path(sys.argv[1])).home)
