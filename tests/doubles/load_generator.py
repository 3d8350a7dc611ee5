"""A load generator that works without vLLM, under the name of a Python with it.

It reads the same plan, sends the same requests one after the other, and writes the result as
`vllm bench serve --save-detailed` of 0.32.0 does, see `tests/data/speed/`.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

# of the environment: fail with this message; wait for ever at this level; kill the parent with it
FAILS, HANGS_AT, KILLS_PARENT_AT = "GENERATOR_FAILS", "GENERATOR_HANGS_AT", "GENERATOR_KILLS_PARENT_AT"


def as_python(folder: Path) -> Path:
    """A program `python` that is this generator, whatever it is told to run."""
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nshift 2\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "{__file__}" "$1"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(f"--{name}") + 1]


def ask(arguments: list[str], prompt: str) -> dict[str, Any]:
    """One request: its times, tokens and error."""
    body = {"model": option(arguments, "model"), "stream": True, "stream_options": {"include_usage": True}}
    body |= {"ignore_eos": "--ignore-eos" in arguments} | json.loads(option(arguments, "extra-body"))
    if option(arguments, "backend") == "openai-chat":
        body["messages"] = [{"role": "user", "content": prompt}]
    else:
        body["prompt"] = prompt
    headers = {"content-type": "application/json"}
    if key := os.environ.get("OPENAI_API_KEY"):
        headers["authorization"] = f"Bearer {key}"
    url = option(arguments, "base-url") + option(arguments, "endpoint")
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    started = time.perf_counter()
    found: dict[str, Any] = {"start": started, "ttft": 0.0, "itl": [], "latency": 0.0, "out": 0, "in": 1}
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            last = started
            for line in answer:
                if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
                    continue
                event, now = json.loads(line[6:]), time.perf_counter()
                if event.get("choices"):
                    if found["ttft"]:
                        found["itl"].append(now - last)
                    else:
                        found["ttft"] = now - started
                    last = now
                elif usage := event.get("usage"):
                    found["out"], found["in"] = usage["completion_tokens"], usage["prompt_tokens"]
            found["latency"] = last - started
    except (OSError, urllib.error.URLError) as error:
        return found | {"ttft": 0.0, "error": f"Traceback …\n{type(error).__name__}: {error}"}
    return found | {"error": "" if found["ttft"] else "Never received a valid chunk to calculate TTFT."}


def measure(arguments: list[str]) -> dict[str, Any]:
    started = time.perf_counter()
    lines = Path(option(arguments, "dataset-path")).read_text().splitlines()
    found = [ask(arguments, json.loads(line)["prompt"]) for line in lines]
    return {
        "backend": option(arguments, "backend"),
        "max_concurrency": int(option(arguments, "max-concurrency")),
        "duration": time.perf_counter() - started,
        "completed": sum(not one["error"] for one in found),
        "failed": sum(bool(one["error"]) for one in found),
        "input_lens": [one["in"] for one in found],
        "output_lens": [one["out"] or 1 for one in found],
        "ttfts": [one["ttft"] for one in found],
        "itls": [one["itl"] for one in found],
        "latencies": [one["latency"] for one in found],
        "start_times": [one["start"] for one in found],
        "errors": [one["error"] for one in found],
    }


def main() -> None:
    if why := os.environ.get(FAILS):
        sys.exit(why)
    print(json.dumps({"version": "0.0-double"}), flush=True)
    plan = json.loads(Path(sys.argv[1]).read_text())
    for place, level in enumerate(plan["levels"]):
        if os.environ.get(KILLS_PARENT_AT) == str(place):
            os.kill(os.getppid(), signal.SIGKILL)
            return
        if os.environ.get(HANGS_AT) == str(place):
            sys.stdin.read()
            signal.pause()
        result, path = measure(level["arguments"]), Path(level["result"])
        path.write_text(json.dumps(result))
        print(json.dumps({"level": place}), flush=True)


if __name__ == "__main__":
    main()
