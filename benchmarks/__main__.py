"""Run every benchmark that works on this machine, one after the other: `python -m benchmarks`.

Each is a separate process and prints ratios within one run; `docs/benchmarks.md` has the results.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tracker.interpreter import python_command

HERE = Path(__file__).parent
NOT_BENCHMARKS = {"__init__", "__main__", "instant_engine", "simulated_slots"}


def main() -> None:
    failed = []
    for path in sorted(HERE.glob("*.py")):
        if path.stem in NOT_BENCHMARKS:
            continue
        print(f"\n== {path.stem}", flush=True)
        if subprocess.run(python_command("-m", f"benchmarks.{path.stem}"), check=False).returncode:
            failed.append(path.stem)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
