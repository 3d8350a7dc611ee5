"""Measurements of speed as the command stores them; a test changes what it needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.builders.some_runs import STARTED_AT, model
from tracker.files.speeds import write_speed
from tracker.records import EngineInfo, EngineSettings
from tracker.records.speed import SpeedLevel, SpeedLoad, SpeedRun, SpeedStatus, Spread
from tracker.settings import Settings
from tracker.store import Store, publish

CARD = "NVIDIA H100 80GB HBM3"


def spread(median: float) -> Spread:
    return Spread(median, 0.9 * median, 1.2 * median, 1.5 * median, 2.0 * median, 1.1 * median)


def level(concurrency: int, *, energy_j: float | None = 900.0, n_answered: int = 16) -> SpeedLevel:
    tpot_s = 0.01 * (1 + concurrency / 32)
    duration_s = 20.0 / concurrency
    is_answered = n_answered > 0
    return SpeedLevel(
        concurrency=concurrency,
        n_requests=16,
        n_answered=n_answered,
        duration_s=duration_s,
        prompt_tokens=512 * n_answered,
        output_tokens=128 * n_answered,
        output_tokens_per_s=128 * n_answered / duration_s,
        requests_per_s=n_answered / duration_s,
        goodput_per_s=n_answered / duration_s,
        n_good=n_answered,
        ttft=spread(0.05 * concurrency) if is_answered else None,
        tpot=spread(tpot_s) if is_answered else None,
        itl=replace(spread(tpot_s), ci_low=None, ci_high=None) if is_answered else None,
        e2el=spread(0.05 * concurrency + 127 * tpot_s) if is_answered else None,
        energy_j=energy_j,
        error="" if n_answered == 16 else "ConnectionResetError: [Errno 104] Connection reset by peer",
    )


def speed(speed_id: str = "20261124-003000-5beed5", model_id: str = "acme/atlas-8b", **more: Any) -> SpeedRun:
    info = EngineInfo("vllm", "0.32.0", "bfloat16", CARD, 32_768)
    whole = SpeedRun(
        speed_id=speed_id,
        model=model(model_id),
        settings=EngineSettings(engine="vllm"),
        load=SpeedLoad(sweep=(1, 4)),
        status=SpeedStatus.COMPLETE,
        started_at=STARTED_AT,
        ended_at=STARTED_AT + timedelta(minutes=2),
        engine=info,
        generator="vllm bench serve",
        generator_version="0.32.0",
        endpoint="/completions",
        levels=(level(1), level(4)),
        load_s=41.0,
        counts_from="server",
        prompt_tokens=512,
        peak_memory_bytes=20 * 2**30,
        n_cards=1,
        hardware={"cpu": "AMD EPYC", "n_cores": 16},
    )
    return replace(whole, **more)


def store_speed(settings: Settings, *runs: SpeedRun) -> None:
    """Write the files and the rows, and publish them."""
    for run in runs:
        write_speed(settings, run)
    with Store.open(settings) as store:
        store.add_speeds(runs)
    publish(settings)
