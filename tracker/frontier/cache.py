"""Bootstrap draws and the gaps made of them, kept in files: only the first question takes seconds.

The key covers the tables, the selection, the options and the code that draws or counts; a file that cannot
be read is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict, astuple
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

import numpy as np

from tracker.frontier.axis import Axis
from tracker.frontier.gap import Gap, Window, gaps
from tracker.frontier.index import DRAWS, DrawMethod, IndexDraws, IndexFit, draw_index

CODE = tuple(Path(__file__).with_name(name) for name in ("dataset.py", "index.py", "solver.py"))
GAP_CODE = tuple(
    Path(__file__).with_name(name) for name in ("axis.py", "calibration.py", "gap.py", "survival.py")
)


def cached_draws(
    fit: IndexFit, folder: Path | None, *, n_draws: int = DRAWS, method: DrawMethod = DrawMethod.SCATTER
) -> IndexDraws:
    """The bootstrap draws of `fit`, read from `folder` if they are there, else drawn and kept there."""
    if folder is None:
        return draw_index(fit, n_draws=n_draws, method=method)
    path = folder / f"draws-{draws_key(fit, n_draws=n_draws, method=method)}.npz"
    found = _read(path, fit)
    if found is None:
        found = draw_index(fit, n_draws=n_draws, method=method)
        _write(path, found)
    return found


def draws_key(fit: IndexFit, *, n_draws: int, method: DrawMethod) -> str:
    """32 hex digits, equal exactly when the draws would be."""
    data = fit.data
    digest = hashlib.sha256()
    for path in CODE:
        digest.update(path.read_bytes())
    digest.update(repr((data.models, data.benchmarks, astuple(fit.options), n_draws, method)).encode())
    for array in (data.model_of, data.benchmark_of, data.score, data.n_items):
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


def _read(path: Path, fit: IndexFit) -> IndexDraws | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = IndexDraws(
                arrays["index"],
                arrays["difficulty"],
                arrays["slope"],
                arrays["kept"],
                int(arrays["n_drawn"]),
                int(arrays["seed"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    n_models, n_benchmarks = len(fit.data.models), len(fit.data.benchmarks)
    shapes = (found.index.shape[1:], found.difficulty.shape[1:], found.slope.shape[1:])
    return found if shapes == ((n_models,), (n_benchmarks,), (n_benchmarks,)) else None


def cached_gaps(axis: Axis, window: Window, folder: Path | None, *, unit: str = "index") -> tuple[Gap, ...]:
    """The six definitions on `axis`, read from `folder` if they are there, else computed and kept there.

    Raises:
        TrackerError: no open or no closed model is left on the window's last day.
    """
    if folder is None:
        return gaps(axis, window, unit=unit)
    path = folder / f"gaps-{gaps_key(axis, window, unit=unit)}.json"
    try:
        return tuple(Gap(**row) for row in json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        found = gaps(axis, window, unit=unit)
    text = json.dumps([asdict(row) for row in found]).encode()
    _keep(path, lambda file: file.write(text))
    return found


def gaps_key(axis: Axis, window: Window, *, unit: str) -> str:
    """32 hex digits, equal exactly when the gaps would be."""
    digest = hashlib.sha256()
    for path in GAP_CODE:
        digest.update(path.read_bytes())
    digest.update(repr((axis.name, axis.models, window, unit, axis.high_error is None)).encode())
    arrays = (axis.is_open, axis.released, axis.value, axis.draws, axis.high, axis.high_error)
    for array in arrays:
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def _write(path: Path, draws: IndexDraws) -> None:
    def save(file: IO[bytes]) -> None:
        np.savez(
            file,
            index=draws.index,
            difficulty=draws.difficulty,
            slope=draws.slope,
            kept=draws.kept,
            n_drawn=draws.n_drawn,
            seed=draws.seed,
        )

    _keep(path, save)


def _keep(path: Path, save: Callable[[IO[bytes]], object]) -> None:
    """Whole or not at all; a folder that cannot be written only costs the time to compute again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=".making-", delete=False) as file:
            save(file)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
    except OSError:
        return
