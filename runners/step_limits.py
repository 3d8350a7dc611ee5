"""Limits for one step in which a stranger's program runs in our process: a chat template, a tokenizer.

Covered: computing time, also of code that never returns to Python, and memory. Both count from the beginning
of the step, so a busy machine shortens nothing and what is loaded already does not matter. The computing time
is that of all threads of the process. Not covered: steps outside the main thread, and memory where the system
knows no limit of the address space (macOS).
"""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tracker.errors import EngineError, TrackerError, describe_failure, is_failure

MIB = 2**20
GIB = 2**30
KILLED_BY = signal.SIGPROF  # ends a process whose step does not return to Python
REPEAT_S = 1.0  # the request to stop is repeated, since code in C may swallow it
KILL_AFTER = 2.0  # times the limit
BESIDE_BYTES = 512 * MIB  # that other threads may take meanwhile: items that are being stored
STATM_BYTES = 200  # more than its seven numbers take
HINT = "its files are at fault; use another copy of this model"


class StepLimitError(EngineError):
    """A step needed more time, memory or space than it may have."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, reason="unsupported", hint=hint or HINT)


class StepTimeoutError(Exception):
    """The computing time of a step is spent."""


_STEPS = threading.local()


@contextmanager
def unlimited_steps() -> Iterator[None]:
    """Run the steps of this thread without limits in the block, as those of memory hold for all threads."""
    _STEPS.are_unlimited = True
    try:
        yield
    finally:
        _STEPS.are_unlimited = False


@contextmanager
def limited_step(what: str, *, cpu_s: float, extra_bytes: int, hint: str = HINT) -> Iterator[None]:
    """Run the block with at most `cpu_s` seconds of computing time and `extra_bytes` of further memory.

    `hint`: what helps if it fails.

    Raises:
        StepLimitError: a limit is reached.
        EngineError: the block fails in any other way that is not a `TrackerError` (reason `unsupported`).
    """
    try:
        with _cpu_limit(cpu_s), _memory_limit(extra_bytes):
            yield
    except StepTimeoutError as error:
        raise StepLimitError(f"{what} took more than {cpu_s:g} s of computing time", hint=hint) from error
    except MemoryError as error:
        raise StepLimitError(
            f"{what} needed more than {extra_bytes // MIB:,} MiB of memory", hint=hint
        ) from error
    except BaseException as error:
        if isinstance(error, TrackerError) or not is_failure(error):
            raise
        raise EngineError(
            f"{what} failed: {describe_failure(error)}", reason="unsupported", hint=hint
        ) from error


@contextmanager
def _cpu_limit(cpu_s: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s, REPEAT_S)
    signal.setitimer(signal.ITIMER_PROF, KILL_AFTER * cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGVTALRM, before)


def _out_of_time(_number: int, _frame: FrameType | None) -> None:
    raise StepTimeoutError


@contextmanager
def _memory_limit(extra_bytes: int) -> Iterator[None]:
    if getattr(_STEPS, "are_unlimited", False):
        yield
        return
    used = _address_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = None if used is None else used + extra_bytes + BESIDE_BYTES
    if limit is None or (soft != resource.RLIM_INFINITY and soft <= limit):
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_bytes() -> int | None:
    """Bytes of the address space of this process; None where the system does not say."""
    try:
        opened = os.open("/proc/self/statm", os.O_RDONLY)  # `Path.read_text` takes 20 µs, for each answer
    except OSError:
        return None
    try:
        return int(os.read(opened, STATM_BYTES).split()[0]) * resource.getpagesize()
    finally:
        os.close(opened)
