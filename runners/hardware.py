"""The hardware of this machine, and how much of it a process tree uses.

Covered: NVIDIA cards and their MIG slices through NVML, the limits of a control group, the cards that
`CUDA_VISIBLE_DEVICES` leaves visible. Not covered: AMD and Intel cards, which are not detected. Where the
driver does not report memory per process (another process namespace, WSL), the growth of the card's total
since the start is used instead, which includes other programs on that card.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import psutil
import pynvml

from tracker.settings import load_settings

GIB = 2**30
INTERVAL_S = 0.25  # between two samples of the process tree
MAX_BUSY_FRACTION = 0.02  # of one core, for sampling: a slow sample delays the next one
NO_LIMIT_BYTES = 2**62  # a control group without a limit reports a number near 2**63
PLACE = re.compile(r"\+?([0-9]{1,9})")  # CUDA reads an index as C does: what follows it is ignored
_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card, or one MIG slice of a card."""

    name: str
    uuid: str
    total_bytes: int
    free_bytes: int
    compute_capability: str  # "9.0"

    @property
    def is_slice(self) -> bool:
        """Whether this is a MIG slice of a card."""
        return self.uuid.startswith("MIG-")


@dataclass(frozen=True, slots=True)
class Hardware:
    """The hardware available to a model at one moment."""

    cpu: str
    n_cores: int  # available to this process
    ram_bytes: int
    free_ram_bytes: int
    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: str | None = None  # the newest CUDA that the driver can run

    @property
    def has_gpu(self) -> bool:
        """Whether there is at least one NVIDIA card that this process may use."""
        return bool(self.gpus)

    @property
    def device(self) -> str:
        """`cpu`, or the first card's name with the number of cards."""
        if not self.gpus:
            return "cpu"
        return self.gpus[0].name + (f" × {len(self.gpus)}" if len(self.gpus) > 1 else "")


def choose_cards(cards: Sequence[Gpu], n: int) -> tuple[Gpu, ...]:
    """The `n` freest cards, all of one kind where there are as many; fewer where there are fewer.

    Cards whose free memory differs by less than 1 GiB are taken in the driver's order.
    """
    order = sorted(cards, key=lambda card: -(card.free_bytes // GIB))
    kinds = dict.fromkeys((card.name, card.total_bytes) for card in order)
    alike = [[card for card in order if (card.name, card.total_bytes) == kind][:n] for kind in kinds]
    whole = [group for group in alike if group and len(group) == n]
    best = max(whole, key=lambda group: group[-1].free_bytes // GIB, default=order[:n])
    return tuple(best)


def chosen_first(cards: Sequence[Gpu], n: int) -> tuple[Gpu, ...]:
    """All cards, those that `choose_cards` chooses before the others."""
    chosen = choose_cards(cards, n)
    return (*chosen, *(card for card in cards if card not in chosen))


def visible_cards(cards: Sequence[Gpu]) -> dict[str, str]:
    """The environment of a process that is to use these cards; empty if one of them has no name."""
    names = [card.uuid for card in cards]
    if not names or not all(names):
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(names), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def describe_hardware(nvml: Any = pynvml) -> Hardware:
    """Detect the hardware of this machine; no cards without a driver or if all of them are hidden."""
    total, free = _ram_bytes()
    machine = Hardware(_cpu_name(), _n_cores(), total, free)
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return machine
    try:
        gpus = tuple(_gpu(nvml, handle, machine) for handle in _handles(nvml))
        cuda = _query(nvml, nvml.nvmlSystemGetCudaDriverVersion)
        return Hardware(
            **_fields(machine),
            gpus=gpus,
            driver=_query(nvml, nvml.nvmlSystemGetDriverVersion),
            cuda=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        )
    finally:
        _query(nvml, nvml.nvmlShutdown)


def _fields(machine: Hardware) -> dict[str, Any]:
    return {name: getattr(machine, name) for name in ("cpu", "n_cores", "ram_bytes", "free_ram_bytes")}


def _query(nvml: Any, ask: Callable[..., T], *arguments: Any) -> T | None:
    """The driver's answer; None if this card or driver does not support the query."""
    try:
        return ask(*arguments)
    except nvml.NVMLError:
        return None


def _gpu(nvml: Any, handle: Any, machine: Hardware) -> Gpu:
    memory = _query(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    # A card that shares the machine's memory (such as GB10) reports none of its own.
    total, free = machine.ram_bytes, machine.free_ram_bytes
    if memory is not None and memory.total > 0:
        total, free = memory.total, memory.free
    parent = handle
    if _query(nvml, nvml.nvmlDeviceIsMigDeviceHandle, handle):
        parent = _query(nvml, nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, handle) or handle
    major, minor = _query(nvml, nvml.nvmlDeviceGetCudaComputeCapability, parent) or (0, 0)
    name = _query(nvml, nvml.nvmlDeviceGetName, handle) or "NVIDIA card"
    uuid = _query(nvml, nvml.nvmlDeviceGetUUID, handle) or ""
    return Gpu(name, uuid, int(total), int(free), f"{major}.{minor}")


def _handles(nvml: Any) -> list[Any]:
    """Handles of the cards that CUDA makes visible to this process, without those that do not answer.

    Indices follow `CUDA_DEVICE_ORDER=PCI_BUS_ID`, as in the driver's own tools.
    """
    cards = _cards(nvml)
    visible = load_settings().cuda_visible_devices
    if visible is None:
        working = [card for card in cards if card is not None]
        slices = [part for card in working for part in _mig_slices(nvml, card)]
        return slices[:1] or working  # with MIG enabled, CUDA makes one slice visible to a process
    chosen: list[Any] = []
    names: set[Any] = set()
    for word in visible.split(","):
        handle = _named(nvml, word.strip(), cards)
        if handle is None:  # CUDA ignores everything from the first unknown name on
            break
        name = _query(nvml, nvml.nvmlDeviceGetUUID, handle) or id(handle)
        if name in names:  # as in torch and CUDA: one that is named twice hides all of them
            return []
        names.add(name)
        chosen.append(handle)
    return chosen


def _cards(nvml: Any) -> list[Any | None]:
    """A handle for each index; None for a card that nothing runs on: it does not answer, or has no slice."""
    cards: list[Any | None] = []
    for place in range(_query(nvml, nvml.nvmlDeviceGetCount) or 0):
        try:
            card = nvml.nvmlDeviceGetHandleByIndex(place)
        except nvml.NVMLError as error:
            _say_once(f"GPU {place} is left out, as it does not answer: {error}")
            card = None
        if card is not None and _has_mig(nvml, card) and not _mig_slices(nvml, card):
            _say_once(
                f"GPU {place} is left out: MIG is enabled, but it has no slice; create one"
                f" (`nvidia-smi mig -i {place} -cgi PROFILE -C`)"
                f" or disable MIG (`nvidia-smi -i {place} -mig 0`)"
            )
            card = None
        cards.append(card)
    return cards


@lru_cache(maxsize=64)
def _say_once(message: str) -> None:
    _log.warning("%s", message)


def _named(nvml: Any, word: str, cards: Sequence[Any | None]) -> Any | None:
    """The card that one entry of `CUDA_VISIBLE_DEVICES` refers to: an index or the start of one UUID."""
    if place := PLACE.match(word):
        card = cards[int(place[1])] if int(place[1]) < len(cards) else None
        return None if card is None else (_mig_slices(nvml, card) or [card])[0]
    working = [card for card in cards if card is not None]
    parts = [part for card in working for part in [card, *_mig_slices(nvml, card)]]
    known = [
        part for part in parts if word and (_query(nvml, nvml.nvmlDeviceGetUUID, part) or "").startswith(word)
    ]
    return known[0] if len(known) == 1 else None


def _has_mig(nvml: Any, card: Any) -> bool:
    mode = _query(nvml, nvml.nvmlDeviceGetMigMode, card)
    return bool(mode and mode[0] == nvml.NVML_DEVICE_MIG_ENABLE)


def _mig_slices(nvml: Any, card: Any) -> list[Any]:
    if not _has_mig(nvml, card):
        return []
    places = range(_query(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, card) or 0)
    slices = (_query(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, card, place) for place in places)
    return [part for part in slices if part is not None]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ram_bytes() -> tuple[int, int]:
    """Total and free bytes of memory, within the limits of our control group."""
    memory = psutil.virtual_memory()
    total, free = int(memory.total), int(memory.available)
    for limit, used in _group_limits():
        if limit < NO_LIMIT_BYTES:
            total, free = min(total, limit), min(free, max(0, limit - used))
    return total, free


def _group_limits() -> Iterator[tuple[int, int]]:
    """(limit, used) of each memory control group from ours up to the root, versions 1 and 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            root, limit_name, used_name = Path("/sys/fs/cgroup"), "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            root = Path("/sys/fs/cgroup/memory")
            limit_name, used_name = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        folder = root / place.strip("/")
        for group in [folder, *folder.parents]:
            if not group.is_relative_to(root):
                break
            try:
                limit, used = (group / limit_name).read_text().strip(), int((group / used_name).read_text())
                cache = _file_cache_bytes(group)
            except OSError:  # the root group has no such files
                continue
            yield (NO_LIMIT_BYTES if limit == "max" else int(limit)), max(0, used - cache)


def _file_cache_bytes(group: Path) -> int:
    """Bytes of file cache in the group, which the kernel frees before memory runs out."""
    rows = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    cache = {row[0]: int(row[1]) for row in rows if len(row) == 2}
    return cache.get("total_inactive_file", cache.get("inactive_file", 0))


class MemoryWatch:
    """Peak memory of a process tree and energy used by its cards, between `__enter__` and `__exit__`.

    A process that ends during a sample is skipped. The values may be read at any time.
    """

    peak_rss_bytes: int = 0  # shared pages count once (PSS) where the system reports it
    peak_vram_bytes: int | None = None  # None: no card, or none used

    def __init__(
        self,
        pid: int | None = None,
        *,
        interval_s: float = INTERVAL_S,
        nvml: Any = pynvml,
        cards: Sequence[Gpu] = (),
    ) -> None:
        """Of the process `pid` and its children, default: this one; on these cards, default: all visible."""
        self.pid = pid or os.getpid()
        self._interval_s = interval_s
        self._nvml = nvml
        self._uuids = {card.uuid for card in cards}
        self._handles: list[Any] = []
        self._used_at_start: list[int] = []
        self._energy_at_start: list[int | None] = []
        self._energy_j: float | None = None
        self._peak_gained_bytes = 0
        self._peak_tree_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="memory-watch", daemon=True)
        self._opened = False

    @property
    def peak_memory_bytes(self) -> int:
        """Peak on the cards if they were used, else in main memory."""
        return self.peak_vram_bytes or self.peak_rss_bytes

    @property
    def energy_j(self) -> float | None:
        """Joules used by the cards since the start, by any process; None if they do not report it."""
        return self._energy() if self._opened else self._energy_j

    def __enter__(self) -> MemoryWatch:
        try:
            self._nvml.nvmlInit()
            self._opened = True
            self._handles = [handle for handle in _handles(self._nvml) if self._is_watched(handle)]
        except self._nvml.NVMLError:
            self._handles = []
        self._used_at_start = [self._used(handle) for handle in self._handles]
        self._energy_at_start = [self._energy_mj(handle) for handle in self._handles]
        self.look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.look()
        if self._opened:
            self._energy_j = self._energy()
            self._opened = False
            _query(self._nvml, self._nvml.nvmlShutdown)

    def _loop(self) -> None:
        pause_s = self._interval_s
        while not self._stop.wait(pause_s):
            started_s = time.thread_time()
            self.look()
            pause_s = max(self._interval_s, (time.thread_time() - started_s) / MAX_BUSY_FRACTION)

    def look(self) -> None:
        """Take one sample now; the thread samples on its own."""
        tree = _tree(self.pid)
        self.peak_rss_bytes = max(self.peak_rss_bytes, sum(_resident_bytes(process) for process in tree))
        if not self._handles:
            return
        pids = {process.pid for process in tree}
        of_tree = sum(self._used_by(handle, pids) for handle in self._handles)
        now = [self._used(handle) for handle in self._handles]
        gained = sum(max(0, n - before) for n, before in zip(now, self._used_at_start, strict=True))
        self._peak_tree_bytes = max(self._peak_tree_bytes, of_tree)
        self._peak_gained_bytes = max(self._peak_gained_bytes, gained)
        self.peak_vram_bytes = self._peak_tree_bytes or self._peak_gained_bytes or None

    def _is_watched(self, handle: Any) -> bool:
        if not self._uuids:
            return True
        return (_query(self._nvml, self._nvml.nvmlDeviceGetUUID, handle) or "") in self._uuids

    def _used(self, handle: Any) -> int:
        memory = _query(self._nvml, self._nvml.nvmlDeviceGetMemoryInfo, handle)
        return int(memory.used) if memory else 0

    def _used_by(self, handle: Any, pids: set[int]) -> int:
        running = _query(self._nvml, self._nvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
        return sum(int(p.usedGpuMemory or 0) for p in running if p.pid in pids)

    def _energy_mj(self, handle: Any) -> int | None:
        return _query(self._nvml, self._nvml.nvmlDeviceGetTotalEnergyConsumption, handle)

    def _energy(self) -> float | None:
        now = [self._energy_mj(handle) for handle in self._handles]
        pairs = [
            (n, b) for n, b in zip(now, self._energy_at_start, strict=True) if n is not None and b is not None
        ]
        if any(n < before for n, before in pairs):  # a reset of the card or its driver starts from 0 again
            return None
        return sum(n - before for n, before in pairs) / 1000 if pairs else None


def _tree(pid: int) -> list[psutil.Process]:
    """The process and its living descendants."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _resident_bytes(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.rss)
    except psutil.AccessDenied:
        return _plain_resident_bytes(process)
    except (psutil.Error, OSError):  # it ended between the two calls
        return 0


def _plain_resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
