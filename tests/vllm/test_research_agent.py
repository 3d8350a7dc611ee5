"""The vLLM server that is started for an agent: valid proposals, and nothing left behind."""

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
from runners.research.agents import open_agent
from runners.research.agents.vllm_server import start_server
from runners.research.problem import space
from tests.doubles.research_asks import TIER, ask, study
from tracker.errors import EngineError
from tracker.records import EngineSettings, Model

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]
VLLM = EngineSettings(engine="vllm", dtype="float32", max_model_len=4096, thinking=False)


def left_behind(log_path: Path) -> list[int]:
    """Processes that carry the mark of the server with this log."""
    found = []
    for process in psutil.process_iter():
        try:
            found += [process.pid] if process.environ().get(MARK) == str(log_path) else []
        except psutil.Error:
            continue
    return found


def test_the_server_of_an_agent_gives_valid_proposals_and_ends_with_it(model: Model, tmp_path: Path) -> None:
    of = study("model", model=model, settings=VLLM)
    agent = open_agent(of, tmp_path)
    assert left_behind(tmp_path / "vllm.log")
    found = agent.propose(ask(of, k=4))
    agent.close()
    assert left_behind(tmp_path / "vllm.log") == []
    changes = [proposal.change for proposal in found if proposal.change is not None]
    assert len(changes) >= len(found) - 1
    for change in changes:
        assert space.validate(change.params, TIER) == change.params
    exchange = found[0].exchanges[0]
    assert set(json.loads(exchange.reply)) == {"rationale", "changes"}
    assert exchange.prompt_tokens > 500
    assert exchange.output_tokens > 10


def test_a_whole_study_with_vllm_as_the_engine_stands_beside_the_optimisers(
    model: Model, tmp_path: Path
) -> None:
    assert model.path is not None
    settings = ["--engine", "vllm", "--dtype", "float32", "--max-model-len", "4096", "--no-thinking"]
    tried = ["--tier", "smoke", "--trials", "2", "--placebo-share", "0"]
    study = research(tmp_path, "run", "--agent", model.path, *settings, *tried, "--wave", "2")
    assert study["status"] == "complete"
    assert (study["n_done"], study["n_valid"]) == (2, 2)
    assert study["output_tokens"] > 20
    research(tmp_path, "baseline", *tried, "--agent", "random", "--agent", "tpe")
    (group,) = research(tmp_path, "board")["groups"]
    assert {row["kind"] for row in group["rows"]} == {"model", "random", "tpe"}
    assert group["n_trials"] == 2


def research(home: Path, *arguments: str) -> dict[str, Any]:
    """The JSON document of a command that succeeds."""
    done = subprocess.run(
        [sys.executable, "-m", "tracker", "research", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TRACKER_HOME": str(home), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_model_that_vllm_cannot_load_is_told_with_vllms_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"architectures": ["NoSuchForCausalLM"], "model_type": "llama"}')
    (broken / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    model = Model("acme/broken", "sha256:0", path=str(broken))
    log_path = tmp_path / "vllm.log"
    with pytest.raises(EngineError, match="the agent's vLLM server"):
        start_server(model, VLLM, tier=TIER.name, log_path=log_path)
    assert left_behind(log_path) == []
