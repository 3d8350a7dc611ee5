"""The suite of `tracker bench MODEL`: the one that places a model, where its data sets can be had."""

from __future__ import annotations

from collections.abc import Iterator

import huggingface_hub
import pytest
from huggingface_hub import constants

from runners.harness.events import Event
from tests.doubles.hub_double import Hub, running_hub
from tracker.bench.request import FIRST_DATA_SET, BenchRequest, with_suite
from tracker.records import EngineSettings


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield running
        huggingface_hub.close_session()


def chosen(
    model: str = "acme/atlas-8b", engine: EngineSettings | None = None, **given: tuple[str, ...]
) -> tuple[tuple[str, ...], list[str]]:
    """The suites of the request, and what the user is told."""
    events: list[Event] = []
    request = with_suite(BenchRequest(model, engine or EngineSettings(), **given), events.append)  # type: ignore[arg-type]
    return request.suites, [event.message for event in events]


def test_default_suite_places_the_model_where_the_hub_has_the_data_sets(hub: Hub) -> None:
    hub.data_sets.add(FIRST_DATA_SET)
    assert chosen() == (("place",), [])


def test_default_suite_needs_no_network_where_there_is_none(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    suites, (told,) = chosen()  # a mirror without data sets
    assert suites == ("quick",)
    assert "gives no place on the index" in told
    asked = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert chosen()[0] == ("quick",)
    assert len(hub.requests) == asked


def test_default_suite_of_the_embedded_model_and_a_named_suite_ask_nobody(hub: Hub) -> None:
    hub.data_sets.add(FIRST_DATA_SET)
    assert chosen("demo") == (("quick",), [])
    assert chosen(suites=("smoke",)) == (("smoke",), [])
    assert chosen(tasks=("gsm8k",)) == ((), [])
    assert hub.requests == []


@pytest.mark.parametrize(
    "engine",
    [EngineSettings(engine="server"), EngineSettings(engine="auto", base_url="http://127.0.0.1:8000")],
    ids=["engine", "url"],
)
def test_default_suite_of_a_server_needs_no_log_probabilities_of_the_prompt(
    hub: Hub, engine: EngineSettings
) -> None:
    hub.data_sets.add(FIRST_DATA_SET)
    suites, (told,) = chosen(engine=engine)
    assert suites == ("quick",)
    assert "`--suite place`" in told
    assert chosen(engine=engine, suites=("place",)) == (("place",), [])
