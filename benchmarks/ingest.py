"""Ingestion from a local stand-in for the Hub: models per second, memory, and a second run without news.

Target (docs/design.md §9): at least 500 models/s with 10,000 models, memory flat.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import subprocess
import tempfile
import time
from multiprocessing.connection import Connection
from typing import Any

from tests.doubles.hub_double import running_hub
from tests.doubles.sources_double import SourcesHub, entry
from tracker.interpreter import python_command, python_environment

N_MODELS = (2_500, 10_000)
MIB = 2**20
# as long as the entries of the real list: 2 KB on average (2026-05)
TAGS = ["transformers", "safetensors", "llama", "text-generation", "conversational", "license:apache-2.0"]
TAGS += [f"dataset:somebody/a-data-set-that-was-used-{n}" for n in range(12)] + [
    "region:us",
    "arxiv:2204.05149",
]


def serve(n_models: int, pipe: Connection) -> None:
    with running_hub(SourcesHub()) as hub:
        assert isinstance(hub, SourcesHub)
        for n in range(n_models):
            moved = f"2026-{1 + n % 11:02}-{1 + n % 28:02}T{n % 24:02}:{n % 60:02}:00.000Z"
            hub.put(
                entry(f"owner-{n % 500}/model-{n}", moved, tags=TAGS, downloads=n * 7, trendingScore=n % 90)
            )
        pipe.send(hub.url)
        pipe.recv()


def ingest(home: str, url: str, *more: str) -> tuple[dict[str, Any], float]:
    environment = python_environment() | {"TRACKER_HOME": home, "HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0"}
    command = python_command("-m", "tracker", "ingest", "hub-models", "--json", *more)
    began_s = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - began_s
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["sources"][0], wall_s


def measure(n_models: int) -> None:
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(n_models, theirs))
    server.start()
    url = ours.recv()
    with tempfile.TemporaryDirectory() as home:
        first, wall_s = ingest(home, url, "--since", "2020-01-01")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        assert first["n_seen"] == n_models, first
        print(
            f"{n_models:,} models: {n_models / first['duration_s']:,.0f} models/s "
            f"({first['duration_s']:.2f} s, process {wall_s:.2f} s), peak memory {peak / MIB:.0f} MiB"
        )
        idle, wall_s = ingest(home, url)
        assert (idle["n_new"], idle["n_changed"], idle["n_gone"]) == (0, 0, 0), idle
        print(f"{n_models:,} models, idle second run: {idle['duration_s']:.2f} s (process {wall_s:.2f} s)")
    ours.send("end")
    server.join()


def main() -> None:
    for n_models in N_MODELS:  # the smaller first: the peak is that of the largest child so far
        measure(n_models)


if __name__ == "__main__":
    main()
