"""The seed of each sampled answer, the same for every engine."""

from __future__ import annotations

import hashlib

from runners.engines import GenerationRequest

SEED_BYTES = 7  # torch takes 63 bits


def request_seed(request: GenerationRequest, *, seed: int, repeat: int) -> int:
    """The request's own seed, or one derived from the engine's seed, the prompt and its repetition number."""
    if request.seed is not None:
        return request.seed
    text = f"{seed}\0{repeat}\0{request.prompt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:SEED_BYTES], "big")
