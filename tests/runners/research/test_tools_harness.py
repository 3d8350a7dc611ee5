"""A harness of somebody else, Pydantic AI, works on a study over MCP, with a scripted model behind it."""

from __future__ import annotations

import asyncio
import queue
import threading
from pathlib import Path

import pytest

from runners.research.tools.http_face import serve_http
from tests.doubles.tool_calling_double import running_script
from tests.runners.research.test_tools import a_study, opened, run_in_thread
from tracker.files.studies import Ledger
from tracker.loopback import Address
from tracker.records.studies import StudyStatus, Verdict

pydantic_ai = pytest.importorskip("pydantic_ai")
pytest.importorskip("fastmcp")
pytestmark = pytest.mark.studies
WAIT_S = 120.0


def test_harness_pydantic_ai_drives_a_study_to_its_end(tmp_path: Path) -> None:
    from pydantic_ai.mcp import MCPToolset
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    session = opened(tmp_path, a_study(2))
    study = run_in_thread(tmp_path)
    found: queue.Queue[Address] = queue.Queue()
    server = threading.Thread(target=serve_http, args=(session,), kwargs={"port": 0, "tell": found.put})
    server.start()
    address = found.get(timeout=WAIT_S)

    async def work(url: str) -> str:
        model = OpenAIChatModel("scripted", provider=OpenAIProvider(base_url=url, api_key="none"))
        tools = MCPToolset(address.mcp_url, headers={"Authorization": f"Bearer {address.key}"})
        agent = pydantic_ai.Agent(model, toolsets=[tools])
        async with agent:
            return str((await agent.run("Improve the training.")).output)

    calls = (
        ("read_file", {"path": "program.md"}),
        ("set_numbers", {"changes": {"beta1": 0.8}}),
        ("run_probe", {"share": 0.1}),
        ("submit", {"note": "less momentum"}),
        ("edit_file", {"path": "params.json", "content": '{"beta1": 0.97}'}),
        ("submit", {"note": "more momentum"}),
        ("status", {}),
    )
    with running_script(*calls) as script:
        said = asyncio.run(asyncio.wait_for(work(script.url), WAIT_S))
        offered = {tool["function"]["name"] for tool in script.requests[0]["tools"]}
        answers = [m["content"] for m in script.requests[-1]["messages"] if m["role"] == "tool"]
    study.join(WAIT_S)
    server.join(WAIT_S)
    assert said == "done"
    assert {"read_file", "edit_file", "submit"} <= offered
    assert "accepted" in str(answers[3])
    assert "rejected" in str(answers[5])
    assert Ledger(tmp_path).read_study().status is StudyStatus.COMPLETE
    assert [t.verdict for t in Ledger(tmp_path).trials()] == [Verdict.ACCEPTED, Verdict.REJECTED]
