"""File cache of bootstrap draws and the gaps computed from them, since computing them takes seconds.

The key covers the tables, the selection, the options and the code that draws or counts; an unreadable
file is recomputed. The draws of the shipped tables come with them, and so do the gaps of the questions that a
new home asks first, under the same keys.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

import numpy as np

from tracker.frontier import definitions
from tracker.frontier.axis import Axis
from tracker.frontier.dataset import Array
from tracker.frontier.definitions import Definition, Window
from tracker.frontier.gap import Gap, gap_at, gaps
from tracker.frontier.index import DRAWS, DrawMethod, IndexDraws, IndexFit, draw_index
from tracker.frontier.tables import default_folder

CODE = tuple(Path(__file__).with_name(name) for name in ("dataset.py", "index.py", "solver.py"))
SHIPPED = "draws.npz"
SHIPPED_GAPS = "gaps.json"
KEY_DECIMALS = 6  # of values in the key of gaps: two machines fit the index alike to about 1e-10
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
GAP_CODE = tuple(
    Path(__file__).with_name(name)
    for name in ("axis.py", "calibration.py", "definitions.py", "envelope.py", "gap.py", "survival.py")
)


def cached_draws(fit: IndexFit, folder: Path | None, *, n_draws: int = DRAWS) -> IndexDraws:
    """The bootstrap draws of `fit`: as stored in `folder` or shipped, or else drawn and stored there."""
    if folder is None:
        return draw_index(fit, n_draws=n_draws)
    found = stored_draws(fit, folder, n_draws=n_draws)
    if found is None:
        found = draw_index(fit, n_draws=n_draws)
        _write(_draws_path(fit, folder, n_draws), found)
    return found


def stored_draws(fit: IndexFit, folder: Path, *, n_draws: int = DRAWS) -> IndexDraws | None:
    """The draws of `fit` that are shipped, or that an earlier answer stored in `folder`; else None."""
    found = _read(_draws_path(fit, folder, n_draws), fit)
    if found is None and draws_key(fit, n_draws=n_draws, method=DrawMethod.SCATTER) == _shipped_key():
        found = _read(default_folder() / SHIPPED, fit)
    return found


def cached_upper_ends(fit: IndexFit, folder: Path | None, *, n_draws: int = DRAWS) -> Array:
    """(M,) the upper ends of the models' intervals by the published method; cached like the draws."""
    if folder is None:
        return upper_ends(fit, n_draws=n_draws)
    key = draws_key(fit, n_draws=n_draws, method=DrawMethod.ROWS)
    path = folder / f"upper-ends-{key}.npz"
    found = _read_ends(path, fit)
    if found is None and draws_key(fit, n_draws=n_draws, method=DrawMethod.SCATTER) == _shipped_key():
        found = _read_ends(default_folder() / SHIPPED, fit)
    if found is None:
        ends = found = upper_ends(fit, n_draws=n_draws)
        keep_file(path, lambda file: np.savez(file, upper_ends=ends))
    return found


def upper_ends(fit: IndexFit, *, n_draws: int = DRAWS) -> Array:
    """(M,) the upper ends of the models' intervals, by draws of whole rows as in the published method."""
    return draw_index(fit, n_draws=n_draws, method=DrawMethod.ROWS).interval()[1]


def _read_ends(path: Path, fit: IndexFit) -> Array | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found: Array = arrays["upper_ends"]
    except UNREADABLE:
        return None
    return found if found.shape == (len(fit.data.models),) else None


def _draws_path(fit: IndexFit, folder: Path, n_draws: int) -> Path:
    return folder / f"draws-{draws_key(fit, n_draws=n_draws, method=DrawMethod.SCATTER)}.npz"


@functools.cache
def _shipped_key() -> str | None:
    """The key of the shipped draws; None where they are missing."""
    try:
        with np.load(default_folder() / SHIPPED, allow_pickle=False) as arrays:
            return str(arrays["key"])
    except UNREADABLE:
        return None


def ship_draws(fit: IndexFit, path: Path) -> None:
    """Write the file that the package ships: draws, upper ends, and the key of what they were drawn from."""
    key = np.array(draws_key(fit, n_draws=DRAWS, method=DrawMethod.SCATTER))
    arrays = _arrays(draw_index(fit)) | {"key": key, "upper_ends": upper_ends(fit)}
    keep_file(path, lambda file: np.savez_compressed(file, **arrays))
    path.chmod(0o644)  # it goes into packages


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
    except UNREADABLE:
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
    if (shipped := _shipped_gaps().get(name)) is not None:
        return shipped
    try:
        return tuple(Gap(**row) for row in json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        found = compute()
    text = json.dumps([asdict(row) for row in found]).encode()
    keep_file(path, lambda file: file.write(text))
    return found


@functools.cache
def _shipped_gaps() -> dict[str, tuple[Gap, ...]]:
    """The shipped gaps by the names of their files; empty where they are missing or unreadable."""
    try:
        content = json.loads((default_folder() / SHIPPED_GAPS).read_bytes())
        return {name: tuple(Gap(**row) for row in rows) for name, rows in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def ship_gaps(folder: Path, path: Path) -> None:
    """Write the file that the package ships: all gaps that are stored in `folder`."""
    files = sorted([*folder.glob("gaps-*.json"), *folder.glob("history-*.json")])
    content = {file.stem: json.loads(file.read_bytes()) for file in files}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(rows)}" for name, rows in content.items())
    path.write_text("{\n" + lines + "\n}\n")


def gaps_key(axis: Axis, window: Window | tuple[Window, ...], *, unit: str, ids: tuple[str, ...]) -> str:
    """32 hex digits, equal exactly when the gaps would be, to as many decimals as anyone sees."""
    digest = hashlib.sha256()
    for path in GAP_CODE:
        digest.update(path.read_bytes())
    digest.update(repr((ids, axis.name, axis.models, window, unit, axis.high_error is None)).encode())
    arrays = (axis.is_open, axis.released, axis.value, axis.draws, axis.high, axis.high_error)
    for array in arrays:
        if array is not None:
            rounded = np.round(array.astype(np.float64), KEY_DECIMALS) + 0.0  # no negative zero
            digest.update(np.ascontiguousarray(rounded).tobytes())
    return digest.hexdigest()[:32]


def _write(path: Path, draws: IndexDraws) -> None:
    keep_file(path, lambda file: np.savez(file, **_arrays(draws)))


def _arrays(draws: IndexDraws) -> dict[str, Any]:
    return {
        "index": draws.index,
        "difficulty": draws.difficulty,
        "slope": draws.slope,
        "kept": draws.kept,
        "n_drawn": draws.n_drawn,
        "seed": draws.seed,
    }


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
