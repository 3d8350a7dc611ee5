"""The address of a server as users paste it: with a query, an endpoint, or no scheme."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from runners.engines import GenerationRequest
from runners.engines.server.api import ServerApi
from runners.engines.server.engine import ServerEngine
from runners.engines.server.served import ServedElsewhere
from runners.models.resolve import resolve_model
from tests.doubles.openai_double import running_server
from tracker.errors import TrackerError
from tracker.records import EngineSettings
from tracker.redaction import masked
from tracker.settings import Settings, without_login


def test_server_engine_the_query_of_the_address_goes_with_each_request_and_into_no_record(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setenv("TRACKER_SERVER_LOGINS", "")
    with running_server(query="api-version=2024-10-21&key=QSECRET77") as server:
        bare = without_login(f"{server.url}/v1?{server.query}")
        assert bare == f"{server.url}/v1"
        asked = EngineSettings(engine="server", base_url=bare)
        model = resolve_model("acme/bigram", asked, settings)
        engine = ServerEngine(model, asked)
        answers = dict(engine.generate([GenerationRequest("the sky is", 8)]))
        assert answers[0].text
        assert masked(f"rejected: {server.query}") == "rejected: api-version=2024-10-21&key=***"
        assert "QSECRET77" not in str(engine.info)
    with pytest.raises(TrackerError, match="whose address has a query"):
        ServedElsewhere(model, asked)


def test_server_identity_a_new_key_in_the_query_is_the_same_server_and_another_version_is_not(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    found = []
    for query in ("v=1&key=QSECRET77", "key=QSECRET88&v=1", "v=2&key=QSECRET77"):
        monkeypatch.setenv("TRACKER_SERVER_LOGINS", "")
        with running_server(query=query, port=found[0][0] if found else 0) as server:
            asked = EngineSettings(engine="server", base_url=without_login(f"{server.url}/v1?{query}"))
            found.append((urlsplit(server.url).port, resolve_model("acme/bigram", asked, settings).revision))
    revisions = [revision for _, revision in found]
    assert revisions[0] == revisions[1] != revisions[2]


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://h.example/v1/chat/completions", "https://h.example/v1"),
        ("https://h.example/v1/models/", "https://h.example/v1"),
        ("https://h.example/api/v1/responses?key=abc1", "https://h.example/api/v1"),
        ("https://h.example/models/chat/completions", "https://h.example/models"),
        ("https://h.example/models", "https://h.example/models"),
        ("https://h.example/", "https://h.example/"),
    ],
)
def test_server_engine_a_copied_endpoint_is_cut_to_the_base_url(
    given: str, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_SERVER_LOGINS", "")
    assert without_login(given) == base
    assert ServerApi(given).url == (base if base.strip("/").count("/") > 2 else "https://h.example/v1")


def test_server_engine_a_host_without_scheme_is_repeated_with_one_in_the_hint() -> None:
    with pytest.raises(TrackerError) as caught:
        ServerApi("gpu-box:8000/v1")
    assert caught.value.hint == "--base-url http://gpu-box:8000/v1"
