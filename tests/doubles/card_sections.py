"""Sections of `benchmarks.gpu_check` that answer, crash and hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from benchmarks.gpu_check.findings import Findings


def answers(findings: Findings, device: str) -> None:
    forgets(findings, device)
    findings.decide("second", True)


def forgets(findings: Findings, device: str) -> None:
    findings.figure("speed", 2.5)
    findings.decide("first", device == "cpu")


def fails(findings: Findings, device: str) -> None:
    forgets(findings, device)
    findings.decide("second", False, "2 of 3")


def raises(findings: Findings, device: str) -> None:
    forgets(findings, device)
    raise ValueError("no such kernel")


def dies(findings: Findings, device: str) -> None:
    forgets(findings, device)
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(findings: Findings, device: str) -> None:
    forgets(findings, device)
    threading.Event().wait()


def leaves_a_child(findings: Findings, device: str) -> None:
    opens = "import os, signal; f = open(os.environ['TEST_PIPE'], 'w'); f.write('open'); f.flush()"
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", f"{opens}; print(flush=True); signal.pause()"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()  # it is open
    answers(findings, device)


def finds_no_cuda(findings: Findings, device: str) -> None:
    findings.decide("cuda_starts", False, "no driver")
