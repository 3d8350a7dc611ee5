"""The tools over HTTP: a real client to the end of a study with simulated trainings, and who is refused."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from runners.research.tools.http_face import serve_http
from runners.research.tools.session import ToolSession
from tests.runners.research.test_tools import a_study, opened, run_in_thread
from tracker.errors import TrackerError
from tracker.files.studies import Ledger
from tracker.loopback import Address, refusal
from tracker.records.studies import StudyStatus

pytest.importorskip("mcp")
WAIT_S = 60.0


@pytest.fixture
def address(tmp_path: Path) -> Iterator[Address]:
    """A served study of two trials; the server ends with it."""
    session = opened(tmp_path, a_study(2))
    study = run_in_thread(tmp_path)
    found: queue.Queue[Address] = queue.Queue()
    server = threading.Thread(target=serve_http, args=(session,), kwargs={"port": 0, "tell": found.put})
    server.start()
    yield found.get(timeout=WAIT_S)
    session.call("finish", {})
    study.join(WAIT_S)
    server.join(WAIT_S)
    assert not server.is_alive(), "the server ends soon after its study"


def test_http_an_mcp_client_drives_a_study_to_its_end(address: Address, tmp_path: Path) -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def work() -> list[str]:
        key = {"Authorization": f"Bearer {address.key}"}
        async with (
            httpx2.AsyncClient(headers=key, timeout=WAIT_S) as http,
            streamable_http_client(address.mcp_url, http_client=http) as (read, write, *_),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            said = []
            for changes in ({"beta1": 0.8}, {"beta1": 0.97}):
                await session.call_tool("set_numbers", {"changes": changes})
                result = await session.call_tool("submit", {"note": "momentum"})
                said.append(str(result.content[0].text))
            wrong = await session.call_tool("read_file", {"path": "/etc/passwd"})
            assert wrong.is_error
            return said

    first, second = asyncio.run(asyncio.wait_for(work(), WAIT_S))
    assert "accepted" in first
    assert "rejected" in second
    assert [trial.slot for trial in Ledger(tmp_path).trials()] == [0, 1]


def test_http_plain_json_offers_the_same_tools(address: Address) -> None:
    with httpx2.Client(
        base_url=address.url, headers={"Authorization": f"Bearer {address.key}"}, timeout=WAIT_S
    ) as http:
        names = [tool["function"]["name"] for tool in http.get("/v1/tools").json()["tools"]]
        assert "submit" in names
        assert "Trials: 0 of 2 done" in http.post("/v1/tools/status").json()["text"]
        set_beta1 = http.post("/v1/tools/set_numbers", json={"changes": {"beta1": 0.8}})
        assert set_beta1.json() == {
            "text": "done; against the incumbent: beta1 0.9→0.8", "is_error": False,
        }  # fmt: skip
        assert http.post("/v1/tools/set_numbers", json=[1]).json()["is_error"] is True
        assert http.post("/v1/tools/rm", json={}).status_code == 404
        assert http.post("/v1/tools/status", content=b"{").status_code == 400
        assert http.post("/v1/tools/status", content=b" " * ((1 << 20) + 1)).status_code == 413
        assert http.get("/v1/tools", headers={"Authorization": "Bearer x"}).status_code == 401
        assert http.get("/v1/tools", headers={"Host": "attacker.example"}).status_code == 421
        assert http.get("/mcp", headers={"Origin": "http://attacker.example"}).status_code == 403


OURS = Address(8123, "k" * 43)
HEADERS = {b"host": b"127.0.0.1:8123", b"authorization": b"Bearer " + b"k" * 43}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, None),
        ({b"host": b"localhost:8123"}, None),
        ({b"origin": b"http://localhost:8123"}, None),
        ({b"host": b"attacker.example:8123"}, 421),
        ({b"host": b"127.0.0.1.attacker.example:8123"}, 421),
        ({b"host": b"127.0.0.1:9999"}, 421),
        ({b"host": b""}, 421),
        ({b"origin": b"http://attacker.example"}, 403),
        ({b"origin": b"null"}, 403),
        ({b"origin": b"https://127.0.0.1:8123"}, 403),
        ({b"authorization": b""}, 401),
        ({b"authorization": b"Bearer " + b"k" * 42}, 401),
        ({b"authorization": b"Basic " + b"k" * 43}, 401),
        ({b"authorization": "Bearer ключ".encode()}, 401),
    ],
)
def test_http_who_is_refused(headers: dict[bytes, bytes], status: int | None) -> None:
    found = refusal(HEADERS | headers, OURS)
    assert (found[0] if found else None) == status


def test_http_a_port_that_is_taken_is_a_clear_error(address: Address, tmp_path: Path) -> None:
    session: Any = ToolSession.__new__(ToolSession)
    with pytest.raises(TrackerError, match=f"port {address.port} of 127.0.0.1 cannot be used"):
        serve_http(session, port=address.port, tell=lambda _: None)
    assert Ledger(tmp_path).read_study().status is StudyStatus.RUNNING
