"""Which items of a task a run with a limit asks: a seeded random sample.

The sample of N items is contained in that of any larger N, and does not depend on the other tasks of the
suite, so that a longer run reuses every answer of a shorter one. A group of tasks (MMLU's 57 subjects) is one
task: its sample is drawn from all of its items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

SAMPLE_SEED = 0  # of `--limit` and of suites that sample


def sampled_docs(sizes: Mapping[str, int], *, n: int, seed: int) -> dict[str, tuple[int, ...]]:
    """The `doc_id`s to ask of each leaf task, in ascending order, from its number of documents.

    The items whose hashes are the smallest: a simple random sample without replacement.
    """
    ranked = sorted(
        (_rank(seed, leaf, doc), leaf, doc) for leaf, size in sizes.items() for doc in range(size)
    )
    chosen: dict[str, list[int]] = {leaf: [] for leaf in sizes}
    for _, leaf, doc in ranked[:n]:
        chosen[leaf].append(doc)
    return {leaf: tuple(sorted(docs)) for leaf, docs in chosen.items()}


def first_docs(sizes: Mapping[str, int], *, n: int) -> dict[str, tuple[int, ...]]:
    """The first `n` documents of each leaf task, as lm-eval's own `--limit` takes them."""
    return {leaf: tuple(range(min(n, size))) for leaf, size in sizes.items()}


def _rank(seed: int, leaf: str, doc: int) -> bytes:
    return hashlib.sha256(f"{seed}:{leaf}:{doc}".encode()).digest()
