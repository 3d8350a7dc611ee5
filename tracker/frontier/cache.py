"""Bootstrap draws kept in a file, so that only the first question about a selection takes seconds.

The key covers the tables, the selection, the options and the code that draws; a file that cannot be
read is drawn again.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import astuple
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np

from tracker.frontier.index import DRAWS, DrawMethod, IndexDraws, IndexFit, draw_index

CODE = tuple(Path(__file__).with_name(name) for name in ("dataset.py", "index.py", "solver.py"))


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


def _write(path: Path, draws: IndexDraws) -> None:
    """Whole or not at all; a folder that cannot be written only costs the time to draw again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=".draws-", delete=False) as file:
            np.savez(
                file,
                index=draws.index,
                difficulty=draws.difficulty,
                slope=draws.slope,
                kept=draws.kept,
                n_drawn=draws.n_drawn,
                seed=draws.seed,
            )
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
    except OSError:
        return
