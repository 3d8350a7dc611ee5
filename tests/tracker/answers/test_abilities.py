"""The areas of a model: means with chance at 0, intervals from those of the tasks, one set of settings."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from tracker.answers.abilities import abilities, ability_line
from tracker.answers.run_lines import unsafe_lines
from tracker.stats import share_interval


def row(
    suite: str, task: str, value: float, *, n: int = 100, chance: float = 0.0, **more: Any
) -> dict[str, Any]:
    interval = share_interval(round(value * n), n)
    assert interval is not None
    return {
        "suite": suite, "task": task, "group": None, "value": value, "ci_low": interval.low,
        "ci_high": interval.high, "chance": chance, "n_items": n, "revision": "a", "engine": "vllm",
        "dtype": "bfloat16", "quantization": None, "thinking": None, "sampling": "task",
        "max_output_tokens": None, "started_at": datetime(2026, 11, 30, tzinfo=UTC),
    } | more  # fmt: skip


def test_abilities_are_means_with_chance_at_zero_in_a_fixed_order() -> None:
    found = abilities(
        [
            row("home@7", "home_tools", 0.3),
            row("home@7", "home_network", 0.1),
            row("place", "mmlu", 0.625, chance=0.25),
            row("tools", "tools", 0.8),
            row("tools", "tools_single", 1.0, group="tools"),
            row("smoke", "sums", 1.0),
        ]
    )
    assert [(one.area, round(one.value, 3), one.tasks) for one in found] == [
        ("knowledge and reasoning", 0.5, ("mmlu",)),
        ("tool calls", 0.8, ("tools",)),
        ("running a home", 0.2, ("home_tools", "home_network")),
    ]
    assert all(one.low < one.value < one.high for one in found)
    line = ability_line(found[2].document())
    assert line.startswith("running a home: 20.0% (")
    assert line.endswith("chance is 0; 2 tasks, 200 items, since 2026-11-30)")


def test_abilities_are_of_one_set_of_settings() -> None:
    rows = [row("place", "mmlu", 0.5), row("home", "home_api", 0.5, quantization="fp8"),
            row("place", "mmlu", 0.4, quantization="fp8")]  # fmt: skip
    assert [one.value for one in abilities(rows)] == [0.4, 0.5]
    assert abilities([]) == abilities([row("smoke", "sums", 1.0)]) == ()


@pytest.mark.parametrize("shares", [(0.0, 0.1), (0.5, 0.9), (0.95, 1.0)])
def test_abilities_the_interval_of_a_mean_covers(shares: tuple[float, float]) -> None:
    rng, n, n_covered = Random(1), 24, 0
    for _ in range(400):
        rows = [
            row("home", f"home_{share}", sum(rng.random() < share for _ in range(n)) / n, n=n)
            for share in shares
        ]
        (found,) = abilities(rows)
        n_covered += found.low <= sum(shares) / 2 <= found.high
    assert n_covered >= 400 * 0.93


def test_unsafe_actions_are_told_as_counts() -> None:
    def metric(task: str, name: str, value: float) -> dict[str, Any]:
        return {"task": task, "metric": name, "value": value, "n_items": 24}

    rows = [metric("home_api", "unsafe", 3.0), metric("home_api", "unsafe_episodes", 2 / 24),
            metric("home_tools", "unsafe", 0.0), metric("home_tools", "unsafe_episodes", 0.0),
            metric("sums", "exact_match", 1.0)]  # fmt: skip
    assert unsafe_lines(rows) == [
        "home_api: 3 unsafe actions in 2 of 24 episodes",
        "home_tools: 0 unsafe actions in 0 of 24 episodes",
    ]
