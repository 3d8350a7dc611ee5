"""The `server` engine against servers that no one should meet: a sentence, bounded memory and time."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runners.engines.server.api import ServerApi
from tests.conftest import ROOT
from tests.doubles.hostile_double import running_hostile
from tracker.errors import EngineError, NotServedError, TrackerError, UnreachableError
from tracker.settings import keep_server_key, server_login, without_login

KEY = "sk-PLANTED/KEY+9"
MAX_RSS_MIB = 400  # of a process that imports the client and reads a bomb of 1,500 MiB
ASK = """
import asyncio, json, sys
from runners.engines.server.api import ServerApi
from tracker.errors import TrackerError

async def ask(url, what):
    async with ServerApi(url + "/v1", api_key="sk-PLANTED/KEY+9") as api:
        if what == "models":
            return (await api.served_model("m")).name
        async for _ in api.events("/completions", {"max_tokens": 16}):
            pass

try:
    asyncio.run(ask(sys.argv[1], sys.argv[2]))
    said = "no error"
except TrackerError as error:
    said = str(error)
# not `ru_maxrss`, which begins with the size of the process that started this one
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([said, int(peak.split()[1]) / 1024]))
"""


def models(mode: str) -> str:
    """The error of asking for the models of such a server."""
    with running_hostile(mode=mode) as server, pytest.raises(TrackerError) as caught:
        asyncio.run(_served(server.url))
    return f"{caught.value} | {caught.value.hint}"


async def _served(url: str) -> None:
    async with ServerApi(f"{url}/v1", api_key=KEY) as api:
        served = await api.served_model("m")
        await api.software(served)


async def _events(url: str) -> list[object]:
    async with ServerApi(f"{url}/v1", api_key=KEY) as api:
        return [event async for event in api.events("/completions", {"max_tokens": 16})]


@pytest.mark.parametrize(
    ("mode", "what", "says"),
    [
        ("gzip", "models", "is larger than 8 MiB"),
        ("endless", "models", "is larger than 8 MiB"),
        ("endless-line", "events", "is larger than"),
        ("endless-events", "events", "is larger than"),
    ],
)
def test_server_engine_an_endless_answer_costs_little_memory(mode: str, what: str, says: str) -> None:
    with running_hostile(mode=mode) as server:
        done = subprocess.run(
            [sys.executable, "-c", ASK, server.url, what],
            cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
    said, rss_mib = json.loads(done.stdout)
    assert says in said
    assert rss_mib < MAX_RSS_MIB


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("deep", "did not return JSON"),
        ("deep-and-closed", "did not return JSON"),
        ("binary", "did not return JSON"),
        ("broken-gzip", "cannot be decompressed"),
        ("too-short", "closed the connection"),
        ("junk-chunks", "closed the connection"),
        ("endless-head", "closed the connection"),
        ("elsewhere-307", "rejected the request (HTTP 307)"),
        ("surrogate", "serves"),
        ("shapes", "no model loaded"),
        ("numbers", "serves `5`"),
        ("charset", "no model"),
    ],
)
def test_server_engine_an_answer_that_no_server_gives_ends_in_a_sentence(
    mode: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runners.engines.server.api.ATTEMPTS", 1)
    if mode == "charset":
        with running_hostile(mode=mode) as server:
            asyncio.run(_served(server.url))  # such a server lists nothing, which is only said
        return
    assert says in models(mode)


def test_server_engine_a_deep_event_is_no_json() -> None:
    with running_hostile(mode="deep-stream") as server, pytest.raises(UnreachableError, match="JSON"):
        asyncio.run(_events(server.url))


def test_server_engine_comments_do_not_keep_a_stream_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.engines.server.api.SILENCE_S", 1.0)
    began = time.monotonic()
    with running_hostile(mode="slow-comments") as server, pytest.raises(UnreachableError, match="no event"):
        asyncio.run(_events(server.url))
    assert time.monotonic() - began < 10


def test_server_engine_a_stream_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.engines.server.api.SILENCE_S", 0.6)
    monkeypatch.setattr("runners.engines.server.api.TOKEN_S", 0.0)
    with running_hostile(mode="slow-body") as server, pytest.raises(UnreachableError):
        asyncio.run(_events(server.url))


def test_server_engine_the_key_is_masked_in_the_words_of_a_server() -> None:
    async def post(url: str) -> None:
        async with ServerApi(f"{url}/v1", api_key=KEY) as api:
            await api.post("/completions", {"prompt": "x"})

    with running_hostile(mode="echo") as server, pytest.raises(EngineError, match=r"\*\*\*") as caught:
        asyncio.run(post(server.url))
    assert server.requests[0]["headers"]["authorization"] == f"Bearer {KEY}"
    assert "PLANTED" not in str(caught.value)


def test_server_engine_a_login_in_the_address_is_sent_to_that_server_and_kept_out_of_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRACKER_SERVER_LOGINS", "")
    with running_hostile(mode="echo") as server:
        given = server.url.replace("http://", "http://alice:pa%24sword1@") + "/v1?api_key=QSECRET77"
        bare = without_login(given)
        assert bare == f"{server.url}/v1"
        assert server_login(bare) == "alice:pa$sword1"
        assert server_login("http://127.0.0.1:1/v1") == ""

        async def post() -> None:
            async with ServerApi(bare) as api:
                await api.post("/completions", {"prompt": "x"})

        with pytest.raises(EngineError) as caught:
            asyncio.run(post())
        assert server.requests[0]["headers"]["authorization"].startswith("Basic ")
    assert "sword1" not in str(caught.value)
    assert server.requests[0]["headers"]["authorization"][6:20] not in str(caught.value)


def test_server_engine_the_key_of_a_started_server_goes_to_that_server_only(tmp_path: Path) -> None:
    with running_hostile(mode="numbers") as own, running_hostile(mode="numbers") as other:
        keep_server_key(f"{own.url}/v1", "started-key-1234")
        for server in (own, other):

            async def ask(url: str) -> None:
                async with ServerApi(f"{url}/v1") as api:
                    await api.served_model("m")

            with pytest.raises(NotServedError):
                asyncio.run(ask(server.url))
        assert own.requests[0]["headers"]["authorization"] == "Bearer started-key-1234"
        assert "authorization" not in other.requests[0]["headers"]
