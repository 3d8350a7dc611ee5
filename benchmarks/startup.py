"""Start-up time of the command line, and time from the ready engine to the first item.

`python -m benchmarks.startup`: medians and ratios within one run on one machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tracker.interpreter import python_command

N_TRIES = 7


def seconds(*command: str) -> float:
    """Median wall time of the command."""
    times = []
    for _ in range(N_TRIES):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def bench_timeline(home: Path) -> dict[str, float]:
    """Seconds from the start of `tracker bench` to a ready engine, and from there to the first item."""
    from runners.executors.jobs import run_job
    from runners.harness.events import Event
    from tracker.records import EngineSettings, Job, Model, RunRequest
    from tracker.settings import Settings
    from tracker.suites import get_suite

    settings = Settings(home=home)
    seen: dict[str, float] = {}

    def note(event: Event) -> None:
        seen.setdefault(event.event if event.n_done or event.event != "progress" else "", time.perf_counter())

    job = Job(
        model=Model("double/arithmetic", "0" * 40, path=str(home)),
        settings=EngineSettings(engine="benchmarks.instant_engine:InstantEngine"),
        runs=(RunRequest("startup", get_suite("smoke")),),
        items_path=str(settings.items_path),
    )
    started = time.perf_counter()
    end = run_job(job, settings, note)
    if end.exit_code:
        raise SystemExit(end.log_path.read_text())
    return {"ready_s": seen["ready"] - started, "first_item_s": seen["progress"] - seen["ready"]}


def main() -> None:
    bare_s = seconds(*python_command("-c", "pass"))
    rows = {
        "python -c pass": bare_s,
        "tracker --version": seconds(*python_command("-m", "tracker", "--version")),
        "tracker --help": seconds(*python_command("-m", "tracker", "--help")),
        "tracker bench --help": seconds(*python_command("-m", "tracker", "bench", "--help")),
    }
    for name, value in rows.items():
        print(f"{name:<24} {value:6.3f} s  {value / bare_s:5.1f} × bare Python", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        timeline = bench_timeline(Path(folder))
    print(f"engine that loads nothing: ready after {timeline['ready_s']:.2f} s, first items", file=sys.stderr)
    print(f"{timeline['first_item_s']:.2f} s after that", file=sys.stderr)
    print(json.dumps({"seconds": rows, **timeline, "n_cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
