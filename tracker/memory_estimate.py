"""How much memory a model needs, from what is known of it without asking anyone: the one estimate.

Filters (`--fits-gb`), the leaderboard, Run it, the queue and the digest go by it. `tracker fit` reads the
headers and the configuration of one model and says it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tracker.errors import TrackerError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

GB = 1e9
VLLM, CPU = "vllm", "cpu"  # an engine and a device, as runs name them
SHORT_CONTEXT = 4096  # tokens; what "fits" means where no context is named
BITS = 16.0  # of a weight, as most models are published
MOST_BITS = 32.0
# Bits that a weight takes in copies that are called 4 and 8 bits: Q4_K_M and Q8_0 of Llama 3.1 8B in
# llama.cpp's `tools/quantize/README.md`, scales and wider tensors included.
STORED_BITS = {4.0: 4.89, 8.0: 8.5}
STORED_NOTE = "4 bits take 4.89 a weight as Q4_K_M, 8 bits 8.5 as Q8_0"
BYTES_PER_PARAM = 2  # weights in 16 bits
# A cache of 4,096 tokens for one sequence is 0.1 to 2 GB for models of 1B to 70B with grouped heads
CACHE_FRACTION = 0.08  # of the weights
OVERHEAD_BYTES = 1_500_000_000  # CUDA context, kernels and activations as vLLM 0.32 logs them on one card
CLASSES = (
    3e9,
    6e9,
    10e9,
    20e9,
    40e9,
    80e9,
    160e9,
)  # parameters: what one card of 8 … 80 GB, or several, hold
NEED_COLUMNS = (
    "weights_bytes", "n_params", "cache_bytes_per_token", "overhead_bytes", "peak_memory_bytes",
    "memory_basis", "engine", "device",
)  # fmt: skip
NEED_TEXTS = ("memory_basis", "engine", "device")  # of these, those that are no numbers
MEMORY_GB = (8, 12, 16, 24, 32, 48, 80)  # cards that people have


def stored_bits(bits: float) -> float:
    """Bits that a weight takes in a copy called `bits`: scales and wider tensors are counted at 4 and 8."""
    return STORED_BITS.get(bits, bits)


def needed_bytes(
    *,
    weights_bytes: float | None = None,
    n_params: float | None = None,
    cache_bytes_per_token: float | None = None,
    overhead_bytes: float | None = None,
    peak_bytes: float | None = None,
    context: int = SHORT_CONTEXT,
) -> int | None:
    """Memory for the weights, one sequence of `context` tokens and the engine, from the best that is known.

    What the fit check read of the headers comes first: weights, cache and overhead. Without a cache per token
    only a short context can be estimated: the weights, else the parameters in 16 bits, plus a share. The
    peak of a run comes last: vLLM takes what it is given. None if nothing is known.
    """
    weights = weights_bytes
    if weights is None and n_params is not None:
        weights = n_params * BYTES_PER_PARAM
    if weights is None:
        return None if peak_bytes is None or context > SHORT_CONTEXT else round(peak_bytes)
    overhead = OVERHEAD_BYTES if overhead_bytes is None else overhead_bytes
    if cache_bytes_per_token is not None:
        return round(weights + cache_bytes_per_token * context + overhead)
    return None if context > SHORT_CONTEXT else round(weights * (1 + CACHE_FRACTION) + overhead)


def is_share_of_card(row: Mapping[str, Any]) -> bool:
    """Whether the peak memory of a row of runs is the share of the card that vLLM reserved, not its need.

    Runs of earlier versions stored the share, and have no basis. On a CPU, unused memory is not counted.
    """
    basis, device = row.get("memory_basis"), row.get("device")
    return row.get("engine") == VLLM and not isinstance(basis, str) and device != CPU


def peak_of_need(row: Mapping[str, Any]) -> float | None:
    """The peak memory of a row of runs in bytes; None: not measured, or only what vLLM had reserved."""
    peak = row.get("peak_memory_bytes")
    if peak is None or math.isnan(peak) or not peak or is_share_of_card(row):
        return None
    return float(peak)


def memory_text(row: Mapping[str, Any]) -> str:
    """The peak memory of a row of runs in GB, with what it counts; empty: not measured."""
    peak = row.get("peak_memory_bytes")
    if not peak:
        return ""
    text = f"peak memory {peak / GB:.1f} GB"
    if is_share_of_card(row):
        return f"{text}, the share of the card that vLLM reserved, not what the model needs"
    return f"{text}, in part predicted" if row.get("memory_basis") == "predicted" else text


def row_needed_bytes(row: Mapping[str, Any], *, context: int = SHORT_CONTEXT) -> int | None:
    """`needed_bytes` of a row of a read, from those of `NEED_COLUMNS` that it has."""

    def known(name: str) -> float | None:
        value = row.get(name)
        return None if value is None or math.isnan(value) else float(value)

    return needed_bytes(
        weights_bytes=known("weights_bytes"),
        n_params=known("n_params"),
        cache_bytes_per_token=known("cache_bytes_per_token"),
        overhead_bytes=known("overhead_bytes"),
        peak_bytes=peak_of_need(row),
        context=context,
    )


def column_needed_bytes(
    columns: Mapping[str, Sequence[Any] | npt.NDArray[Any]], n_rows: int, *, context: int = SHORT_CONTEXT
) -> npt.NDArray[np.float64]:
    """`row_needed_bytes` of many rows at once: (N,) bytes, NaN where too little is known.

    `columns`: those of `NEED_COLUMNS` that the rows have, N values each; a missing number is None or NaN.
    """
    import numpy as np  # here: most of this module needs no arrays

    def numbers(name: str) -> npt.NDArray[np.float64]:
        return np.asarray(columns[name] if name in columns else np.full(n_rows, np.nan), dtype=np.float64)

    def texts(name: str) -> Sequence[Any] | npt.NDArray[Any]:
        return columns[name] if name in columns else [None] * n_rows

    is_short = context <= SHORT_CONTEXT
    weights, overhead = numbers("weights_bytes"), numbers("overhead_bytes")
    weights = np.where(np.isnan(weights), numbers("n_params") * BYTES_PER_PARAM, weights)
    overhead = np.where(np.isnan(overhead), OVERHEAD_BYTES, overhead)
    by_headers = weights + numbers("cache_bytes_per_token") * context + overhead
    by_size = weights * (1 + CACHE_FRACTION) + overhead if is_short else np.nan
    needed = np.where(np.isnan(by_headers), by_size, by_headers)
    if is_short and np.isnan(weights).any():
        rows = zip(texts("engine"), texts("memory_basis"), texts("device"), strict=True)
        is_share = [
            is_share_of_card({"engine": engine, "memory_basis": basis, "device": device})
            for engine, basis, device in rows
        ]
        peak = numbers("peak_memory_bytes")
        peak = np.where(np.array(is_share, dtype=np.bool_) | (peak == 0.0), np.nan, peak)
        needed = np.where(np.isnan(weights), peak, needed)
    found: npt.NDArray[np.float64] = np.rint(needed)
    return found


def params_that_fit(memory_gb: float, bits: float = BITS) -> int:
    """The most parameters of which `needed_bytes` in a copy called `bits` is at most `memory_gb` GB.

    Raises:
        TrackerError: the memory is not positive, or the bits are not from 1 to 32.
    """
    if not 0.0 < memory_gb < math.inf:
        raise TrackerError(
            f"--fits-gb must be positive and finite, got {memory_gb:g}", hint="example: `--fits-gb 24`"
        )
    if not 1.0 <= bits <= MOST_BITS:
        raise TrackerError(f"--bits must be from 1 to {MOST_BITS:g}, got {bits:g}", hint="--bits 4")
    return max(0, int((memory_gb * GB - OVERHEAD_BYTES) / (stored_bits(bits) / 8 * (1 + CACHE_FRACTION))))


def size_class(n_params: int | None) -> int | None:
    """The place in `CLASSES` below which a model lies, `len(CLASSES)` for the largest; None if not known."""
    if n_params is None:
        return None
    return next((place for place, limit in enumerate(CLASSES) if n_params < limit), len(CLASSES))


def class_name(place: int) -> str:
    """The size class for people, such as `3B to 6B`."""
    bounds = [f"{limit / 1e9:g}B" for limit in CLASSES]
    if place == 0:
        return f"below {bounds[0]}"
    return f"above {bounds[-1]}" if place == len(CLASSES) else f"{bounds[place - 1]} to {bounds[place]}"
