"""Kill -9 at any moment, on the real command line: what is lost, doubled or left over.

`python -m benchmarks.kills --n 25`: ten commands, each started as a user starts it, and killed after a
random part of the time that it takes, half of the times with all its children; 25 kills of each, 250 in all.
The sources and the model's server are local stand-ins. `--only bench`: one of them; `--seed`: other moments.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.doubles.hub_double import running_hub
from tests.doubles.openai_double import running_server
from tests.doubles.sources_double import SourcesHub, entry
from tracker.interpreter import python_command

N_SERVED = 200  # models that the server has; benches of one after another are killed
N_ITEMS = 400  # of the task `sums`
N_EPISODES = {"tools": 160, "home": 72}  # of the suite
N_LISTED = 60  # models of the stand-in for the Hub, all of which the server has too
SUITE = """
version = 1
description = "400 sums"
offline = true
include_path = "{tasks}"

[[tasks]]
task = "sums"
metric = "exact_match"
filter = "number"
"""
TASKS = Path(__file__).parents[1] / "tests" / "tasks"
MAX_KILLED = 4  # times that the bench of one model is killed before it may complete
LONGER = 1.1  # kills are drawn up to this multiple of the time of an undisturbed command
HEALTHY_S = 60.0
ORPHAN_S = 8.0  # after which a child of a killed command must be gone
QUERY_S = 300.0  # of one count: other work may keep both cores busy
QUERY_ATTEMPTS = 3
COUNTED = (
    "select (select count(*) from current_models) models, (select count(*) from current_scores) scores,"
    " (select count(*) from vintages) vintages, (select count(*) from dated_values) dated,"
    " (select count(*) from runs where status = 'complete') complete,"
    " (select count(*) from jobs) jobs"
)


class NoAnswerError(Exception):
    """What a series counts cannot be read: the series ends, and that is its fault."""


@dataclass(slots=True)
class Tally:
    """What a series of kills did."""

    kills: int = 0
    ended: int = 0  # before they were killed
    faults: list[str] = field(default_factory=list)
    orphan_s: float = 0.0  # the longest life of a child after its command was killed


@dataclass(slots=True)
class Bench:
    """A home, its stand-ins and what is known about it."""

    home: Path
    environment: dict[str, str]
    server_url: str
    dice: random.Random
    hub: SourcesHub

    def command(self, *words: str) -> list[str]:
        """The command line of `tracker WORDS`."""
        return python_command("-m", "tracker", *words)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*words), env=self.environment, capture_output=True, text=True, check=False
        )

    def kill(self, tally: Tally, within_s: float, *words: str) -> bool:
        """Start a command and kill it with its children at a random moment; whether it ended before."""
        process = subprocess.Popen(
            self.command(*words),
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        after_s = self.dice.uniform(0.0, within_s)
        with suppress(subprocess.TimeoutExpired):
            process.wait(after_s)
        if process.poll() is not None:
            tally.ended += 1
            return True
        parent_only = self.dice.random() < 0.5  # else the whole group: an out-of-memory killer, a shutdown
        with suppress(ProcessLookupError):
            if parent_only:
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        tally.kills += 1
        began_s = time.monotonic()
        while children := self._alive():
            if time.monotonic() - began_s > ORPHAN_S:
                tally.faults.append(f"orphans of {words}: {children}")
                for pid in children:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.05)
        tally.orphan_s = max(tally.orphan_s, time.monotonic() - began_s)
        return False

    def _alive(self) -> list[int]:
        """Processes of this home other than ours."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                is_running = process.status() != psutil.STATUS_ZOMBIE
                if is_running and process.environ().get("TRACKER_HOME") == str(self.home):
                    found.append(process.pid)
        return found

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The answer to a query.

        Raises:
            NoAnswerError: there is none, several times in a row.
        """
        for _ in range(QUERY_ATTEMPTS):
            done = self.run("query", sql, "--json", "--timeout", str(QUERY_S))
            if done.returncode == 0:
                return list(json.loads(done.stdout)["rows"])
        raise NoAnswerError(f"query: exit {done.returncode}: {done.stdout}{done.stderr[-300:]}")

    def counts(self) -> dict[str, Any]:
        """Rows of what must not be lost, in the newest snapshot."""
        return self.rows(COUNTED)[0]


def grade(prompt: str) -> str:
    """The right sum for two of three questions."""
    found = re.findall(r"(\d+) \+ (\d+) =", prompt)
    if not found:
        return ""  # to a first request that only tries the server
    a, b = map(int, found[-1])
    return f" {a + b if a % 3 else 0}\n"


RIGHT = sum(1 for a in range(N_ITEMS) if a % 3) / N_ITEMS


def kill_benches(bench: Bench, n: int, tally: Tally) -> None:
    """Benches of one model after another, each killed until one completes."""
    words = ["--base-url", bench.server_url, "--include-path", str(TASKS), "--task", "sums", "--json"]
    began_s = time.monotonic()
    bench.run("bench", "m-0", *words)
    whole_s = time.monotonic() - began_s
    number = 1
    while tally.kills < n:
        model = f"m-{number}"
        for _ in range(bench.dice.randint(1, MAX_KILLED)):
            if tally.kills >= n or bench.kill(tally, LONGER * whole_s, "bench", model, *words):
                break
        done = bench.run("bench", model, *words)
        if done.returncode != 0:
            tally.faults.append(f"{model}: exit {done.returncode}: {done.stderr[-300:]}")
        else:
            _verify(bench, model, tally)
        number += 1


def _verify(bench: Bench, model: str, tally: Tally) -> None:
    asked = (
        "select count(*) n, count(distinct doc_id) n_distinct from items"
        f" where run_id in (select run_id from runs where model_id = '{model}')"
    )
    scored = (
        "select value, task_scores.n_items from task_scores join runs using (run_id)"
        f" where status = 'complete' and model_id = '{model}'"
    )
    (items,), rows = bench.rows(asked), bench.rows(scored)
    if items != {"n": N_ITEMS, "n_distinct": N_ITEMS}:
        tally.faults.append(f"{model}: {items} items on disk")
    # one more for each bench that had its scores before it was killed
    if not rows or any(row != {"value": RIGHT, "n_items": N_ITEMS} for row in rows):
        tally.faults.append(f"{model}: scores {rows}")


def kill_episodes(suite: str, engine: str) -> Callable[[Bench, int, Tally], None]:
    """Benches of a suite of episodes by an engine that solves it, each killed until one completes."""

    def series(bench: Bench, n: int, tally: Tally) -> None:
        words = ["--engine", f"benchmarks.episode_engine:{engine}", "--suite", suite, "--json"]
        whole_s, number = 0.0, 0
        while tally.kills < n:
            model = _tiny_model(bench.home.parent / "models" / f"{suite}-{number}", number)
            for _ in range(bench.dice.randint(1, MAX_KILLED) if number else 0):
                if tally.kills >= n:
                    break
                if bench.kill(tally, LONGER * whole_s, "bench", str(model), *words):
                    whole_s *= 0.9  # it is faster than the first one, which had to wait for other work
                    break
            began_s = time.monotonic()
            done = bench.run("bench", str(model), *words)
            whole_s = whole_s or time.monotonic() - began_s
            if done.returncode != 0:
                tally.faults.append(f"{model.name}: exit {done.returncode}: {done.stderr[-300:]}")
            else:
                _verify_episodes(bench, json.loads(done.stdout), N_EPISODES[suite], tally)
            number += 1

    return series


def _tiny_model(folder: Path, number: int) -> Path:
    """A valid folder of a model, other weights for each number."""
    folder.mkdir(parents=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 16}
    config |= {"intermediate_size": 16, "max_position_embeddings": 64, "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    shape = {"lm_head.weight": {"dtype": "F32", "shape": [16, 8], "data_offsets": [0, 512]}}
    header = json.dumps(shape).encode()
    weights = number.to_bytes(512, "little")
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + weights)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def _verify_episodes(bench: Bench, run: Mapping[str, Any], n_episodes: int, tally: Tally) -> None:
    """Every episode is there once, and solved."""
    model_id = run["model_id"]
    asked = (
        "select count(*) n, count(distinct (task, doc_id)) n_distinct from items where run_id in"
        f" (select run_id from runs where model_id = '{model_id}')"
    )
    (items,) = bench.rows(asked)
    if items != {"n": n_episodes, "n_distinct": n_episodes}:
        tally.faults.append(f"{run['run_id']}: {items} episodes on disk")
    scores = {score["task"]: score["value"] for score in run["scores"]}
    if not scores or set(scores.values()) != {1.0}:
        tally.faults.append(f"{run['run_id']}: scores {scores}")


def kill_repeated(
    *words: str, prepare: Callable[[Bench], None] | None = None, exit_codes: tuple[int, ...] = (0,)
) -> Callable[[Bench, int, Tally], None]:
    """A series of kills of one command that leaves every count as it was, killed or not."""

    def series(bench: Bench, n: int, tally: Tally) -> None:
        filled = [word.format(server=bench.server_url) for word in words]
        if prepare is not None:
            prepare(bench)
        began_s = time.monotonic()
        done = bench.run(*filled)
        whole_s = time.monotonic() - began_s
        if done.returncode not in exit_codes:
            tally.faults.append(f"{filled}: exit {done.returncode}: {done.stderr[-300:]}")
            return
        bench.run("store", "publish")
        before = bench.counts()
        while tally.kills < n and tally.ended < 3 * n:
            if prepare is not None:
                prepare(bench)
            bench.kill(tally, LONGER * whole_s, *filled)
            after = bench.counts()
            if any(after[name] < before[name] for name in before):
                tally.faults.append(f"{filled}: before {before}, after {after}")
            else:
                before = after
        done = bench.run(*filled)
        if done.returncode not in exit_codes:
            tally.faults.append(f"afterwards: exit {done.returncode}: {done.stderr[-300:]}")

    return series


def kill_app_starts(bench: Bench, n: int, tally: Tally) -> None:
    """The dashboard, killed while it starts or serves; then one that answers."""
    before = bench.counts()
    while tally.kills < n:
        bench.kill(tally, 12.0, "app", "--no-browser")
    process = subprocess.Popen(
        bench.command("app", "--no-browser", "--json"),
        env=bench.environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        health = json.loads(process.stdout.readline())["health"]
        deadline_s = time.monotonic() + HEALTHY_S
        while True:
            with suppress(httpx2.HTTPError):
                if httpx2.get(health).status_code == 200:
                    break
            if time.monotonic() > deadline_s:
                tally.faults.append("the app does not answer after the kills")
                break
            time.sleep(0.2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if bench.counts() != before:
        tally.faults.append(f"rows before {before}, after {bench.counts()}")


def damage_pointer(bench: Bench) -> None:
    """Something to repair: the pointer to the newest snapshot is gone."""
    (bench.home / "snapshots" / "newest").unlink(missing_ok=True)


def another_week(bench: Bench) -> None:
    """Something new to ingest."""
    name = f"acme/new-{bench.dice.randrange(10**9)}"
    bench.hub.put(entry(name))


FLAGS = ("--base-url", "{server}", "--suite", "sums", "--max-models", "1", "--json")
SERIES: Mapping[str, Callable[[Bench, int, Tally], None]] = {
    "bench": kill_benches,
    "episodes": kill_episodes("tools", "SolvingEngine"),
    "homes": kill_episodes("home", "SlowHomeEngine"),
    "ingest": kill_repeated(
        "ingest", "hub-models", "epoch", "lmarena", prepare=another_week, exit_codes=(0, 4)
    ),
    "rebuild": kill_repeated("store", "rebuild"),
    "publish": kill_repeated("store", "publish"),
    "repair": kill_repeated("store", "repair", prepare=damage_pointer),
    "queue": kill_repeated("queue", "run", *FLAGS),
    "weekly": kill_repeated("weekly", *FLAGS, prepare=another_week, exit_codes=(0, 4)),
    "app": kill_app_starts,
}


def left_over(home: Path) -> list[str]:
    """Files of unfinished writes anywhere in the home."""
    return sorted(
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file() and (path.suffix == ".tmp" or path.name.startswith("."))
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=3, help="kills of each command")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=list(SERIES), action="append")
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "home"
        hub = SourcesHub()
        hub.put(*(entry(f"acme/m-{n}") for n in range(N_LISTED)))
        stack.enter_context(running_hub(hub))
        names = [f"m-{n}" for n in range(N_SERVED)] + [f"acme/m-{n}" for n in range(N_LISTED)]
        models = [{"id": name, "owned_by": "vllm"} for name in names]
        server = stack.enter_context(running_server(models=models, reply=grade))
        environment = os.environ | {
            "TRACKER_HOME": str(home),
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home.parent / "hf"),
            "HF_HUB_OFFLINE": "0",
            "TRACKER_SOURCE_URLS": json.dumps(hub.source_urls),
            "CUDA_VISIBLE_DEVICES": "",
        }
        bench = Bench(home, environment, server.url, random.Random(asked.seed), hub)
        (home / "suites").mkdir(parents=True)
        (home / "suites" / "sums.toml").write_text(SUITE.format(tasks=TASKS))
        bench.run("ingest", "hub-models", "epoch", "lmarena")
        bench.run("queue", "refresh", "--suite", "sums")
        for name in asked.only or SERIES:
            tally, began_s = Tally(), time.monotonic()
            try:
                SERIES[name](bench, asked.n, tally)
            except NoAnswerError as error:
                tally.faults.append(str(error))
            bench.run("store", "publish")  # the next writer clears up
            checked = json.loads(
                bench.run("store", "check", "--json").stdout or '{"problems": ["no answer"]}'
            )
            tally.faults += [f"store check: {problem}" for problem in checked["problems"]]
            tally.faults += [f"left over: {path}" for path in left_over(home)]
            found[name] = {
                "kills": tally.kills,
                "ended": tally.ended,
                "orphan_s": round(tally.orphan_s, 2),
                "wall_s": round(time.monotonic() - began_s),
                "faults": tally.faults,
            }
            print(f"{name:<8} {json.dumps(found[name])}", file=sys.stderr, flush=True)
    print(json.dumps(found))
    if any(row["faults"] for row in found.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
