"""File cache of bootstrap draws and the gaps computed from them, since computing them takes seconds.

The key covers the tables, the selection, the options and the code that draws or counts; an unreadable
file is recomputed.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

import numpy as np

from tracker.frontier import definitions
from tracker.frontier.axis import Axis
from tracker.frontier.definitions import Definition, Window
from tracker.frontier.gap import Gap, gap_at, gaps
from tracker.frontier.index import DRAWS, DrawMethod, IndexDraws, IndexFit, draw_index

CODE = tuple(Path(__file__).with_name(name) for name in ("dataset.py", "index.py", "solver.py"))
GAP_CODE = tuple(
    Path(__file__).with_name(name)
    for name in ("axis.py", "calibration.py", "definitions.py", "envelope.py", "gap.py", "survival.py")
)


def cached_draws(
    fit: IndexFit, folder: Path | None, *, n_draws: int = DRAWS, method: DrawMethod = DrawMethod.SCATTER
) -> IndexDraws:
    """The bootstrap draws of `fit`, read from `folder`, or drawn and stored there."""
    if folder is None:
        return draw_index(fit, n_draws=n_draws, method=method)
    path = folder / f"draws-{draws_key(fit, n_draws=n_draws, method=method)}.npz"
    found = _read(path, fit)
    if found is None:
        found = draw_index(fit, n_draws=n_draws, method=method)
        _write(path, found)
    return found


def stored_draws(fit: IndexFit, folder: Path, *, n_draws: int = DRAWS) -> IndexDraws | None:
    """The draws of `fit` that an earlier answer stored in `folder`; None if there are none yet."""
    return _read(folder / f"draws-{draws_key(fit, n_draws=n_draws, method=DrawMethod.SCATTER)}.npz", fit)


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
    """Every definition on `axis`, read from `folder`, or computed and stored there.

    Raises:
        TrackerError: no open or no closed model is left on the window's last day.
    """
    ids = tuple(each.id for each in definitions.DEFINITIONS)
    name = f"gaps-{gaps_key(axis, window, unit=unit, ids=ids)}"
    return _kept(folder, name, lambda: gaps(axis, window, unit=unit))


def cached_gap_history(
    rule: Definition, axis: Axis, windows: Sequence[Window], folder: Path | None, *, unit: str = "index"
) -> tuple[Gap, ...]:
    """One definition at the end of each window, read from `folder`, or computed and stored there.

    Raises:
        TrackerError: no open or no closed model is left on the last day of a window.
    """

    def computed() -> tuple[Gap, ...]:
        return tuple(gap_at(rule, axis, window, unit=unit) for window in windows)

    return _kept(folder, f"history-{gaps_key(axis, tuple(windows), unit=unit, ids=(rule.id,))}", computed)


def _kept(folder: Path | None, name: str, compute: Callable[[], tuple[Gap, ...]]) -> tuple[Gap, ...]:
    if folder is None:
        return compute()
    path = folder / f"{name}.json"
    try:
        return tuple(Gap(**row) for row in json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        found = compute()
    text = json.dumps([asdict(row) for row in found]).encode()
    keep_file(path, lambda file: file.write(text))
    return found


def gaps_key(axis: Axis, window: Window | tuple[Window, ...], *, unit: str, ids: tuple[str, ...]) -> str:
    """32 hex digits, equal exactly when the gaps would be."""
    digest = hashlib.sha256()
    for path in GAP_CODE:
        digest.update(path.read_bytes())
    digest.update(repr((ids, axis.name, axis.models, window, unit, axis.high_error is None)).encode())
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

    keep_file(path, save)


def keep_file(path: Path, save: Callable[[IO[bytes]], object]) -> None:
    """Write the file atomically; if the folder is not writable, results are only recomputed next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=".making-", delete=False) as file:
            save(file)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
    except OSError:
        return
