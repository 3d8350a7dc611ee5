"""Whether two trainings under different seeds began alike: seen in the weights that they ended with.

The evaluator asks a script how a training begins, but a script can tell a training from being asked. The
weights cannot lie so easily: trainings that begin at one point stay near each other whatever text they see,
and those that begin at two have nothing in common. A script that also shuffles its units by the seed would
pass.

A checkpoint is read without unpickling: it is a ZIP archive in which each weight is a plain block of numbers.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runners.research.evaluation.cheat_checks import Finding
from tracker.serialization import write_atomically

SKETCHED = 4096  # first numbers of a weight
LEAST_NUMBERS = 256  # fewer are alike by chance: gains and biases
# Cosine. Measured on `cpu`: two beginnings at most 0.04, one beginning and other text 0.16 to 0.89; by chance
# the deviation is 1 ÷ √n.
ALIKE, ALIKE_DEVIATIONS = 0.12, 6.0
MOST_WEIGHTS = 512
Sketch = Mapping[str, NDArray[np.float32]]


def likeness_finding(checkpoint: Path, folder: Path, *, seed: int) -> Finding | None:
    """Keep the sketch of a checkpoint in `folder`, and compare it with those of other seeds there."""
    mine = sketch(checkpoint)
    others = [path for path in sorted(folder.glob("*.npz")) if path.stem != str(seed)]
    folder.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **mine)
    write_atomically(folder / f"{seed}.npz", packed.getvalue())
    for other in others:
        with np.load(other, allow_pickle=False) as kept:
            share = alike_share(mine, dict(kept))
        if share > 0.5:
            detail = f"{100 * share:.0f}% of the weights equal those of another seed: the seed has no effect"
            return Finding("seed", detail)
    return None


def sketch(checkpoint: Path) -> dict[str, NDArray[np.float32]]:
    """Name in the archive → the first numbers of each weight of float32; empty if it is no such archive."""
    found: dict[str, NDArray[np.float32]] = {}
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            blocks = [info for info in archive.infolist() if "/data/" in info.filename]
            for place, info in enumerate(blocks[:MOST_WEIGHTS]):
                if info.compress_type != zipfile.ZIP_STORED:
                    continue
                with archive.open(info) as file:
                    block = file.read(4 * SKETCHED)
                numbers = np.frombuffer(block[: len(block) // 4 * 4], dtype="<f4")
                if len(numbers) >= LEAST_NUMBERS and np.isfinite(numbers).all():
                    found[f"w{place}"] = numbers
    except (zipfile.BadZipFile, OSError, ValueError):
        return {}
    return found


def alike_share(mine: Sketch, other: Sketch) -> float:
    """Share of my weights with one of the same size in the other that points the same way."""
    alike = [any(_are_alike(a, b) for b in other.values() if len(a) == len(b)) for a in mine.values()]
    return sum(alike) / len(alike) if alike else 0.0


def _are_alike(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return _cosine(a, b) > max(ALIKE, ALIKE_DEVIATIONS / math.sqrt(len(a)))


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    size = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(np.dot(a, b)) / size if size > 0 else 0.0
