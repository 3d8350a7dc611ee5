"""Stop vLLM's child processes when the process that started them dies, even by SIGKILL.

Otherwise they survive and keep the card's memory. vLLM calls `bind_to_parent` in each of its processes (entry
point `vllm.general_plugins` in pyproject.toml) before it loads a model. Linux only; elsewhere it does
nothing, and the executor stops them through its process group.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def bind_to_parent() -> None:
    """Ask the kernel to kill this process with its parent, if it is a child of `multiprocessing`."""
    parent = multiprocessing.parent_process()
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if not parent.is_alive():  # it died before we asked
        os._exit(1)
