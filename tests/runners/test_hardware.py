"""What the machine has, and what a process tree takes of it; cards through a stand-in for the driver."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from runners import hardware
from runners.hardware import Gpu, MemoryWatch, choose_cards, describe_hardware, visible_cards

GIB = 2**30
ALLOCATE = "import sys; held = bytearray(150 * 2**20); print('held', flush=True); sys.stdin.read()"


class Driver:
    """NVML as pynvml gives it: two cards of 24 GiB, the second half full; what is in `broken` is not told."""

    class NVMLError(Exception):
        pass

    NVML_DEVICE_MIG_ENABLE = 1

    def __init__(self, *, broken: tuple[str, ...] = (), mig: bool = False) -> None:
        self.broken, self.mig = broken, mig
        self.used = {"0": 0, "1": 12 * GIB, "0/0": 0}
        self.of_pid: dict[int, int | None] = {}
        self.energy_mj = 1_000_000
        self.n_open = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not name.startswith("nvml"):
            raise AttributeError(name)
        if name in self.broken:
            return self._refuse
        return getattr(self, f"_{name[4:]}", self._refuse)

    def _refuse(self, *_: Any) -> Any:
        raise self.NVMLError("not supported")

    def _Init(self) -> None:
        self.n_open += 1

    def _Shutdown(self) -> None:
        self.n_open -= 1

    def _SystemGetDriverVersion(self) -> str:
        return "580.95"

    def _SystemGetCudaDriverVersion(self) -> int:
        return 13010

    def _DeviceGetCount(self) -> int:
        return 2

    def _DeviceGetHandleByIndex(self, index: int) -> str:
        return str(index)

    def _DeviceIsMigDeviceHandle(self, handle: str) -> bool:
        return "/" in handle

    def _DeviceGetDeviceHandleFromMigDeviceHandle(self, handle: str) -> str:
        return handle.partition("/")[0]

    def _DeviceGetMigMode(self, handle: str) -> tuple[int, int]:
        return (1, 1) if self.mig and handle == "0" else (0, 0)

    def _DeviceGetMaxMigDeviceCount(self, handle: str) -> int:
        return 2

    def _DeviceGetMigDeviceHandleByIndex(self, handle: str, index: int) -> str:
        if index:
            self._refuse()
        return f"{handle}/0"

    def _DeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        total = 6 * GIB if "/" in handle else 24 * GIB
        return SimpleNamespace(total=total, used=self.used[handle], free=total - self.used[handle])

    def _DeviceGetName(self, handle: str) -> str:
        return "NVIDIA slice" if "/" in handle else "NVIDIA card"

    def _DeviceGetUUID(self, handle: str) -> str:
        return f"MIG-{handle}" if "/" in handle else f"GPU-{handle}abc"

    def _DeviceGetCudaComputeCapability(self, handle: str) -> tuple[int, int]:
        return (8, 9)

    def _DeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:
        if handle != "0":
            return []
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.of_pid.items()]

    def _DeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        return self.energy_mj if handle == "0" else 0


@pytest.fixture(autouse=True)
def _all_cards_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_hardware_a_machine_without_a_driver_has_no_card() -> None:
    driver = Driver(broken=("nvmlInit",))
    machine = describe_hardware(driver)
    assert (machine.gpus, machine.has_gpu, machine.driver, machine.device) == ((), False, None, "cpu")
    assert machine.n_cores >= 1
    assert 0 < machine.free_ram_bytes <= machine.ram_bytes


def test_hardware_cards_are_described() -> None:
    driver = Driver()
    machine = describe_hardware(driver)
    assert machine.gpus == (
        Gpu("NVIDIA card", "GPU-0abc", 24 * GIB, 24 * GIB, "8.9"),
        Gpu("NVIDIA card", "GPU-1abc", 24 * GIB, 12 * GIB, "8.9"),
    )
    assert (machine.driver, machine.cuda, machine.device) == ("580.95", "13.1", "NVIDIA card × 2")
    assert driver.n_open == 0


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("", []),
        ("-1", []),
        ("1", ["GPU-1abc"]),
        ("1,0", ["GPU-1abc", "GPU-0abc"]),
        ("GPU-1", ["GPU-1abc"]),
        ("0,7,1", ["GPU-0abc"]),  # as CUDA does: nothing after the first that it does not know
        # `_parse_visible_devices` and `_transform_uuid_to_ordinals` of torch 2.13 say the same of these
        (" 1 , +0", ["GPU-1abc", "GPU-0abc"]),
        ("1gpu,0", ["GPU-1abc", "GPU-0abc"]),
        ("0,1,0", []),  # one that is named twice hides all
        ("0,GPU-0", []),
        ("GPU-", []),  # the beginning of two names
        ("²", []),
        ("1" * 5000, []),
    ],
)
def test_hardware_only_visible_cards_count(
    visible: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [card.uuid for card in describe_hardware(Driver()).gpus] == expected


@pytest.mark.parametrize("visible", [None, "1", "1,0"])
def test_hardware_a_card_that_fell_off_the_bus_costs_itself_alone(
    visible: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class LostCard(Driver):
        def _DeviceGetHandleByIndex(self, index: int) -> str:
            if index == 0:
                raise self.NVMLError(f"GPU is lost ({visible})")
            return str(index)

    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [card.uuid for card in describe_hardware(LostCard()).gpus] == ["GPU-1abc"]
    with MemoryWatch(interval_s=60, nvml=LostCard()) as watch:
        assert watch.energy_j == 0
    assert caplog.messages == [f"GPU 0 is left out, as it does not answer: GPU is lost ({visible})"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("nvmlDeviceGetCount", []),
        ("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", ["MIG-0/0"]),
        ("nvmlShutdown", ["MIG-0/0"]),
    ],
)
def test_hardware_a_driver_that_refuses_a_question_is_no_error(query: str, names: list[str]) -> None:
    driver = Driver(broken=(query,), mig=True)
    assert [card.uuid for card in describe_hardware(driver).gpus] == names


def test_hardware_a_card_that_reports_no_memory_shares_the_machines() -> None:
    class NoMemory(Driver):
        def _DeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
            return SimpleNamespace(total=0, used=0, free=0)

    machine = describe_hardware(NoMemory())
    assert {card.total_bytes for card in machine.gpus} == {machine.ram_bytes}


def test_hardware_energy_is_unknown_after_a_reset_of_the_counter() -> None:
    driver = Driver()
    with MemoryWatch(interval_s=60, nvml=driver) as watch:
        driver.energy_mj = 5
    assert watch.energy_j is None


def test_hardware_a_slice_stands_for_its_card() -> None:
    assert describe_hardware(Driver(mig=True)).gpus == (
        Gpu("NVIDIA slice", "MIG-0/0", 6 * GIB, 6 * GIB, "8.9"),
    )


@pytest.mark.parametrize(("visible", "names"), [(None, ["GPU-1abc"]), ("0", []), ("1,0", ["GPU-1abc"])])
def test_hardware_a_card_with_mig_and_without_a_slice_is_left_out_with_what_helps(
    visible: str | None,
    names: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hardware._say_once.cache_clear()
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    driver = Driver(mig=True, broken=("nvmlDeviceGetMigDeviceHandleByIndex",))
    assert [card.uuid for card in describe_hardware(driver).gpus] == names
    (said,) = caplog.messages
    assert said.startswith("GPU 0 is left out: MIG is enabled, but it has no slice; create one")
    assert "nvidia-smi -i 0 -mig 0" in said


def test_hardware_a_card_without_memory_of_its_own_shares_the_machines() -> None:
    machine = describe_hardware(Driver(broken=("nvmlDeviceGetMemoryInfo",)))
    assert {card.total_bytes for card in machine.gpus} == {machine.ram_bytes}


def test_hardware_the_memory_of_a_child_is_counted() -> None:
    with MemoryWatch(interval_s=0.01) as watch:
        before = watch.peak_rss_bytes
        child = subprocess.Popen([sys.executable, "-c", ALLOCATE], stdin=-1, stdout=-1)
        assert child.stdout is not None
        child.stdout.readline()
        watch.look()
        child.communicate(b"")
    assert watch.peak_rss_bytes - before > 140 * 2**20
    assert watch.peak_memory_bytes == watch.peak_rss_bytes
    assert watch.peak_vram_bytes is None or watch.peak_vram_bytes >= 0


def test_hardware_a_process_that_is_gone_is_no_error() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with MemoryWatch(child.pid) as watch:
        watch.look()
    assert watch.peak_rss_bytes == 0


def test_hardware_the_watch_ends_its_thread_and_leaves_the_driver_even_after_an_error() -> None:
    driver, before = Driver(), threading.active_count()
    with pytest.raises(ValueError, match="inside"), MemoryWatch(nvml=driver):
        raise ValueError("inside")
    assert (driver.n_open, threading.active_count()) == (0, before)


def test_hardware_memory_on_a_card_is_that_of_the_tree() -> None:
    driver = Driver()
    with MemoryWatch(interval_s=60, nvml=driver) as watch:
        driver.of_pid = {os.getpid(): 3 * GIB, 1: 9 * GIB}
        driver.used["0"] = 12 * GIB
        watch.look()
        driver.of_pid = {1: 9 * GIB}
    assert (watch.peak_vram_bytes, watch.peak_memory_bytes) == (3 * GIB, 3 * GIB)


def test_hardware_where_processes_are_not_told_what_the_card_gained_stands_in() -> None:
    driver = Driver()
    driver.used["0"] = 2 * GIB
    with MemoryWatch(interval_s=60, nvml=driver) as watch:
        driver.of_pid = {4_000_000: None}  # a pid of another namespace
        driver.used["0"] = 7 * GIB
    assert watch.peak_vram_bytes == 5 * GIB


def test_hardware_energy_is_a_difference_and_unknown_where_it_is_not_told() -> None:
    driver = Driver()
    with MemoryWatch(interval_s=60, nvml=driver) as watch:
        driver.energy_mj += 2_500
    assert watch.energy_j == 2.5
    with MemoryWatch(interval_s=60, nvml=Driver(broken=("nvmlDeviceGetTotalEnergyConsumption",))) as watch:
        pass
    assert watch.energy_j is None


def gpu(name: str, free_gib: float, *, kind: str = "A", total_gib: int = 24) -> Gpu:
    return Gpu(kind, name, total_gib * GIB, int(free_gib * GIB), "9.0")


@pytest.mark.parametrize(
    ("cards", "n", "chosen"),
    [
        ([gpu("0", 2), gpu("1", 23)], 1, "1"),
        ([gpu("0", 23.1), gpu("1", 23.9)], 1, "0"),
        ([gpu("0", 23), gpu("1", 2), gpu("2", 22)], 2, "0 2"),
        ([gpu("0", 70, kind="B", total_gib=80), gpu("1", 23), gpu("2", 22)], 2, "1 2"),
        ([gpu("0", 70, kind="B", total_gib=80), gpu("1", 23)], 2, "0 1"),
        ([gpu("0", 23)], 4, "0"),
        ([], 1, ""),
    ],
    ids=["the freest", "the first of equals", "two of three", "two alike", "unlike", "too few", "none"],
)
def test_hardware_the_freest_cards_are_chosen(cards: list[Gpu], n: int, chosen: str) -> None:
    assert " ".join(card.uuid for card in choose_cards(cards, n)) == chosen


def test_hardware_a_process_is_told_its_cards_by_name() -> None:
    told = visible_cards([gpu("GPU-a", 1), gpu("MIG-b", 1)])
    assert told == {"CUDA_VISIBLE_DEVICES": "GPU-a,MIG-b", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert visible_cards([gpu("GPU-a", 1), gpu("", 1)]) == visible_cards([]) == {}
