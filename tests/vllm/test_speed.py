"""The speed of real servers, vLLM's and llama.cpp's, measured with vLLM's own load generator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from runners.engines.vllm.server_process import MARK
from tracker.records import Model

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800), pytest.mark.filterwarnings("default")]
LOAD = ("--sweep", "1,2", "--requests", "4", "--input-tokens", "32", "--output-tokens", "8")


def measured(home: Path, *arguments: str) -> dict[str, Any]:
    """The JSON document of a measurement that succeeds."""
    done = subprocess.run(
        [sys.executable, "-m", "tracker", "bench", *arguments, "--speed", *LOAD, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TRACKER_HOME": str(home), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check_levels(found: dict[str, Any]) -> None:
    """Every request was answered with all of its tokens, and times follow from each other."""
    assert (found["status"], found["generator"]) == ("complete", "vllm bench serve")
    assert [level["concurrency"] for level in found["levels"]] == [1, 2]
    for level in found["levels"]:
        assert (level["n_requests"], level["n_answered"], level["output_tokens"]) == (4, 4, 4 * 8)
        assert 0 < level["ttft_s"] < level["e2el_s"] < level["duration_s"]
        assert level["output_tokens_per_s"] == pytest.approx(4 * 8 / level["duration_s"])


def test_speed_of_vllm_s_server_is_measured_and_nothing_is_left_behind(model: Model, tmp_path: Path) -> None:
    settings = ("--engine", "vllm", "--dtype", "float32", "--max-model-len", "512")
    found = measured(tmp_path, str(model.path), *settings)
    check_levels(found)
    assert (found["engine"], found["device"], found["dtype"]) == ("vllm", "cpu", "float32")
    assert found["counts_from"] == "server"
    assert found["peak_memory_bytes"] > 100_000_000
    log = str(tmp_path / "speeds" / found["speed_id"] / "server.log")
    assert [one.pid for one in psutil.process_iter(["environ"])
            if (one.info["environ"] or {}).get(MARK) == log] == []  # fmt: skip


def test_speed_of_llama_cpp_s_server_is_measured_with_the_same_generator(tmp_path: Path) -> None:
    found = measured(tmp_path, "demo", "--engine", "llamacpp")
    check_levels(found)
    assert (found["engine"], found["device"], found["counts_from"]) == ("llamacpp", "cpu", "pieces")
