"""The `server` engine against a real server with a real, tiny language model."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import stamina

from runners.engines import (
    ContinuationRequest,
    Generation,
    GenerationRequest,
    TextRequest,
    open_engine,
)
from runners.engines.server.engine import ServerEngine
from runners.models.resolve import resolve_model
from tests.doubles.openai_double import (
    WAIT_S,
    Behaviour,
    log_prob,
    running_server,
    written_after,
)
from tracker.errors import EngineError, TrackerError, UnknownNameError, UnreachableError
from tracker.records import EngineSettings, Model
from tracker.settings import Settings

MODEL = Model("acme/bigram", "server:1")
ATTEMPTS = 3
QUESTION = GenerationRequest("the", max_output_tokens=12)


@pytest.fixture(autouse=True)
def _no_waiting(home: object) -> Iterator[None]:
    with stamina.set_testing(True, attempts=ATTEMPTS):
        yield


def engine(server: Behaviour, **settings: Any) -> ServerEngine:
    made = open_engine(MODEL, EngineSettings(engine="server", base_url=server.url, **settings))
    assert isinstance(made, ServerEngine)
    return made


def chat(made: ServerEngine, question: str, **request: Any) -> Generation:
    prompt = made.chat_prompt([{"role": "user", "content": question}])
    budget = request.pop("max_output_tokens", 500)
    (found,) = made.generate([GenerationRequest(prompt, max_output_tokens=budget, **request)])
    return found[1]


def collect(answers: Iterator[tuple[int, Generation]], places: list[int]) -> None:
    for place, _ in answers:
        places.append(place)


# --- finding the model -----------------------------------------------------------------------------------


def test_server_engine_what_the_server_says_about_itself_is_kept() -> None:
    models = [{"id": "acme/bigram", "root": "/srv/bigram", "owned_by": "vllm", "max_model_len": 4096}]
    with running_server(models=models) as server:
        info = engine(server).info
    assert (info.engine, info.engine_version, info.device) == ("server", "vllm 0.32.0", "server")
    assert info.max_model_len == 4096
    assert info.versions == {
        "served_model": "acme/bigram",
        "served_root": "/srv/bigram",
        "system_fingerprint": "fp_bigram",
    }


@pytest.mark.parametrize(
    ("places", "version"),
    [
        ({"/props": {"build_info": "b6000-abc", "chat_template": "{{x}}"}}, "llama.cpp b6000-abc"),
        ({"/api/version": {"version": "0.12.1"}}, "ollama 0.12.1"),
        ({}, "unknown"),
    ],
    ids=["llama.cpp", "ollama", "tells nothing"],
)
def test_server_engine_each_server_tells_its_version_at_another_place(
    places: dict[str, Any], version: str
) -> None:
    with running_server(places=places, models=[{"id": "acme/bigram"}]) as server:
        assert engine(server).info.engine_version == version


@pytest.mark.parametrize("served", ["bigram-q4", "other/bigram", "acme/bigram:7b"])
def test_server_engine_another_model_is_never_measured_under_the_name_that_was_typed(
    served: str, settings: Settings
) -> None:
    with running_server(models=[{"id": served}]) as server:
        asked = EngineSettings(engine="server", base_url=server.url)
        for refused in (lambda: resolve_model("acme/bigram", asked, settings), lambda: engine(server)):
            with pytest.raises(TrackerError, match=f"serves `{served}`, not `acme/bigram`") as caught:
                refused()
            assert caught.value.exit_code == 1
            assert caught.value.hint == f"use the name `{served}` to measure that model"


@pytest.mark.parametrize("served", ["ACME/Bigram", "bigram", "Bigram:latest", "acme/bigram:latest"])
def test_server_engine_case_a_missing_organization_and_the_tag_latest_are_no_other_model(served: str) -> None:
    with running_server(models=[{"id": "other"}, {"id": served}]) as server:
        assert engine(server).info.versions["served_model"] == served


def test_server_engine_a_name_without_organization_that_fits_two_models_is_refused(
    settings: Settings,
) -> None:
    with running_server(models=[{"id": "acme/bigram"}, {"id": "other/bigram"}]) as server:
        asked = EngineSettings(engine="server", base_url=server.url)
        with pytest.raises(UnknownNameError) as caught:
            resolve_model("bigram", asked, settings)
    assert "`acme/bigram`" in caught.value.hint


def test_server_engine_a_model_that_a_server_does_not_have_is_answered_with_near_names() -> None:
    models = [{"id": "acme/bigram-2"}, {"id": "acme/other"}]
    with running_server(models=models) as server, pytest.raises(UnknownNameError) as caught:
        engine(server)
    assert "`acme/bigram-2`" in caught.value.hint


def test_server_engine_resolving_a_served_model_needs_no_hub(settings: Settings) -> None:
    with running_server() as server:
        asked = EngineSettings(engine="server", base_url=f"{server.url}/v1/")
        model = resolve_model("acme/bigram", asked, settings)
        again = resolve_model("acme/bigram", asked, settings)
        server.places["/version"] = {"version": "0.33.0"}
        updated = resolve_model("acme/bigram", asked, settings)
    assert model.model_id == "acme/bigram"
    assert model.revision.startswith("server:")
    assert again == model
    assert updated.revision != model.revision


@pytest.mark.parametrize("url", [None, "localhost:8000", "ftp://host/v1"])
def test_server_engine_a_url_that_is_none_is_a_clear_error(url: str | None, settings: Settings) -> None:
    with pytest.raises(TrackerError) as caught:
        resolve_model("acme/bigram", EngineSettings(engine="server", base_url=url), settings)
    assert "--base-url http" in caught.value.hint
    assert caught.value.exit_code == 1


def test_server_engine_a_server_that_is_not_running_is_unreachable(settings: Settings) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://user:secret@127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(UnreachableError, match="cannot be reached") as caught:
        resolve_model("acme/bigram", EngineSettings(engine="server", base_url=url), settings)
    assert caught.value.exit_code == 4
    assert "secret" not in str(caught.value)


def test_server_engine_a_key_is_sent_and_a_missing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server(key="sk-right") as server:
        monkeypatch.setenv("TRACKER_SERVER_API_KEY", "sk-right")
        assert list(engine(server).generate([QUESTION]))
        monkeypatch.setenv("TRACKER_SERVER_API_KEY", "sk-wrong")
        with pytest.raises(TrackerError, match="requires a valid API key") as caught:
            engine(server)
    assert "TRACKER_SERVER_API_KEY" in caught.value.hint
    assert "sk-" not in f"{caught.value}{caught.value.hint}"


# --- generation ------------------------------------------------------------------------------------------


def test_server_engine_a_plain_prompt_is_continued() -> None:
    with running_server() as server:
        ((place, found),) = engine(server).generate([QUESTION])
    assert place == 0
    assert found.text == written_after("the")[:12]
    assert (found.finish_reason, found.prompt_tokens, found.output_tokens) == ("length", 3, 12)
    assert found.latency_s is not None
    assert found.ttft_s is not None
    assert 0 < found.ttft_s <= found.latency_s


def test_server_engine_chat_messages_are_sent_as_messages_with_the_sampling_asked_for() -> None:
    with running_server() as server:
        found = chat(engine(server), "two plus two?", temperature=0.7, top_p=0.9, seed=5, max_output_tokens=9)
        sent = server.requests[-1]
    assert sent["messages"] == [{"role": "user", "content": "two plus two?"}]
    wanted = {"model": "acme/bigram", "temperature": 0.7, "top_p": 0.9, "seed": 5, "max_tokens": 9}
    assert wanted.items() <= sent.items()
    assert "chat_template_kwargs" not in sent
    assert found.text == written_after("assistant: ")[:9]


def test_server_engine_an_answer_begun_by_the_task_is_gone_on_with() -> None:
    with running_server() as server:
        made = engine(server)
        messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "The answer is"}]
        prompt = made.chat_prompt(messages, add_generation_prompt=False)
        list(made.generate([GenerationRequest(prompt, max_output_tokens=4)]))
        sent = server.requests[-1]
    assert (sent["add_generation_prompt"], sent["continue_final_message"]) == (False, True)


@pytest.mark.parametrize("thinking", [True, False])
def test_server_engine_the_thinking_switch_reaches_the_chat_template(thinking: bool) -> None:
    with running_server() as server:
        chat(engine(server, thinking=thinking), "?")
        assert server.requests[-1]["chat_template_kwargs"] == {"enable_thinking": thinking}


@pytest.mark.parametrize("parses", [True, False], ids=["server tells it apart", "inline"])
@pytest.mark.parametrize("thinking", [True, None])
def test_server_engine_thinking_is_no_part_of_the_answer_and_no_stop_string_counts_in_it(
    parses: bool, thinking: bool | None
) -> None:
    said: dict[str, Any] = {"thought": "Question: is it 4?", "reply": lambda _: "It is 4.\nQuestion: next"}
    with running_server(parses_thinking=parses, **said) as server:
        found = chat(engine(server, thinking=thinking), "2 + 2?", stop=("Question:",))
    assert (found.text, found.thinking, found.finish_reason) == ("It is 4.\n", "Question: is it 4?", "stop")


@pytest.mark.parametrize("parses", [True, False], ids=["server tells it apart", "inline"])
def test_server_engine_thinking_cut_off_by_the_budget_is_no_answer(parses: bool) -> None:
    with running_server(parses_thinking=parses, thought="hm " * 20) as server:
        found = chat(engine(server), "?", max_output_tokens=20)
    assert (found.text, found.finish_reason) == ("", "length")
    assert found.thinking


def test_server_engine_a_stop_string_ends_the_answer_though_the_server_continues() -> None:
    with running_server() as server:
        made = engine(server)
        server.endless_after = 0
        found = chat(made, "sing", stop=("la la la",))
        assert server.left.wait(WAIT_S)
    assert (found.text, found.finish_reason) == ("", "stop")


def test_server_engine_as_many_requests_as_asked_for_are_under_way_at_once() -> None:
    with running_server() as server:
        made = engine(server, concurrency=4)
        server.crowd = threading.Barrier(4)
        found = dict(made.generate([QUESTION] * 8))
    assert sorted(found) == list(range(8))


def test_server_engine_leaving_early_ends_what_is_under_way() -> None:
    with running_server() as server:
        made = engine(server, concurrency=2)
        server.endless_after = server.n_answered + 1
        answers = made.generate([QUESTION] * 6)
        next(answers)
        answers.close()
        assert server.left.wait(WAIT_S)
    assert [thread for thread in threading.enumerate() if thread.name == "server-requests"] == []


# --- log-probabilities -----------------------------------------------------------------------------------


def test_server_engine_a_continuation_is_scored_token_by_token() -> None:
    requests = [ContinuationRequest("the sky is", f" {word}") for word in ("blue", "green")]
    with running_server() as server:
        found = dict(engine(server).log_probs(requests))
    for place, word in enumerate(("blue", "green")):
        text = f"s {word}".encode()
        wanted = sum(log_prob(a, b) for a, b in pairwise(text))
        assert found[place].log_prob == pytest.approx(wanted)
        assert (found[place].prompt_tokens, found[place].output_tokens) == (10, len(word) + 1)


def test_server_engine_greedy_is_what_the_model_would_have_written() -> None:
    written = written_after("the")
    requests = [ContinuationRequest("the", written[:5]), ContinuationRequest("the", "zebra")]
    with running_server() as server:
        found = dict(engine(server).log_probs(requests))
    assert (found[0].is_greedy, found[1].is_greedy) == (True, False)


def test_server_engine_a_trailing_space_of_the_context_belongs_to_the_continuation() -> None:
    pairs = [ContinuationRequest("the sky is", " blue"), ContinuationRequest("the sky is ", "blue")]
    with running_server() as server:
        found = dict(engine(server).log_probs(pairs))
    assert found[0] == found[1]


def test_server_engine_a_character_of_several_tokens_is_scored_whole() -> None:
    request = ContinuationRequest("the grün", "e Wiese é")
    with running_server() as server:
        ((_, found),) = engine(server).log_probs([request])
    text = "ne Wiese é".encode()
    assert found.log_prob == pytest.approx(sum(log_prob(a, b) for a, b in pairwise(text)))
    assert (found.prompt_tokens, found.output_tokens) == (9, 10)


def test_server_engine_a_choice_without_context_is_refused_rather_than_scored_without_its_first_token() -> (
    None
):
    with running_server() as server, pytest.raises(EngineError, match="first token of a text") as caught:
        list(engine(server).log_probs([ContinuationRequest("", "the sky")]))
    assert caught.value.reason == "unsupported"


def test_server_engine_a_whole_text_is_refused_rather_than_scored_without_its_first_token() -> None:
    with running_server() as server, pytest.raises(EngineError, match="first token of a text") as caught:
        list(engine(server).text_log_probs([TextRequest("the sky")]))
    assert (caught.value.reason, caught.value.hint) == (
        "unsupported",
        "use another engine for texts without a context",
    )


def test_server_engine_a_refused_choice_costs_itself_alone() -> None:
    asked = [ContinuationRequest("the sky is", f" {word}") for word in ("blue", "green", "wide")]
    with running_server(refuses="wide") as server:
        made = engine(server)
        found = dict(made.log_probs(asked))
    assert [found[n].is_missing for n in range(3)] == [False, False, True]
    assert "maximum context length" in made.refusals[0]


def test_server_engine_without_log_probs_choices_are_unsupported_and_texts_still_work() -> None:
    with running_server(gives_log_probs=False) as server:
        made = engine(server)
        with pytest.raises(
            EngineError, match=r"gives no log-probabilities for a prompt .* cannot be scored"
        ) as caught:
            list(made.log_probs([ContinuationRequest("a", "b")]))
        assert caught.value.reason == "unsupported"
        assert list(made.generate([QUESTION]))


# --- what goes wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", [(429, {"Retry-After": "1"}), (503, {}), (502, {})], ids=["429", "503", "502"]
)
def test_server_engine_a_busy_server_is_asked_again(status: tuple[int, dict[str, str]]) -> None:
    with running_server() as server:
        made = engine(server)
        server.broken = [status] * (ATTEMPTS - 1)
        assert len(list(made.generate([QUESTION]))) == 1
        server.broken = [status] * (ATTEMPTS - 1)
        assert len(list(made.log_probs([ContinuationRequest("a", "b")]))) == 1


def test_server_engine_what_is_waited_for_is_said_and_never_on_stdout(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with running_server() as server:
        made = engine(server)
        server.broken = [(503, {})]
        list(made.generate([QUESTION]))
    assert "is busy or down (HTTP 503); asking again in" in caplog.text
    assert capfd.readouterr().out == ""


def test_server_engine_a_server_that_stays_busy_is_not_asked_for_ever() -> None:
    with running_server() as server:
        made = engine(server)
        n_before = len(server.requests)
        server.broken = [(429, {})] * 99
        with pytest.raises(UnreachableError, match="busy or down"):
            list(made.generate([QUESTION]))
        assert len(server.requests) - n_before == ATTEMPTS


def test_server_engine_a_stream_that_breaks_off_is_asked_again() -> None:
    with running_server() as server:
        made = engine(server)
        server.breaks_off = 1
        ((_, found),) = made.generate([QUESTION])
    assert found.text == written_after("the")[:12]


@pytest.mark.parametrize("closes_early", [False, True], ids=["closed in order", "closed early"])
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream; charset=utf-8", "text/plain"])
def test_server_engine_a_server_that_sends_one_document_instead_of_a_stream_is_read(
    kind: str, closes_early: bool
) -> None:
    with running_server(
        reply=lambda prompt: "four\nor so", one_document=kind, closes_early=closes_early
    ) as server:
        made = engine(server)
        answer = chat(made, "two plus two?")
        ((_, continued),) = made.generate([QUESTION])
    assert (answer.text, answer.finish_reason, answer.output_tokens) == ("four\nor so", "stop", 10)
    assert continued.text.startswith("four")


def test_server_engine_a_server_that_dies_in_the_middle_loses_nothing_that_it_answered() -> None:
    found: list[int] = []
    with running_server() as server:
        made = engine(server, concurrency=1)
        server.dies_after = server.n_answered + 5
        with pytest.raises(UnreachableError, match="closed the connection") as caught:
            collect(made.generate([QUESTION] * 20), found)
    assert caught.value.exit_code == 4
    assert found == [0, 1, 2, 3, 4]


def test_server_engine_a_request_that_the_server_refuses_is_reported_in_its_words() -> None:
    with running_server() as server:
        made = engine(server)
        server.broken = [(400, {})] * 3  # asked again without the options for token counts
        with pytest.raises(EngineError, match=r"rejected the request \(HTTP 400\): not now") as caught:
            list(made.generate([QUESTION]))
    assert caught.value.reason == "unsupported"


def test_server_engine_an_answer_without_what_the_api_promises_is_the_servers_fault() -> None:
    with running_server() as server:
        made = engine(server)
        server.gives_log_probs = False
        with pytest.raises(UnreachableError, match="does not follow the OpenAI API"):
            list(made.log_probs([ContinuationRequest("a", "b")]))


def test_server_identity_answers_of_one_server_never_count_for_another(settings: Settings) -> None:
    with running_server() as one, running_server() as other:
        found = [
            resolve_model("acme/bigram", EngineSettings(engine="server", base_url=url), settings)
            for url in (one.url, one.url, other.url)
        ]
    assert found[0] == found[1]
    assert found[2] == replace(found[0], revision=found[2].revision)
    assert found[2].revision != found[0].revision
