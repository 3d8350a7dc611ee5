"""Time to start a program in the sandbox, with and without its system-call filter and its files in memory.

`python -m benchmarks.sandbox_start [--rounds N]`. The ways alternate; the smallest time of each is the one
that other programs disturbed least. All files lie in the page cache after the first round.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from runners.sandbox.image import Image, image, image_files
from runners.sandbox.limits import Limits
from runners.sandbox.packages import PACKAGES
from runners.sandbox.run import Sandbox, SandboxSpec, find
from tracker.interpreter import python_command

LIMITS = Limits(cpu_s=60, wall_s=120, memory_bytes=2**31, file_bytes=2**20, n_processes=64)
PROGRAMS = {"an empty program": "pass", "import torch": "import torch"}


def started_s(sandbox: Sandbox, code: str) -> float:
    """Wall time of one program from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        end = sandbox.run(python_command("-c", code), SandboxSpec({}, Path(folder), LIMITS))
        assert end.returncode == 0, end.stderr_tail
        return time.monotonic() - began


def main() -> None:
    """Print the time of every way, and what the copy in memory takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    best = find()
    open_files = replace(best.variant, is_in_memory=False)
    ways = {
        "neither": replace(best, variant=replace(open_files, is_filtered=False)),
        "filter": replace(best, variant=open_files),
        "filter and files in memory": best,
    }
    began = time.monotonic()
    files = image_files(PACKAGES, needs_gpu=False)
    listed = time.monotonic()
    Image(files).close()
    n_bytes = sum(Path(source).stat().st_size for source in files.files.values())
    print(
        f"copy: {len(files.files)} files, {n_bytes / 2**20:.0f} MiB, once per process: "
        f"{listed - began:.1f} s to list, {time.monotonic() - listed:.1f} s to copy"
    )
    image(PACKAGES, needs_gpu=False)  # made before the first start is timed
    for program, code in PROGRAMS.items():
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                times[name].append(started_s(way, code))
        least = {name: min(each) for name, each in times.items()}
        for name, value in least.items():
            ratio = value / least["neither"]
            print(f"{program}, {name}: {value:.3f} s ({ratio:.2f}), at most {max(times[name]):.3f} s")


if __name__ == "__main__":
    main()
