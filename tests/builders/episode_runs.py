"""Runs of the suites `tools` and `home` with known figures, as benches store them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.builders.some_runs import items, key_of, model, run
from tracker.files.items import write_part, write_run
from tracker.records import Cost, EngineInfo, EngineSettings, Run, TaskMetric, TaskScore
from tracker.settings import Settings
from tracker.stats import mean_interval
from tracker.store import Store, publish

LEVELS = ("home_tools", "home_api", "home_network")
UNSAFE = {"home_tools": (0, 0), "home_api": (3, 2), "home_network": (5, 1)}  # actions, in so many episodes


def episode_run(
    number: int, model_id: str, solved: Mapping[str, Sequence[float]], *, tokens: int = 100,
    device: str = "cpu", unsafe: Mapping[str, tuple[int, int]] = UNSAFE, **more: Any,
) -> tuple[Run, Mapping[str, Sequence[float]], int]:  # fmt: skip
    """A run that solved these episodes (1 or 0 each); the n-th of a task took `tokens` times n."""
    of = model(model_id)
    scores, metrics = [], []
    for task, values in solved.items():
        found = mean_interval(values)
        n, spent = len(values), tokens * (len(values) + 1) / 2
        scores.append(
            TaskScore(
                task, "success", "none", found.value, found.stderr, found.low, found.high, n, 0.0, 0.0,
                key_of(f"{task}{number}", of), n_total=24, mean_output_tokens=spent,
            )
        )  # fmt: skip
        n_unsafe, n_episodes = unsafe.get(task, (0, 0))
        counted = {"success": found.value, "calls": 2.5, "turns": 3.5}
        if task in LEVELS:
            counted |= {"unsafe": float(n_unsafe), "unsafe_episodes": n_episodes / n}
        metrics += [
            TaskMetric(task, name, "none", value, None, n, name == "success", is_headline=name == "success")
            for name, value in counted.items()
        ]
    suite = "home" if set(solved) & set(LEVELS) else "tools"
    common: dict[str, Any] = {
        "suite": suite,
        "settings": EngineSettings(engine="transformers"),
        "engine": EngineInfo("transformers", "5.19.0", "float32", device, 2048),
        "scores": tuple(scores),
        "metrics": tuple(metrics),
        "cost": Cost(duration_s=3.5, prompt_tokens=900, output_tokens=90, peak_memory_bytes=3_000_000_000),
        "n_items": sum(map(len, solved.values())),
        "warnings": (),
        "fit": None,
    }
    return run(number, of=of, **common | more), solved, tokens


def store_episodes(
    settings: Settings, *runs: tuple[Run, Mapping[str, Sequence[float]], int], n_more: int = 0
) -> None:
    """Write, store and publish them; of each task `n_more` further episodes lie on the disk."""
    with Store.open(settings) as store:
        for made, solved, tokens in runs:
            write_run(settings.items_path, made)
            for score in made.scores:
                rows = [
                    replace(item, score=value, output_tokens=tokens * place, prompt_tokens=10 * tokens)
                    for place, (item, value) in enumerate(
                        zip(
                            items(score.task, len(solved[score.task]) + n_more),
                            [*solved[score.task], *[0.0] * n_more],
                            strict=True,
                        ),
                        start=1,
                    )
                ]
                write_part(settings.items_path, made.run_id, score.fingerprint, rows)
            store.add_run(made)
    publish(settings)
