"""Whether the installed torch and vLLM can run on the card, by its driver and generation; imports neither.

Not covered: AMD and Intel cards, and what only a start of CUDA shows (`make gpu-check`).
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from runners.hardware import Hardware

# The oldest generation (Turing) in the wheels of vLLM 0.32 and of torch for CUDA 13.
MIN_CAPABILITY = (7, 5)
# The first Linux driver of each CUDA: NVIDIA's release notes of CUDA 13, table of minimum driver versions.
FIRST_DRIVER = {11: 450, 12: 525, 13: 580}
AUTO = "auto"  # as in `runners.engines`, which is above this module
RELEASE = Path("/proc/sys/kernel/osrelease")
CUDA_LIBRARY = "libcuda.so.1"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CardProblem:
    """Why CUDA programs cannot use the card, in a sentence, and what to do."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Installation:
    """The software beside the card; see `describe_installation`."""

    torch_cuda: str | None = (
        None  # the CUDA that torch was built for, "13.0"; "": without CUDA; None: no torch
    )
    has_cuda_library: bool = True  # whether the driver's library for programs can be loaded
    is_wsl: bool = False


def describe_installation() -> Installation:
    """What is installed here; nothing is imported or started."""
    return Installation(_torch_cuda(), _has_cuda_library(), _is_wsl())


def card_problem(hardware: Hardware, installed: Installation) -> CardProblem | None:
    """What keeps the installed torch and vLLM from the card; None: nothing known, or there is no card."""
    if not hardware.has_gpu:
        return None
    if not installed.has_cuda_library:
        place = (
            "WSL2 has it in /usr/lib/wsl/lib: update the driver on Windows, and install none in Linux"
            if installed.is_wsl
            else "in a container: `--gpus all` and NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        )
        return CardProblem(f"the driver's `{CUDA_LIBRARY}` cannot be loaded, so CUDA does not start", place)
    if installed.torch_cuda == "":
        hint = "install a build of torch for CUDA, as the extra `gpu` does"
        return CardProblem("the installed torch is built without CUDA", hint)
    return _too_old_driver(hardware, installed) or _too_old_card(hardware)


def can_use_card(hardware: Hardware, *, engine: str) -> bool:
    """Whether there is a card that the installed torch can use; if the engine is `auto`, says why not."""
    if not hardware.has_gpu:
        return False
    problem = card_problem(hardware, describe_installation())
    if problem is not None and engine == AUTO:
        _say_once(f"{hardware.device} is not used: {problem.message} ({problem.hint})")
    return problem is None


@lru_cache(maxsize=8)
def _say_once(message: str) -> None:
    _log.warning("%s", message)


def _too_old_driver(hardware: Hardware, installed: Installation) -> CardProblem | None:
    built_for, runs = _version(installed.torch_cuda), _version(hardware.cuda)
    if built_for is None or runs is None or runs[0] >= built_for[0]:
        return None  # within a major version, newer builds run on older drivers
    driver = hardware.driver or "unknown"
    message = (
        f"the NVIDIA driver {driver} supports CUDA up to {hardware.cuda}, but the installed torch is built"
        f" for CUDA {installed.torch_cuda}"
    )
    first = FIRST_DRIVER.get(built_for[0])
    newer = f"update the driver to {first} or newer" if first else "update the driver"
    where = " on Windows" if installed.is_wsl else ""
    return CardProblem(message, f"{newer}{where}, or install torch and vLLM for CUDA {runs[0]}")


def _too_old_card(hardware: Hardware) -> CardProblem | None:
    for card in hardware.gpus:
        capability = _version(card.compute_capability)
        if capability is not None and (0, 0) < capability < MIN_CAPABILITY:  # 0.0: not reported
            message = f"{card.name} has compute capability {card.compute_capability}, and vLLM needs 7.5"
            hint = "`--engine transformers` with a torch built for this card, or the CPU"
            return CardProblem(message, hint)
    return None


def _version(text: str | None) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d+)\.(\d+).*", text or "")
    return (int(match[1]), int(match[2])) if match else None


def _torch_cuda() -> str | None:
    """`torch.version.cuda`, from its file."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    return torch_cuda_in(text)


def torch_cuda_in(version_file: str) -> str | None:
    """The CUDA in torch's `version.py`; empty if it was built without, None if it is not said."""
    match = re.search(r"^cuda\b[^=\n]*=\s*(None|['\"](?P<cuda>[\d.]+)['\"])", version_file, re.MULTILINE)
    return None if match is None else match["cuda"] or ""


def _has_cuda_library() -> bool:
    try:
        ctypes.CDLL(CUDA_LIBRARY)
    except OSError:
        return False
    return True


def _is_wsl() -> bool:
    try:
        return "microsoft" in RELEASE.read_text(encoding="utf-8").lower()
    except OSError:
        return False
