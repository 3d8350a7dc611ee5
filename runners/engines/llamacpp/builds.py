"""Which llama.cpp is on this machine: the package `xllamacpp`, or a program `llama-server`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tracker.errors import TrackerError
from tracker.installation import install_command
from tracker.settings import Settings

PACKAGE = "xllamacpp"
PROGRAM = "llama-server"
ASK_S = 30.0  # for a program to tell its version; one with CUDA takes a few seconds
VERSION = re.compile(r"version: (\d+) \((\w+)\)")  # `version: 6123 (79c1160b)`


@dataclass(frozen=True, slots=True)
class LlamaBuild:
    """One llama.cpp: its number, as in the tag `b11549`, and the program, or None for the package."""

    number: str  # "b11549", or the package's version if that is all that is known
    program: str | None = None

    @property
    def shown(self) -> str:
        """For people: `llama.cpp b11549 (xllamacpp)`."""
        return f"llama.cpp {self.number} ({self.program or PACKAGE})"


def find_build(settings: Settings) -> LlamaBuild:
    """The llama.cpp to use: the program that is set, else the package, else the program on the PATH.

    Raises:
        TrackerError: there is none, or the program that is set cannot be run.
    """
    if settings.llama_server:
        program = shutil.which(settings.llama_server)
        if program is None:
            message = f"TRACKER_LLAMA_SERVER names `{settings.llama_server}`, which is no program"
            raise TrackerError(message, hint=f"the path of llama.cpp's `{PROGRAM}`")
        return LlamaBuild(_program_number(program), str(Path(program).absolute()))
    if importlib.util.find_spec(PACKAGE) is not None:
        return LlamaBuild(_package_number())
    if (program := shutil.which(PROGRAM)) is not None:
        return LlamaBuild(_program_number(program), str(Path(program).absolute()))
    hint = f"{install_command('gguf')}, or set TRACKER_LLAMA_SERVER to a `{PROGRAM}`"
    raise TrackerError("llama.cpp is not installed", hint=hint)


def _package_number() -> str:
    """The build of llama.cpp in the package, which is the last part of its version: `2026.10.11549`."""
    version = importlib.metadata.version(PACKAGE)
    parts = version.split(".")
    return f"b{parts[2]}" if len(parts) > 2 and parts[2].isdecimal() else version


def _program_number(program: str) -> str:
    """The build that a program says it is.

    Raises:
        TrackerError: it cannot be run, or is another program.
    """
    hint = f"TRACKER_LLAMA_SERVER, or the first `{PROGRAM}` on the PATH, must be llama.cpp's server"
    try:
        said = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ASK_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TrackerError(f"`{program}` cannot be run: {error}", hint=hint) from error
    found = VERSION.search(said.stdout + said.stderr)
    if found is None:
        raise TrackerError(f"`{program} --version` names no build of llama.cpp", hint=hint)
    return f"b{found[1]}-{found[2]}"
