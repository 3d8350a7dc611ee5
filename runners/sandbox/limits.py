"""What a sandboxed program may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits of one sandboxed process."""

    cpu_s: float
    wall_s: float
    memory_bytes: int
    file_bytes: int  # of any one file that it writes
    n_processes: int  # processes and threads together
