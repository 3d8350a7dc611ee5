"""How much memory a model needs, from nothing but the size of its weights: a first sieve.

`tracker fit` reads the headers and the configuration and says it exactly.
"""

from __future__ import annotations

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
MEMORY_GB = (8, 12, 16, 24, 32, 48, 80)  # cards that people have


def needed_bytes(weights_bytes: int | None) -> int | None:
    """Memory for the weights, a short context and the engine; None if the size is not known."""
    if weights_bytes is None:
        return None
    return round(weights_bytes * (1 + CACHE_FRACTION)) + OVERHEAD_BYTES


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
