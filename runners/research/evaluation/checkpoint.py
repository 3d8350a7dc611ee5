"""A checkpoint as our side reads it: its weights and how many numbers it holds; none of its code runs.

`torch.save` writes a ZIP archive: each weight is a plain block of numbers, and a pickle names them. It
is read with stand-ins for the six or so names that such a file needs; any other name ends the reading, and so
nothing of a hostile file is ever imported or called.
"""

from __future__ import annotations

import io
import math
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_INDEX_BYTES = 8 << 20  # of the pickle: some 200 bytes per weight
PARAM_BYTES = 4  # of one parameter; a number of more bytes counts as several
# bytes of the file beside its weights that are no parameters: names, headers, padding, about 600 a weight
FREE_BYTES, FREE_BYTES_PER_WEIGHT, MAX_FREE_BYTES = 8 << 10, 800, 64 << 10
DTYPES = {  # torch's name of a storage or of a type → bytes of one number, and how numpy reads it
    "FloatStorage": (4, "<f4"), "DoubleStorage": (8, "<f8"), "HalfStorage": (2, "<f2"),
    "BFloat16Storage": (2, "bfloat16"), "CharStorage": (1, "i1"), "ByteStorage": (1, "u1"),
    "ShortStorage": (2, "<i2"), "IntStorage": (4, "<i4"), "LongStorage": (8, "<i8"), "BoolStorage": (1, "u1"),
    "ComplexFloatStorage": (8, "<f4"), "ComplexDoubleStorage": (16, "<f8"),
}  # fmt: skip
ARCHIVE_MARK = b"PK"  # that a ZIP archive begins with
RAW = (1, "u1")  # a type that is not known: each byte is a number


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """One block of numbers in the archive."""

    name: str  # the first under which the model's state lists it; else its place in the archive
    entry: str
    n_numbers: int
    n_bytes: int
    read_as: str


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """The blocks of a checkpoint, and the size of all else in it."""

    path: Path
    weights: tuple[StoredWeight, ...]
    other_bytes: int

    @property
    def n_params(self) -> int:
        """Numbers that it carries, of whatever type and in whatever place, in units of four bytes or less."""
        n = sum(max(each.n_numbers, math.ceil(each.n_bytes / PARAM_BYTES)) for each in self.weights)
        free = min(FREE_BYTES + FREE_BYTES_PER_WEIGHT * len(self.weights), MAX_FREE_BYTES)
        return n + max(0, self.other_bytes - free) // PARAM_BYTES

    def numbers(self, weight: StoredWeight, *, most: int) -> NDArray[np.float32]:
        """Up to `most` numbers of a block, spread evenly over it."""
        return next(self.all_numbers([weight], most=most))

    def all_numbers(self, weights: Iterable[StoredWeight], *, most: int) -> Iterator[NDArray[np.float32]]:
        """The same of several blocks, in their order.

        Raises:
            ValueError: a block cannot be read.
        """
        try:
            with zipfile.ZipFile(self.path) as archive:
                for weight in weights:
                    with archive.open(weight.entry) as file:
                        yield _decoded(file.read(weight.n_bytes), weight.read_as, most=most)
        except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"a weight cannot be read: {error}") from error


def rewritten(checkpoint: StoredCheckpoint, path: Path) -> Path:
    """The same archive in its plainest form at `path`: what is counted here is all that torch can then read.

    Readers of odd archives disagree about what is in them, so a file with two lists of its blocks could show
    a small model here and a large one there. A file that is no archive stays as it is: all of it is counted.

    Raises:
        ValueError: it begins like an archive, and cannot be read as one.
    """
    with checkpoint.path.open("rb") as file:
        if not checkpoint.weights and file.read(len(ARCHIVE_MARK)) != ARCHIVE_MARK:
            return checkpoint.path
    blocks = {weight.entry: weight.n_bytes for weight in checkpoint.weights}
    try:
        with zipfile.ZipFile(checkpoint.path) as archive, zipfile.ZipFile(path, "w") as plain:
            infos = {info.filename: info for info in archive.infolist()}
            beside = sum(info.file_size for name, info in infos.items() if name not in blocks)
            if beside > MAX_INDEX_BYTES:
                raise ValueError(f"the checkpoint has {beside:,} bytes beside its weights")
            for name, info in infos.items():
                with archive.open(info) as entry, plain.open(name, "w", force_zip64=True) as copy:
                    shutil.copyfileobj(entry, copy)
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"the checkpoint cannot be read: {error}") from error
    return path


def _decoded(block: bytes, read_as: str, *, most: int) -> NDArray[np.float32]:
    """Up to `most` numbers of a block, spread evenly over it."""
    if read_as == "bfloat16":
        halves = np.frombuffer(block[: len(block) // 2 * 2], dtype="<u2").astype("<u4")
        found: NDArray[Any] = (halves << 16).view("<f4")
    else:
        kind = np.dtype(read_as)
        found = np.frombuffer(block[: len(block) // kind.itemsize * kind.itemsize], dtype=kind)
    return found[:: max(1, math.ceil(len(found) / most))].astype(np.float32)


def read_checkpoint(path: Path) -> StoredCheckpoint:
    """The checkpoint in the file `path`; a file that is no such archive has no weights and much else."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            blocks = {info.filename: info for info in archive.infolist() if "/data/" in info.filename}
            names, kinds = _index(archive)
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, NotImplementedError, RuntimeError):
        return StoredCheckpoint(path, (), size)
    weights = []
    for entry, info in blocks.items():
        key = entry.rpartition("/data/")[2]
        item_bytes, read_as = DTYPES.get(kinds.get(key, ""), RAW)
        n = math.ceil(info.file_size / item_bytes)
        weights.append(StoredWeight(names.get(key, entry), entry, n, info.file_size, read_as))
    other = max(0, size - sum(min(info.compress_size, info.file_size) for info in blocks.values()))
    return StoredCheckpoint(path, tuple(weights), other)


@dataclass(frozen=True, slots=True)
class _Stored:
    """The place of a tensor's numbers."""

    kind: str
    key: str


class _Index(pickle.Unpickler):
    """Reads the names of a checkpoint's weights; knows no class and no function but its own stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for one of the names that a checkpoint needs.

        Raises:
            pickle.UnpicklingError: it is another one.
        """
        known: Mapping[tuple[str, str], Any] = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_tensor_v3"): _tensor,
            ("torch._utils", "_rebuild_parameter"): _tensor,
            ("collections", "OrderedDict"): dict,
        }
        if (module, name) in known:
            return known[module, name]
        if module in ("torch", "torch.storage"):
            return name  # a type, by its name alone
        raise pickle.UnpicklingError(f"`{module}.{name}` has no place in a checkpoint")

    def persistent_load(self, pid: Any) -> _Stored:
        """The place of a tensor's numbers, of which the pickle holds none."""
        _, kind, key, *_ = pid
        return _Stored(str(kind), str(key))


def _tensor(stored: Any, *_more: Any) -> Any:
    """A tensor is where its numbers are."""
    return stored


def _index(archive: zipfile.ZipFile) -> tuple[dict[str, str], dict[str, str]]:
    """Key of a block → the first name under which the state lists it; key → the kind of its numbers."""
    pickles = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0].file_size > MAX_INDEX_BYTES:
        return {}, {}
    try:
        said = _Index(io.BytesIO(archive.read(pickles[0]))).load()
        state = dict(said["state"])
    except Exception:  # noqa: BLE001 - whatever a broken pickle raises: its blocks have no names then
        return {}, {}
    names: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for name, stored in state.items():
        if isinstance(stored, _Stored):
            names.setdefault(stored.key, str(name))
            kinds.setdefault(stored.key, stored.kind)
    return names, kinds
