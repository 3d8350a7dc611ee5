"""A checkpoint as our side reads it: its weights and how many numbers it holds; none of its code runs.

`torch.save` writes a ZIP archive: each weight is a plain block of numbers, and a pickle names them. Its
instructions are followed here one by one, those alone that such a file needs: nothing of a hostile file is
ever imported or called, and no value of it can end this process or keep it busy.
"""

from __future__ import annotations

import lzma
import math
import pickletools
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_INDEX_BYTES = 8 << 20  # of the pickle: some 200 bytes per weight
MAX_INDEX_STEPS = 1_000_000  # instructions of it: some 40 per weight; they take three seconds
PARAM_BYTES = 4  # of one parameter; a number of more bytes counts as several
# bytes of the file beside its weights that are no parameters: names, headers, padding, about 600 a weight
FREE_BYTES, FREE_BYTES_PER_WEIGHT, MAX_FREE_BYTES = 8 << 10, 800, 64 << 10
DTYPES = {  # torch's name of a storage or of a type → bytes of one number, and how numpy reads it
    "FloatStorage": (4, "<f4"), "DoubleStorage": (8, "<f8"), "HalfStorage": (2, "<f2"),
    "BFloat16Storage": (2, "bfloat16"), "CharStorage": (1, "i1"), "ByteStorage": (1, "u1"),
    "ShortStorage": (2, "<i2"), "IntStorage": (4, "<i4"), "LongStorage": (8, "<i8"), "BoolStorage": (1, "u1"),
    "ComplexFloatStorage": (8, "<f4"), "ComplexDoubleStorage": (16, "<f8"),
}  # fmt: skip
# what reading a broken archive raises
BROKEN = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, RuntimeError,
)  # fmt: skip
MAX_COUNTED = 1 << 53  # numbers: a file may claim more than it holds, and than a database does
ARCHIVE_MARK = b"PK"  # that a ZIP archive begins with
# the instructions of a pickle (`pickletools`) that a checkpoint needs
PLAIN_VALUES = (
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINSTRING", "SHORT_BINSTRING",
)  # fmt: skip
NEW_VALUES: Mapping[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "NONE": lambda: None, "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False, "EMPTY_LIST": lambda: None, "EMPTY_SET": lambda: None,
}  # fmt: skip
PUTS, GETS = ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"), ("BINGET", "LONG_BINGET", "GET")
FROM_MARK = ("TUPLE", "SETITEMS", "APPENDS", "ADDITEMS", "POP_MARK")
TAKES = {  # from the stack
    "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "SETITEM": 2, "APPEND": 1, "BINPERSID": 1, "REDUCE": 2,
    "NEWOBJ": 2, "BUILD": 1, "POP": 1,
}  # fmt: skip
NO_VALUES = ("PROTO", "FRAME")
REBUILDS = ("_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter")
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
        return min(MAX_COUNTED, n + max(0, self.other_bytes - free) // PARAM_BYTES)

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
        except BROKEN as error:
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
    except BROKEN as error:
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
    except (*BROKEN, ValueError, KeyError):
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


@dataclass(frozen=True, slots=True)
class _Named:
    """What the pickle names in order to call it, or to say the type of some numbers; nothing is imported."""

    module: str
    name: str


class _IndexReader:
    """Reads the names of a checkpoint's weights out of its pickle, one instruction at a time.

    Nothing that the pickle names is imported, called or hashed: hashing a tuple a million levels deep ends
    the process that does it, and hashing one that holds itself twice over thirty levels never ends.
    """

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks under each mark
        self._memo: dict[int, Any] = {}

    def read(self, content: bytes) -> Any:
        """The value of the pickle: dicts with names, and `_Stored` for each tensor; None for all else.

        Raises:
            ValueError: it is broken, too long, or has an instruction that no checkpoint needs.
            LookupError: it takes what is not there.
        """
        for n, (instruction, argument, _) in enumerate(pickletools.genops(content)):
            if n > MAX_INDEX_STEPS:
                raise ValueError("the pickle of the checkpoint is too long")
            if instruction.name == "STOP":
                return self._stack.pop()
            self._follow(instruction.name, argument)
        raise ValueError("the pickle of the checkpoint does not end")

    def _follow(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in PLAIN_VALUES:
            stack.append(argument)
        elif name in NEW_VALUES:
            stack.append(NEW_VALUES[name]())
        elif name in PUTS:
            self._memo[len(self._memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
        elif name in GETS:
            stack.append(self._memo[int(argument)])
        elif name == "MARK":
            self._below.append(stack)
            self._stack = []
        elif name in FROM_MARK:
            self._stack = self._below.pop()
            self._gathered(name, stack)
        elif name == "GLOBAL":
            module, _, attribute = str(argument).partition(" ")
            stack.append(_Named(module, attribute))
        elif name in TAKES:
            n = TAKES[name]
            taken = [stack.pop() for _ in range(n)][::-1]
            self._combined(name, taken)
        elif name not in NO_VALUES:
            raise ValueError(f"`{name}` has no place in the pickle of a checkpoint")

    def _gathered(self, name: str, items: list[Any]) -> None:
        """Put to use what stands above a mark."""
        if name == "TUPLE":
            self._stack.append(tuple(items))
        elif name == "SETITEMS":
            for key, value in zip(items[::2], items[1::2], strict=True):
                self._set(self._stack[-1], key, value)

    def _combined(self, name: str, taken: list[Any]) -> None:
        if name.startswith("TUPLE"):
            self._stack.append(tuple(taken))
        elif name == "SETITEM":
            self._set(self._stack[-1], *taken)
        elif name == "BINPERSID":
            self._stack.append(_stored(taken[0]))
        elif name in ("REDUCE", "NEWOBJ"):
            self._stack.append(_made(*taken))

    @staticmethod
    def _set(target: Any, key: Any, value: Any) -> None:
        if isinstance(target, dict) and isinstance(key, str):
            target[key] = value


def _stored(pid: Any) -> _Stored:
    """The place of a tensor's numbers, of which the pickle holds none.

    Raises:
        ValueError: it is none as torch writes it.
    """
    if isinstance(pid, tuple) and len(pid) > 2:
        _, kind, key, *_ = pid
        if isinstance(kind, _Named) and isinstance(key, str):
            return _Stored(kind.name, key)
    raise ValueError("a tensor of the checkpoint names no block of numbers")


def _made(what: Any, arguments: Any) -> Any:
    """What a call would give: a tensor is where its numbers are."""
    if isinstance(what, _Named) and isinstance(arguments, tuple):
        if (what.module, what.name) == ("collections", "OrderedDict"):
            return {}
        if what.module == "torch._utils" and what.name in REBUILDS and arguments:
            return arguments[0]
    return None


def _index(archive: zipfile.ZipFile) -> tuple[dict[str, str], dict[str, str]]:
    """Key of a block → the first name under which the state lists it; key → the kind of its numbers."""
    pickles = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0].file_size > MAX_INDEX_BYTES:
        return {}, {}
    try:
        said = _IndexReader().read(archive.read(pickles[0]))
        state = said["state"]
    except (ValueError, LookupError, TypeError):  # a broken pickle: its blocks have no names then
        return {}, {}
    if not isinstance(state, dict):
        return {}, {}
    names: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for name, stored in state.items():
        if isinstance(stored, _Stored):
            names.setdefault(stored.key, name)
            kinds.setdefault(stored.key, stored.kind)
    return names, kinds
