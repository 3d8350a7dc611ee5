"""A whole job on the `server` engine: the worker against a real server with a tiny language model."""

from __future__ import annotations

from typing import Any

import pytest

from runners.executors.local import run_job
from runners.harness.events import Event
from tests.conftest import ROOT
from tests.openai_double import running_server
from tracker.records import EngineSettings, Job, Model, RunRequest, RunStatus, Suite, Task
from tracker.settings import Settings

SUITE = Suite("sums-suite", 1, "", (Task("sums"),), include_path=str(ROOT / "tests" / "tasks"), chat=True)
SERVERS: dict[str, dict[str, Any]] = {
    "vLLM": {"/version": {"version": "0.32.0"}},
    "Ollama": {"/api/version": {"version": "0.12.1"}},
    "llama.cpp": {"/props": {"build_info": "b6000-abc", "chat_template": "{{x}}"}},
    "tells nothing": {},
}


@pytest.mark.parametrize("places", SERVERS.values(), ids=SERVERS)
def test_a_chat_suite_asks_every_server_with_messages(places: dict[str, Any], settings: Settings) -> None:
    events: list[Event] = []
    with running_server(places=places) as server:
        job = Job(
            model=Model("acme/bigram", "server:1"),
            settings=EngineSettings(engine="server", base_url=server.url),
            runs=(RunRequest("run-1", SUITE),),
            items_path=str(settings.items_path),
            flush_s=settings.flush_s,
            limit=2,
        )
        end = run_job(job, settings, events.append)
    run = end.runs[0]
    assert (run.status, run.n_items, run.warnings) == (RunStatus.COMPLETE, 2, ()), run.detail
    assert run.cost.prefilled_tokens == run.cost.prompt_tokens > 0
    assert server.paths[1:] == ["/v1/chat/completions"] * 2  # the first asks what the server can do
    asked = sorted(request["messages"][-1]["content"] for request in server.requests[1:])
    assert [text.partition(" =")[0] for text in asked] == ["Q: 0 + 3", "Q: 1 + 4"]
