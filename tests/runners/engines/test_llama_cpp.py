"""A real server that is not vLLM: llama.cpp's, from the package `xllamacpp`, with the embedded model."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runners.engines import ContinuationRequest, GenerationRequest
from runners.engines.server.engine import ServerEngine
from runners.engines.server.identity import served_model
from tests.conftest import ROOT
from tracker.errors import EngineError
from tracker.records import EngineSettings
from tracker.settings import Settings

pytest.importorskip("xllamacpp", reason="the extra `dev` installs it")
MODEL = "smollm2"
TASKS = ROOT / "tests" / "tasks"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.doubles.llama_server"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        yield f"{server.stdout.readline().strip()}/v1"
        server.kill()


def own_api(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    place = url.removesuffix("/v1") + path
    request = urllib.request.Request(place, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def test_llama_cpp_answers_a_suite_from_the_command_line(url: str, home: Path) -> None:
    asked = ["--task", "sums", "--include-path", str(TASKS), "--limit", "3", "--json"]
    served = ["--engine", "server", "--base-url", url]
    command = [sys.executable, "-m", "tracker", "bench", MODEL, *served, *asked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert [(score["task"], score["n_items"]) for score in run["scores"]] == [("sums", 3)]
    assert (run["status"], run["warnings"]) == ("complete", [])
    assert run["output_tokens"] > 0


def test_llama_cpp_is_known_and_its_counts_are_read(url: str, settings: Settings) -> None:
    asked = EngineSettings(engine="server", base_url=url, concurrency=2)
    engine = ServerEngine(served_model(MODEL, asked, settings), asked)
    assert engine.info.engine_version.startswith("llama.cpp ")
    assert engine.info.chat_template_hash not in (None, "server")
    asked_as_chat = [{"role": "user", "content": "What is the capital of France?"}]
    ((_, found),) = engine.generate([GenerationRequest(engine.chat_prompt(asked_as_chat), 12)])
    # the same through the server's own API, which is not OpenAI's
    prompt = own_api(url, "/apply-template", {"messages": asked_as_chat})["prompt"]
    own = own_api(url, "/completion", {"prompt": prompt, "temperature": 0.0, "n_predict": 12})
    assert (found.text, found.finish_reason, found.output_tokens) == (own["content"], "length", 12)
    assert found.prompt_tokens == len(
        own_api(url, "/tokenize", {"content": prompt, "parse_special": True})["tokens"]
    )
    assert engine.differences == ()


def test_llama_cpp_has_no_log_probs_of_a_prompt_and_choices_say_so(url: str, settings: Settings) -> None:
    """It ignores `echo`, and gives log-probabilities of what it writes only."""
    asked = EngineSettings(engine="server", base_url=url)
    engine = ServerEngine(served_model(MODEL, asked, settings), asked)
    with pytest.raises(EngineError, match="gives no log-probabilities for a prompt"):
        list(engine.log_probs([ContinuationRequest("The sky is", " blue")]))
