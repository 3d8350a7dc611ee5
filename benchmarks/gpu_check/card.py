"""The card itself: driver, process start, memory. Needs torch and the driver's NVML, nothing of ours."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks.gpu_check.findings import Findings

MIB = 2**20
GIB = 2**30
# `CONTEXT_BYTES` of `runners.memory.vllm`, which needs our packages; a test compares the two
CONTEXT_BYTES = 700 * MIB
MIN_CAPABILITY = (7, 5)  # Turing: the oldest that vLLM's wheels are built for
MOST_PROCESSES = 1024  # on one card
POLL_S = 0.01  # of the thread that reads NVML: more often than the project does, to meet a fork half-way
CHILD_S = 40.0  # for a child to start CUDA
NO_MEMORY_KNOWN = 2**64 - 1  # NVML's value for a process whose memory it cannot tell


class Memory(ctypes.Structure):
    """`nvmlMemory_t`, in bytes."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class Process(ctypes.Structure):
    """`nvmlProcessInfo_t` of `nvmlDeviceGetComputeRunningProcesses_v3`."""

    _fields_ = [
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    ]


class Nvml:
    """The few calls of the driver's library that are needed, by `ctypes`."""

    def __init__(self) -> None:
        """Open the library.

        Raises:
            OSError: there is no driver.
        """
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        self._call("nvmlInit_v2")

    def handles(self) -> list[ctypes.c_void_p]:
        """Every card of the machine, in PCI order."""
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        handles = [ctypes.c_void_p() for _ in range(count.value)]
        for place, handle in enumerate(handles):
            self._call("nvmlDeviceGetHandleByIndex_v2", place, ctypes.byref(handle))
        return handles

    def uuid(self, handle: ctypes.c_void_p) -> str:
        """Such as `GPU-8f0e…`."""
        text = ctypes.create_string_buffer(96)
        self._call("nvmlDeviceGetUUID", handle, text, len(text))
        return text.value.decode()

    def memory(self, handle: ctypes.c_void_p) -> Memory:
        """Of a card, in bytes."""
        found = Memory()
        self._call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(found))
        return found

    def processes(self, handle: ctypes.c_void_p) -> dict[int, int | None]:
        """Bytes by process id; None where it cannot be told."""
        count, rows = ctypes.c_uint(MOST_PROCESSES), (Process * MOST_PROCESSES)()
        self._call("nvmlDeviceGetComputeRunningProcesses_v3", handle, ctypes.byref(count), rows)
        known = {row.pid: row.used for row in rows[: count.value]}
        return {pid: None if used == NO_MEMORY_KNOWN else used for pid, used in known.items()}

    def driver(self) -> tuple[str, int]:
        """The driver's version, and the newest CUDA that it runs, such as 13000."""
        text, cuda = ctypes.create_string_buffer(96), ctypes.c_int()
        self._call("nvmlSystemGetDriverVersion", text, len(text))
        self._call("nvmlSystemGetCudaDriverVersion_v2", ctypes.byref(cuda))
        return text.value.decode(), cuda.value

    def energy_mj(self, handle: ctypes.c_void_p) -> int | None:
        """Millijoules since the driver was loaded; None where the card does not count them."""
        count = ctypes.c_ulonglong()
        code = self._library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(count))
        return None if code else count.value

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            raise OSError(f"{name} returns {code}")


def check_card(findings: Findings, device: str) -> None:
    """Whether CUDA starts, and whether driver and cards are new enough for the installed torch."""
    del device
    try:
        nvml = Nvml()
    except OSError as error:
        findings.decide("cuda_starts", False, f"no driver: {error}")
        return
    driver, cuda = nvml.driver()
    built_for = torch.version.cuda
    findings.figure("driver", driver)
    findings.figure("cuda_of_driver", f"{cuda // 1000}.{cuda % 1000 // 10}")
    findings.figure("torch", torch.__version__)
    findings.figure("cuda_of_torch", built_for)
    if built_for is None:
        findings.decide("driver_new_enough", False, "this torch is built without CUDA")
    else:
        major, minor = map(int, built_for.split("."))
        # within a major version newer builds run on older drivers, unless they compile at run time
        findings.decide("driver_new_enough", cuda // 1000 >= major, f"CUDA {major}.{minor}, driver {driver}")
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        findings.decide("cuda_starts", False, str(error).splitlines()[0])
        return
    findings.decide("cuda_starts", True)
    cards = [torch.cuda.get_device_properties(place) for place in range(torch.cuda.device_count())]
    findings.figure("device_name", cards[0].name)
    findings.figure("n_cards", len(cards))
    findings.figure("total_gib", round(cards[0].total_memory / GIB, 2))
    capabilities = [(card.major, card.minor) for card in cards]
    findings.decide(
        "capability", min(capabilities) >= MIN_CAPABILITY, f"{capabilities[0][0]}.{capabilities[0][1]}"
    )
    _check_order(findings, nvml, [f"GPU-{card.uuid}" for card in cards])


def _check_order(findings: Findings, nvml: Nvml, by_cuda: list[str]) -> None:
    by_nvml = [nvml.uuid(handle) for handle in nvml.handles()]
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None or len(by_nvml) == 1:
        findings.leave_out("card_order", "one card, or CUDA_VISIBLE_DEVICES is set")
    else:
        findings.decide("card_order", by_cuda == by_nvml, f"{len(by_cuda)} cards")


def check_processes(findings: Findings, device: str) -> None:
    """Start CUDA in a spawned and in a forked process while a thread reads NVML, as in the bench."""
    nvml = Nvml()
    with _read_by_a_thread(nvml):
        for method in ("spawn", "fork"):
            child = multiprocessing.get_context(method).Process(target=_start_cuda, args=(device,))
            child.start()
            child.join(CHILD_S)
            hangs = child.is_alive()
            if hangs:
                child.kill()
            said = "hangs" if hangs else f"exit code {child.exitcode}"
            if method == "spawn":
                findings.decide("spawn", child.exitcode == 0 and not hangs, said)
            else:  # the engine does not fork; this tells whether it could
                findings.figure("forked", "works" if child.exitcode == 0 and not hangs else said)


@contextmanager
def _read_by_a_thread(nvml: Nvml) -> Iterator[None]:
    ended, (first, *_) = threading.Event(), nvml.handles()

    def read() -> None:
        while not ended.wait(POLL_S):
            nvml.memory(first)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    yield
    ended.set()
    thread.join()


def _start_cuda(device: str) -> None:
    signal.alarm(int(CHILD_S))
    torch.ones(1, device=device).sum().item()


def check_memory(findings: Findings, device: str) -> None:
    """What a context takes, and whether NVML and CUDA tell the same about memory."""
    nvml = Nvml()
    handles = {nvml.uuid(one): one for one in nvml.handles()}
    before = {uuid: nvml.memory(handle).free for uuid, handle in handles.items()}  # before any call of CUDA
    torch.ones(1, device=device).sum().item()
    uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    handle = handles.get(uuid)
    if handle is None:
        for name in ("context_size", "free_memory", "own_memory"):
            findings.leave_out(name, "CUDA's card is none of NVML's: a MIG slice")
        return
    after = nvml.memory(handle)
    context_bytes = before[uuid] - after.free
    findings.figure("context_mib", context_bytes // MIB)
    findings.decide(
        "context_size",
        context_bytes <= CONTEXT_BYTES,
        f"{context_bytes // MIB} of {CONTEXT_BYTES // MIB} MiB",
    )
    free, total = torch.cuda.mem_get_info()
    shares = after.free / after.total, free / total
    findings.decide("free_memory", abs(shares[0] - shares[1]) < 0.01, f"{shares[0]:.4f} and {shares[1]:.4f}")
    _check_own(findings, nvml, handle, after.used)


def _check_own(findings: Findings, nvml: Nvml, handle: ctypes.c_void_p, used: int) -> None:
    block = torch.zeros(GIB, dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    rows, now = nvml.processes(handle), nvml.memory(handle)
    own = rows.get(os.getpid())
    findings.figure(
        "listed_processes", f"{len(rows)}, {'this one' if os.getpid() in rows else 'not this one'}"
    )
    findings.figure("own_row_mib", None if own is None else own // MIB)
    findings.figure("energy_is_counted", "yes" if nvml.energy_mj(handle) is not None else "no")
    seen = own if own is not None else now.used - used
    findings.decide(
        "own_memory", GIB <= seen <= GIB + 2 * CONTEXT_BYTES, f"{seen // MIB} MiB seen of 1,024 allocated"
    )
    del block
