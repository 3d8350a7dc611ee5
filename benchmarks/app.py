"""Page times and memory of the app on a large store, and 20 users during publications.

`python -m benchmarks.app`: 5,000 models, 200,000 scores, 2 million items; `--home DIR` keeps the store for
the next run, `--small` is a quick trial. A visitor is a real WebSocket session on the real server, as a
browser opens one; a page is done when its script has finished, so rendering in the browser is not included.
Cold: the first visit after the server has started. Warm: a new session after that. Published: the first one
after a publication. CPU seconds are those of
the server: they hardly depend on other processes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import psutil
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.builders.large_store import Size, build_large_store
from tests.builders.some_runs import run
from tests.doubles.app_process import served
from tracker.interpreter import python_command
from tracker.settings import Settings
from tracker.store import Store, open_snapshot, publish

N_WARM = 5
N_USERS = 20
USERS_S = 60.0
WRITE_EVERY_S = 1.0
MAX_MESSAGE = 200 * 2**20  # bytes
WAIT_S = 120.0
SMALL = Size(n_models=300, n_items=20_000)
ALERT_ERROR = 1  # of Streamlit's `Alert.Format`


@dataclass(frozen=True, slots=True)
class Visit:
    """One page load."""

    page: str
    wall_s: float
    n_bytes: int
    problems: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--users-s", type=float, default=USERS_S)
    parser.add_argument("--write", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.write is not None:
        print(json.dumps({"published": write(Settings(home=asked.home), asked.write)}))
        return
    with tempfile.TemporaryDirectory() as folder:
        home = asked.home or Path(folder) / "home"
        if not Settings(home=home).db_path.exists():
            began = time.perf_counter()
            build_large_store(home, SMALL if asked.small else Size())
            tell(f"store built in {time.perf_counter() - began:.0f} s")
        pages = pages_of(home)
        alone = [page_times(home, name, query) for name, query in pages.items()]
        crowd = users(home, pages, seconds=asked.users_s)
    print(json.dumps({"pages": alone, "users": crowd}))


def pages_of(home: Path) -> dict[str, dict[str, str | list[str]]]:
    """Each page with the link that shows its largest content."""
    with open_snapshot(Settings(home=home)) as snapshot:
        with_items = sorted({path.parent.name for path in Settings(home=home).items_path.glob("*/*.parquet")})
        (first,) = snapshot.select(f"select model_id from runs where run_id = '{with_items[-1]}'").rows
        others = f"select model_id from runs where model_id <> '{first[0]}' and status = 'complete'"
        second = snapshot.select(
            f"{others} order by run_id in {tuple(with_items)!r} desc, run_id limit 1"
        ).rows[0]
    return {
        "frontier": {},
        "models": {},
        "benchmarks": {"benchmark": "GPQA diamond"},
        "leaderboard": {"suite": "quick"},
        "run_it": {"card": "80 GB"},
        "model": {"model": first[0]},
        "compare": {"compare": [first[0], second[0]], "compare_suite": "quick"},
        "items": {"items_of": first[0], "of_run": with_items[-1], "page": "300"},
        "runs": {},
        "changes": {"span": "90 days"},
        "sources": {},
    }


def page_times(home: Path, name: str, query: dict[str, str | list[str]]) -> dict[str, float | str]:
    """The first visit to the page on a new server, and the median of later ones."""
    with server(home) as (address, process):
        cpu = process.cpu_times()
        cold = asyncio.run(visit(address, name, query))
        cold_cpu_s = cpu_s(process) - (cpu.user + cpu.system)
        time.sleep(0.5)
        before = cpu_s(process)
        warm = [asyncio.run(visit(address, name, query)) for _ in range(N_WARM)]
        row: dict[str, float | str] = {
            "page": name,
            "cold_s": cold.wall_s,
            "cold_cpu_s": cold_cpu_s,
            "warm_s": statistics.median(one.wall_s for one in warm),
            "warm_cpu_s": (cpu_s(process) - before) / N_WARM,
            "kilobytes": warm[-1].n_bytes / 1e3,
            "memory_mb": process.memory_info().rss / 1e6,
        }
        write(Settings(home=home), 0.0)
        before = cpu_s(process)
        after = asyncio.run(visit(address, name, query))
        row |= {"published_s": after.wall_s, "published_cpu_s": cpu_s(process) - before}
        problems = [problem for one in (cold, *warm, after) for problem in one.problems]
    if problems:
        raise SystemExit(f"{name}: {problems[0]}")
    numbers = "  ".join(f"{key} {value:8.2f}" for key, value in row.items() if isinstance(value, float))
    tell(f"{name:<12} {numbers}")
    return row


def users(home: Path, pages: dict[str, dict[str, str | list[str]]], *, seconds: float) -> dict[str, float]:
    """Twenty sessions that switch pages while another process adds runs and publishes."""
    with server(home) as (address, process):
        for name, query in pages.items():
            asyncio.run(visit(address, name, query))
        before = cpu_s(process)
        argv = python_command("-m", "benchmarks.app", "--home", str(home), "--write", str(seconds))
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as writer:
            visits = asyncio.run(_crowd(address, pages, seconds))
            written = json.loads(writer.communicate()[0])
        times = sorted(one.wall_s for one in visits)
        problems = [problem for one in visits for problem in one.problems]
        row = {
            "users": float(N_USERS),
            "visits": float(len(visits)),
            "failed_visits": float(sum(bool(one.problems) for one in visits)),
            "snapshots_published": float(written["published"]),
            "cpu_s_per_visit": (cpu_s(process) - before) / len(visits),
            "median_s": statistics.median(times),
            "p95_s": times[int(0.95 * len(times))],
            "memory_mb": process.memory_info().rss / 1e6,
        }
    tell("  ".join(f"{key} {value:.2f}" for key, value in row.items()))
    for problem in problems[:5]:
        tell(problem)
    return row


async def _crowd(address: str, pages: dict[str, dict[str, str | list[str]]], seconds: float) -> list[Visit]:
    until = time.monotonic() + seconds
    parts = await asyncio.gather(*(_one_user(address, pages, until, seed=n) for n in range(N_USERS)))
    return [one for part in parts for one in part]


async def _one_user(
    address: str, pages: dict[str, dict[str, str | list[str]]], until: float, *, seed: int
) -> list[Visit]:
    dice, done = random.Random(seed), []
    while time.monotonic() < until:
        name = dice.choice(list(pages))
        done.append(await visit(address, name, pages[name]))
        await asyncio.sleep(dice.uniform(0.5, 2.0))  # a person reads the page
    return done


async def visit(address: str, page: str, query: dict[str, str | list[str]]) -> Visit:
    """Open the page in a new session, and wait until its script has finished."""
    began = time.perf_counter()
    message = BackMsg()
    message.rerun_script.page_name = "" if page == "frontier" else page
    message.rerun_script.query_string = urlencode(query, doseq=True)
    n_bytes, problems = 0, []
    url = address.replace("http://", "ws://") + "/_stcore/stream"
    async with websockets.connect(
        url, subprotocols=["streamlit"], max_size=MAX_MESSAGE, open_timeout=WAIT_S
    ) as link:
        await link.send(message.SerializeToString())
        while True:
            raw = await asyncio.wait_for(link.recv(), WAIT_S)
            n_bytes += len(raw)
            said = ForwardMsg.FromString(raw)
            problems += _problems(said)
            if said.WhichOneof("type") == "script_finished":
                return Visit(page, time.perf_counter() - began, n_bytes, tuple(problems))


def _problems(said: ForwardMsg) -> list[str]:
    """Errors that a visitor would see."""
    if said.WhichOneof("type") != "delta":
        return []
    element = said.delta.new_element
    kind = element.WhichOneof("type")
    if kind == "exception":
        return [element.exception.message]
    return [element.alert.body] if kind == "alert" and element.alert.format == ALERT_ERROR else []


def write(settings: Settings, seconds: float) -> int:
    """Add runs and publish repeatedly, at least once; return how often."""
    until, n = time.monotonic() + seconds, 0
    began = datetime.now(UTC)
    while n == 0 or time.monotonic() < until:
        one = replace(run(1, suite="written"), run_id=f"{began + timedelta(seconds=n):%Y%m%dT%H%M%S}-{n:06x}")
        with Store.open(settings) as store:
            store.add_run(one)
        publish(settings)
        n += 1
        time.sleep(WRITE_EVERY_S)
    return n


@contextmanager
def server(home: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The real server, ready for requests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with served(home, "--port", str(port)) as (process, line):
        yield line.removeprefix("dashboard: ").strip(), psutil.Process(process.pid)


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of the process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
