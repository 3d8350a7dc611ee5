"""Run each section in a process group of its own, and say why where it ends without a verdict."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gpu_check.findings import Finding, Verdict, read_findings
from benchmarks.gpu_check.sections import Section
from tracker.interpreter import ROOT, python_command, python_environment

BUDGET_S = 570.0  # of all sections together, on a card: under ten minutes
CPU_PATIENCE = 4.0  # × the limits of a section, without a card: a shared CPU may be slow
END_S = 10.0  # for a killed section to be gone
MAX_WORDS = 200  # characters of a section's last line


@dataclass(frozen=True, slots=True)
class SectionResult:
    """What came of one section; it has a finding for each of its assumptions."""

    section: Section
    findings: tuple[Finding, ...]
    figures: dict[str, float | str | None] = field(default_factory=dict)
    wall_s: float = 0.0
    broke: str = ""  # how it ended, if not by itself

    @property
    def is_good(self) -> bool:
        """Whether it ended by itself, and no assumption fails."""
        return not self.broke and all(one.verdict is not Verdict.FAILS for one in self.findings)


def obstacle(section: Section) -> str:
    """Why a section cannot run with what is installed here; empty if it can."""
    for module in section.needs:
        if importlib.util.find_spec(module) is None:
            return f"`{module}` is not installed"
    for program in section.programs:
        if shutil.which(program) is None:
            return f"the program `{program}` is not installed"
    return ""


def left_out(section: Section, why: str) -> SectionResult:
    """The result of a section that is not run, for this reason."""
    return _result(section, [], {}, why=why)


def run_section(section: Section, device: str, *, limit_s: float) -> SectionResult:
    """Run it to its end, or to its time limit."""
    if limit_s <= 0:
        return left_out(section, "the time of the whole check is over")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as folder:
        path, log = Path(folder, "findings.jsonl"), Path(folder, "log")
        code = _run(section, device, path, log, limit_s)
        wall_s = time.monotonic() - started
        findings, figures = read_findings(path)
        broke = ""
        if code is None:
            broke = f"was stopped after {limit_s:.0f} s"
        elif code:
            broke = f"ended with {_ending(code)}: {_last_line(log)}"
    return _result(
        section, findings, figures, why=broke or "the section did not decide it", wall_s=wall_s, broke=broke
    )


def _run(section: Section, device: str, path: Path, log: Path, limit_s: float) -> int | None:
    """The exit code; None if it was stopped."""
    command = python_command("-m", "benchmarks.gpu_check.child", section.place, device, str(path))
    environment = python_environment() | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "OMP_WAIT_POLICY": "PASSIVE"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, environment.get("PYTHONPATH", "")]))
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=path.parent, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:  # also what it left behind, such as an engine
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)


def _result(
    section: Section,
    findings: Sequence[Finding],
    figures: dict[str, float | str | None],
    *,
    why: str,
    wall_s: float = 0.0,
    broke: str = "",
) -> SectionResult:
    """A result in the order of the section's assumptions; what was not decided was not checked, for `why`."""
    decided = {one.assumption: one for one in findings}
    every = (decided.get(name) or Finding(name, Verdict.NOT_CHECKED, why) for name in section.assumptions)
    return SectionResult(section, tuple(every), figures, wall_s, broke)


def _ending(code: int) -> str:
    return f"exit code {code}" if code > 0 else signal.Signals(-code).name


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:MAX_WORDS] if lines else "no message"
