"""The peak memory that is stored for a run: what was used of what an engine had reserved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from runners.engines import Engine
from runners.engines.vllm.engine import pool_bytes
from runners.hardware import MemoryWatch
from runners.harness.worker import with_memory
from tests.doubles.engines import ArithmeticEngine
from tracker.records import Cost, EngineSettings, Model

GIB = 2**30
LOG = """(EngineCore pid=7) INFO 11-20 10:00:00 [gpu_worker.py:651] Available KV cache memory: 52.25 GiB
(EngineCore pid=7) INFO 11-20 10:00:01 [kv_cache_utils.py:1700] GPU KV cache size: 489,280 tokens
"""


@dataclass
class Watch:
    """What was seen of the memory."""

    peak_memory_bytes: int
    peak_vram_bytes: int | None


class ReservingEngine(ArithmeticEngine):
    """Takes 72 GiB of a card for its cache; `unused` of it was never needed."""

    def __init__(self, unused: int | None) -> None:
        super().__init__(Model("acme/tiny-1b", "0" * 40), EngineSettings())
        self.unused_memory_bytes = unused


def cost(
    engine: object, *, vram: int | None = 72 * GIB, fit: dict[str, Any] | None = None
) -> tuple[Any, Any]:
    watch = Watch(vram or 3 * GIB, vram)
    found = with_memory(Cost(), cast(Engine, engine), cast(MemoryWatch, watch), fit=fit)
    return found.peak_memory_bytes, found.memory_basis


@pytest.mark.parametrize(
    ("unused", "fit", "expected"),
    [
        (52 * GIB, {"total_bytes": 9 * GIB}, (20 * GIB, "used")),
        (None, {"total_bytes": 9 * GIB}, (9 * GIB, "predicted")),
        (90 * GIB, {"total_bytes": 9 * GIB}, (9 * GIB, "predicted")),
        (None, None, (72 * GIB, None)),
    ],
    ids=["cache mostly unused", "not readable", "impossible", "not even predicted"],
)
def test_peak_memory_is_without_what_was_only_reserved(
    unused: int | None, fit: dict[str, Any] | None, expected: tuple[int, str | None]
) -> None:
    assert cost(ReservingEngine(unused), fit=fit) == expected


def test_peak_memory_of_an_engine_that_reserves_nothing_is_what_was_seen() -> None:
    plain = ArithmeticEngine(Model("acme/tiny-1b", "0" * 40), EngineSettings())
    assert cost(plain) == (72 * GIB, None)
    assert cost(ReservingEngine(52 * GIB), vram=None) == (3 * GIB, None)  # main memory counts what is touched


def test_peak_memory_the_reserved_cache_is_read_from_the_log_of_vllm() -> None:
    assert pool_bytes(LOG) == round(52.25 * GIB)
    assert pool_bytes("INFO 11-20 10:00:01 GPU KV cache size: 489,280 tokens") is None
