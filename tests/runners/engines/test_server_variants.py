"""Servers that differ from OpenAI's API in what they send: each gives the same answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from runners.engines import ChatPrompt, Generation, GenerationRequest
from runners.engines.server.engine import ServerEngine
from runners.engines.server.identity import served_model
from tracker.errors import EngineError, TrackerError
from tracker.records import EngineSettings, Model
from tracker.settings import Settings

MODELS = {"object": "list", "data": [{"id": "m", "owned_by": "acme"}]}
PROMPTS = [ChatPrompt(f"user: {n}", [{"role": "user", "content": f"question {n}"}]) for n in range(40)]
USAGE = {"prompt_tokens": 5, "completion_tokens": 2}
Reply = tuple[int, str, bytes]  # status, content type, body
JSON = "application/json"


class Server:
    """The normal answers; a variant replaces some of its methods."""

    def __init__(self) -> None:
        self.n_posts = 0
        self.lock = threading.Lock()

    def get(self, path: str) -> Reply:
        return (200, JSON, json.dumps(MODELS).encode()) if path == "/v1/models" else (404, JSON, b"{}")

    def post(self, path: str, body: dict[str, Any]) -> Reply:
        with self.lock:
            self.n_posts += 1
        if "echo" in body:
            return 400, JSON, b'{"error": {"message": "echo is not supported"}}'
        return self.answer(body)

    def answer(self, body: dict[str, Any]) -> Reply:
        del body
        return 200, "text/event-stream", stream(self.events())

    def events(self) -> list[Any]:
        return [piece("four"), piece("", finish_reason="stop"), {"choices": [], "usage": USAGE}]


def piece(content: Any, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None} | choice]}


def stream(events: list[Any], *, is_marked: bool = True) -> bytes:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([*lines, *(["data: [DONE]\n\n"] if is_marked else [])]).encode()


def whole(text: str = "four") -> bytes:
    message = {"role": "assistant", "content": text}
    document = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE}
    return json.dumps(document).encode()


@contextmanager
def serving(server: Server) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(*server.get(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(*server.post(self.path, body))

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def answers(url: str, n: int = 2, **settings: Any) -> tuple[ServerEngine, list[Generation]]:
    engine = ServerEngine(Model("m", "server:1"), EngineSettings(engine="server", base_url=url, **settings))
    found = dict(engine.generate([GenerationRequest(prompt, 8) for prompt in PROMPTS[:n]]))
    return engine, [found[place] for place in range(n)]


def variant(**methods: Callable[..., Any]) -> type[Server]:
    return type("Variant", (Server,), methods)


def refuses(*names: str) -> Callable[[Server, dict[str, Any]], Reply]:
    def answer(self: Server, body: dict[str, Any]) -> Reply:
        if any(name in json.dumps(body) for name in names):
            return 422, JSON, b'{"detail": "extra fields are not permitted"}'
        return 200, "text/event-stream", stream(self.events())

    return answer


def only_models(status: int, kind: str, body: bytes) -> Callable[[Server, str], Reply]:
    def get(self: Server, path: str) -> Reply:
        return Server.get(self, path) if path == "/v1/models" else (status, kind, body)

    return get


def models(listed: Any, path: str) -> Reply:
    return (200, JSON, json.dumps(listed).encode()) if path == "/v1/models" else (404, JSON, b"{}")


def events_of(body: bytes) -> Reply:
    return 200, "text/event-stream", body


MESSAGE = {"choices": [{"message": {"role": "assistant", "content": "four"}, "finish_reason": "stop"}]}
TWO = [piece("fo"), piece("ur", finish_reason="stop")]
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "four"}]
VARIANTS: dict[str, type[Server]] = {
    "as it should be": Server,
    "no continuous counts": variant(answer=refuses("continuous_usage_stats")),
    "no counts": variant(answer=refuses("stream_options")),
    "probes are forbidden": variant(get=only_models(403, JSON, b"{}")),
    "probes are bad requests": variant(get=only_models(400, "text/html", b"<html>")),
    "probes fail": variant(get=only_models(418, JSON, b"[[[")),
    "the version is a text": variant(get=only_models(200, JSON, b'"0.9.1"')),
    "the version is a list": variant(get=only_models(200, JSON, b"[1, 2]")),
    "a bare list of models": variant(get=lambda self, path: (200, JSON, json.dumps(MODELS["data"]).encode())),
    "no list of models": variant(get=lambda self, path: (400, JSON, b'{"error": "no"}')),
    "no reason at the end": variant(
        events=lambda self: [piece("four"), {"choices": [], "usage": USAGE}],
    ),
    "an empty reason at the end": variant(events=lambda self: [piece("four", finish_reason="")]),
    "error is null": variant(events=lambda self: [piece("four", finish_reason="stop") | {"error": None}]),
    "error is empty": variant(events=lambda self: [piece("four", finish_reason="stop") | {"error": {}}]),
    "text in parts": variant(events=lambda self: [piece(PARTS, finish_reason="stop")]),
    "texts in a list": variant(events=lambda self: [piece(["fo", "ur"], finish_reason="stop")]),
    "whole JSON": variant(answer=lambda self, body: (200, JSON, whole())),
    "whole JSON as plain text": variant(answer=lambda self, body: (200, "text/plain", whole())),
    "events as plain text": variant(answer=lambda self, body: (200, "text/plain", stream(self.events()))),
    "a document on each line": variant(
        answer=lambda self, body: (
            200,
            "application/x-ndjson",
            "\n".join(json.dumps(event) for event in self.events()).encode(),
        )
    ),
    "a message in an event": variant(events=lambda self: [MESSAGE]),
    "several choices in an event": variant(
        events=lambda self: [
            {"choices": [{"index": 1, "delta": {"content": "five"}}, *piece("four")["choices"]]},
            {"choices": [{"index": 1, "delta": {"content": "five"}, "finish_reason": "stop"}]},
            piece("", finish_reason="stop"),
        ]
    ),
    "thinking under another name": variant(
        events=lambda self: [{"choices": [{"delta": {"thinking": "hm"}}]}, piece("four", finish_reason="eos")]
    ),
    "a part of reasoning": variant(
        events=lambda self: [piece([{"type": "reasoning", "text": "hm"}, PARTS[1]], finish_reason="stop")]
    ),
    "a byte order mark": variant(answer=lambda self, body: events_of(b"\xef\xbb\xbf" + stream([MESSAGE]))),
    "no empty line after the last event": variant(
        answer=lambda self, body: events_of(stream(TWO).rpartition(b"data: [DONE]")[0].rstrip())
    ),
    "no empty lines between events": variant(
        answer=lambda self, body: events_of(stream(TWO).replace(b"\n\n", b"\n"))
    ),
    "empty data to stay connected": variant(answer=lambda self, body: events_of(b"data: \n\n" + stream(TWO))),
    "another spelling of the end": variant(
        answer=lambda self, body: events_of(stream([piece("four")], is_marked=False) + b'data: "[done]" \n\n')
    ),
    "models without an id": variant(get=lambda self, path: models({"data": [{"name": "m"}]}, path)),
    "models by name alone": variant(get=lambda self, path: models({"data": ["n", "m"]}, path)),
    "one model that is no list": variant(get=lambda self, path: models({"data": {"id": "m"}}, path)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_server_variants_all_give_the_answer(name: str) -> None:
    with serving(VARIANTS[name]()) as url:
        engine, found = answers(url)
    assert [(one.text, one.finish_reason) for one in found] == [("four", "stop")] * 2
    assert engine.refusals == []
    if name == "text in parts":
        assert found[0].thinking == "hm"


def test_server_variants_an_answer_without_a_reason_that_filled_its_budget_was_cut_off() -> None:
    full = {"prompt_tokens": 5, "completion_tokens": 8}
    ends = variant(events=lambda self: [piece("four"), {"choices": [], "usage": full}])
    with serving(ends()) as url:
        _, found = answers(url)
    assert found[0].finish_reason == "length"


@pytest.mark.parametrize(
    "reason", ["max_tokens", "MAX_TOKENS", "model_length", "incomplete", {"type": "length"}], ids=str
)
def test_server_variants_an_answer_is_cut_off_in_the_words_of_any_server(reason: Any) -> None:
    server = variant(events=lambda self: [piece("fo", finish_reason=reason)])
    with serving(server()) as url:
        _, found = answers(url)
    assert [(one.text, one.finish_reason) for one in found] == [("fo", "length")] * 2


BROKEN_OFF: dict[str, tuple[dict[str, Any], str]] = {
    "an object": ({"object": "error", "message": "out of memory", "code": 500}, "answering: out of memory"),
    "a type": ({"type": "error", "message": "overloaded"}, "answering: overloaded"),
    "a code": ({"code": 502, "message": "gone"}, "answering: gone"),
    "a detail": ({"detail": "gone"}, "answering: gone"),
    "errors": ({"errors": [{"message": "gone"}]}, "answering: gone"),
    "a choice": ({"choices": [{"delta": {}, "error": {"message": "gone"}}]}, "answering: gone"),
    "no words": ({"object": "error"}, "answering: it does not say why"),
    "an aborted answer": (piece("", finish_reason="abort"), "broke off an answer (`abort`)"),
    "an ended system": (piece("", finish_reason="Network_Error"), "broke off an answer (`network_error`)"),
}


@pytest.mark.parametrize("kind", BROKEN_OFF)
def test_server_variants_an_answer_that_breaks_off_with_a_mark_at_the_end_is_none(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runners.engines.server.api.ATTEMPTS", 1)
    event, says = BROKEN_OFF[kind]
    server = variant(events=lambda self: [piece("fo"), event])
    with serving(server()) as url, pytest.raises(EngineError) as caught:
        answers(url)
    assert (caught.value.reason, says in str(caught.value)) == ("engine_died", True)


@pytest.mark.parametrize(
    "event", [{"type": "ping"}, {"code": 200, "message": "ok"}, {"status": "busy"}], ids=str
)
def test_server_variants_an_event_of_another_kind_is_no_failure(event: dict[str, Any]) -> None:
    server = variant(events=lambda self: [event, piece("four", finish_reason="stop"), event])
    with serving(server()) as url:
        _, found = answers(url)
    assert [one.text for one in found] == ["four"] * 2


def test_server_variants_a_stream_without_reason_and_mark_is_broken_off() -> None:
    ends = variant(
        answer=lambda self, body: (200, "text/event-stream", stream([piece("fo")], is_marked=False))
    )
    with serving(ends()) as url, pytest.raises(Exception, match="in the middle of an answer"):
        answers(url, n=1)


def test_server_variants_one_failure_is_asked_again() -> None:
    class FailsOnce(Server):
        has_failed = False

        def answer(self, body: dict[str, Any]) -> Reply:
            if not self.has_failed:
                self.has_failed = True
                return 500, JSON, b'{"error": {"message": "hiccup"}}'
            return super().answer(body)

    with serving(FailsOnce()) as url:
        _, found = answers(url, concurrency=1)
    assert [one.text for one in found] == ["four", "four"]


def test_server_variants_a_server_that_always_fails_ends_with_its_words() -> None:
    fails = variant(answer=lambda self, body: (500, JSON, b'{"error": {"message": "out of order"}}'))
    with serving(fails()) as url, pytest.raises(EngineError, match="out of order") as caught:
        answers(url, n=1)
    assert caught.value.reason == "engine_died"


class RefusesOne(Server):
    """One question is too long for the context."""

    def answer(self, body: dict[str, Any]) -> Reply:
        if "question 3" in json.dumps(body):
            return 400, JSON, b'{"error": {"message": "maximum context length is 4096 tokens"}}'
        return super().answer(body)


def test_server_variants_a_refused_request_costs_itself_alone() -> None:
    with serving(RefusesOne()) as url:
        engine, found = answers(url, n=6)
    assert [one.finish_reason for one in found] == ["stop"] * 3 + ["refused"] + ["stop"] * 2
    assert found[3].text == ""
    assert len(engine.refusals) == 1
    assert "maximum context length is 4096" in engine.refusals[0]


def test_server_variants_a_server_that_refuses_everything_is_an_error() -> None:
    refuses_all = variant(answer=lambda self, body: (400, JSON, b'{"error": {"message": "no chat here"}}'))
    with serving(refuses_all()) as url, pytest.raises(EngineError, match="no chat here") as caught:
        answers(url, n=6)
    assert caught.value.reason == "unsupported"


class Forbids(Server):
    """HTTP 403 for some questions; the others are answered once as many have been refused."""

    def __init__(self, questions: set[int], *, answers_after: int = 0, status: int = 403) -> None:
        super().__init__()
        self.questions, self.status = questions, status
        self.n_left = answers_after
        self.is_time = threading.Event()
        if not answers_after:
            self.is_time.set()

    def answer(self, body: dict[str, Any]) -> Reply:
        number = int(body["messages"][0]["content"].split()[1])
        if number in self.questions:
            with self.lock:
                self.n_left -= 1
                if self.n_left == 0:
                    self.is_time.set()
            return self.status, JSON, b'{"error": {"message": "blocked by the content filter"}}'
        assert self.is_time.wait(30.0)
        return super().answer(body)


def test_server_variants_forbidden_first_documents_cost_themselves_alone() -> None:
    refused = set(range(10))  # more than are forgiven if nothing is answered, all of them before the answer
    with serving(Forbids(refused, answers_after=len(refused))) as url:
        engine, found = answers(url, n=12, concurrency=12)
    assert [one.finish_reason for one in found] == ["refused"] * 10 + ["stop"] * 2
    assert {"HTTP 403): blocked by the content filter" in one for one in engine.refusals} == {True}


@pytest.mark.parametrize("n", [3, 40])
def test_server_variants_a_server_that_forbids_everything_ends_the_run_with_its_words(n: int) -> None:
    server = Forbids(set(range(n)))
    with serving(server) as url, pytest.raises(TrackerError, match="blocked by the content filter") as caught:
        answers(url, n=n, concurrency=4)
    assert not isinstance(caught.value, EngineError)  # which would cost the task alone
    assert "TRACKER_SERVER_API_KEY" in caught.value.hint
    assert server.n_posts < 20


def test_server_variants_a_wrong_key_ends_the_run_at_once() -> None:
    server = Forbids({0}, status=401)
    with serving(server) as url, pytest.raises(TrackerError, match="requires a valid API key"):
        answers(url, n=40, concurrency=1)
    assert server.n_posts == 2  # with the look for log-probabilities


def test_server_variants_a_server_without_tls_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.engines.server.api.ATTEMPTS", 1)
    with serving(Server()) as url, pytest.raises(TrackerError, match="cannot be reached") as caught:
        answers(url.replace("http://", "https://"))
    assert "use `http://`" in caught.value.hint


def test_server_variants_an_address_that_is_missing_costs_the_task_alone() -> None:
    with serving(Forbids(set(range(40)), status=404)) as url, pytest.raises(EngineError) as caught:
        answers(url, n=40, concurrency=4)
    assert (caught.value.reason, "HTTP 404" in str(caught.value)) == ("unsupported", True)


def test_server_identity_depends_on_the_address_and_the_digest_of_the_weights(settings: Settings) -> None:
    class Ollama(Server):
        digest = "aaa"

        def get(self, path: str) -> Reply:
            said = {
                "/v1/models": MODELS,
                "/api/version": {"version": "0.9"},
                "/api/tags": {"models": [{"name": "m:latest", "digest": self.digest}]},
            }
            return (200, JSON, json.dumps(said[path]).encode()) if path in said else (404, JSON, b"{}")

    def revision(url: str) -> str:
        return served_model("m", EngineSettings(engine="server", base_url=url), settings).revision

    server = Ollama()
    with serving(server) as url, serving(Ollama()) as other:
        first = revision(url)
        assert revision(url) == first
        assert revision(other) != first
        server.digest = "bbb"
        assert revision(url) != first
