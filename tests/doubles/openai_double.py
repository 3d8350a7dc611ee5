"""A small real OpenAI-compatible server around a real, tiny language model: bigrams of bytes."""

from __future__ import annotations

import json
import math
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

CORPUS = b"the sky is blue and the grass is green.\ntwo plus two is four and the sea is blue.\n"
VOCABULARY = 256
SMOOTHING = 0.01
POLL_S = 0.01  # how soon the server notices that it must stop
WAIT_S = 30.0  # the longest wait of a test
COUNTS = Counter(pairwise(CORPUS))
TOTALS = Counter(CORPUS[:-1])


def log_prob(before: int, token: int) -> float:
    """The model: log p(token | byte before it)."""
    return math.log((COUNTS[before, token] + SMOOTHING) / (TOTALS[before] + SMOOTHING * VOCABULARY))


def likeliest(before: int) -> int:
    return max(range(VOCABULARY), key=lambda token: (log_prob(before, token), -token))


def written_after(prompt: str) -> str:
    """The greedy output of the model, to the end of the line."""
    written = bytearray()
    before = (prompt.encode() or b"\n")[-1]
    while len(written) < 200 and (token := likeliest(before)) != ord("\n"):
        written.append(token)
        before = token
    return written.decode(errors="replace")


@dataclass
class Behaviour:
    """The abilities and faults of the server."""

    models: list[dict[str, Any]] = field(default_factory=lambda: [{"id": "acme/bigram", "owned_by": "vllm"}])
    places: dict[str, dict[str, Any]] = field(default_factory=lambda: {"/version": {"version": "0.32.0"}})
    gives_log_probs: bool = True
    has_chat: bool = True  # False: a base model, whose server rejects messages
    key: str = ""  # that it requires
    query: str = ""  # that each address must have
    refuses: str = ""  # refuses requests that contain this text, as too long
    reply: Callable[[str], str] = written_after
    thought: str = ""  # written before the reply
    parses_thinking: bool = True  # returns the thinking separately from the text
    broken: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # statuses of the first answers
    dies_after: int | None = None  # answers; then every connection is cut
    usage: dict[str, Any] = field(default_factory=dict)  # additions to the true token usage
    breaks_off: int = 0  # number of streams that end early
    one_document: str = ""  # content type of the single JSON object that is sent instead of a stream
    closes_early: bool = False  # that object is whole, but the connection ends before the promised length
    crowd: threading.Barrier | None = None  # answers only when this many requests are waiting
    endless_after: int | None = None  # answers; then each is streamed until the caller leaves
    left: threading.Event = field(default_factory=threading.Event)  # set when a caller leaves
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)  # of these requests
    n_answered: int = 0
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    """One connection; `behaviour` is set by `running_server`."""

    behaviour: Behaviour

    def do_GET(self) -> None:
        if not self._is_allowed():
            return
        if self.path == "/v1/models":
            self._send(200, {"object": "list", "data": self.behaviour.models})
        elif self.path in self.behaviour.places:
            self._send(200, self.behaviour.places[self.path])
        else:
            self._send(404, {"error": {"message": "Not Found"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._is_allowed():
            return
        ours = self.behaviour
        if self.path not in ("/v1/chat/completions", "/v1/completions"):
            self._send(404, {"error": {"message": "Not Found"}})
            return
        ours.requests.append(body)
        ours.paths.append(self.path)
        if self._fails():
            return
        if ours.refuses and ours.refuses in json.dumps(body):
            self._send(400, {"error": {"message": "maximum context length is 4096 tokens"}})
            return
        if self.path == "/v1/chat/completions" and not ours.has_chat:
            self._send(400, {"error": {"message": "default chat template is no longer allowed"}})
            return
        if ours.crowd is not None:
            ours.crowd.wait(WAIT_S)
        if self.path == "/v1/chat/completions":
            prompt = "\n".join(f"{m['role']}: {m['content']}" for m in body["messages"]) + "\nassistant: "
        else:
            prompt = body["prompt"]
        ours.n_answered += 1
        if body.get("stream") and ours.one_document:
            self._send_one_document(body, prompt)
        elif body.get("stream"):
            self._stream(body, prompt)
        else:
            self._send(200, self._completion(body, prompt))

    def _fails(self) -> bool:
        ours = self.behaviour
        if ours.dies_after is not None and ours.n_answered >= ours.dies_after:
            self.connection.shutdown(socket.SHUT_RDWR)
            return True
        if ours.broken:
            status, headers = ours.broken.pop(0)
            self._send(status, {"error": {"message": "not now"}}, headers)
            return True
        return False

    def _is_allowed(self) -> bool:
        key = self.behaviour.key
        self.path, _, query = self.path.partition("?")
        if query != self.behaviour.query:
            self._send(401, {"error": {"message": f"no access with {query}"}})
            return False
        if key and self.headers.get("Authorization") != f"Bearer {key}":
            self._send(401, {"error": {"message": f"wrong key {self.headers.get('Authorization')}"}})
            return False
        return True

    def _completion(self, body: dict[str, Any], prompt: str) -> dict[str, Any]:
        text = self.behaviour.reply(prompt)[: body["max_tokens"]]
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": "length", "logprobs": None}
        if self.behaviour.gives_log_probs and body.get("echo"):
            tokens = (prompt + text).encode()
            choice |= {"text": prompt + text, "logprobs": _log_probs(tokens)}
        usage = {"prompt_tokens": len(prompt.encode()), "completion_tokens": len(text.encode())}
        return {"choices": [choice], "usage": usage, "system_fingerprint": "fp_bigram"}

    def _stream(self, body: dict[str, Any], prompt: str) -> None:
        ours = self.behaviour
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if ours.endless_after is not None and ours.n_answered > ours.endless_after:
            self._stream_for_ever()
            return
        is_chat = "messages" in body
        thinks = is_chat and ours.thought and body.get("chat_template_kwargs") != {"enable_thinking": False}
        pieces = [("reasoning_content", c) for c in ours.thought] if thinks and ours.parses_thinking else []
        inline = f"<think>{ours.thought}</think>\n\n" if thinks and not ours.parses_thinking else ""
        answer = ours.reply(prompt)
        is_cut = False
        for stop in body.get("stop") or ():
            answer = answer.split(stop)[0]
        pieces += [("content", c) for c in inline + answer]
        if len(pieces) > body["max_tokens"]:
            pieces, is_cut = pieces[: body["max_tokens"]], True
        usage = {"prompt_tokens": len(prompt.encode()), "completion_tokens": len(pieces)} | ours.usage
        if ours.breaks_off:
            ours.breaks_off -= 1
            pieces, usage = pieces[:1], {}
        for kind, piece in pieces:
            choice = {"delta": {kind: piece}} if is_chat else {"text": piece}
            self._event({"choices": [choice | {"index": 0, "finish_reason": None}]})
        if usage:
            reason = "length" if is_cut else "stop"
            self._event({"choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": reason}]})
            self._event({"choices": [], "usage": usage})
            self.wfile.write(b"data: [DONE]\n\n")

    def _send_one_document(self, body: dict[str, Any], prompt: str) -> None:
        text = self.behaviour.reply(prompt)
        said = {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(text)}
        choices = [said | {"index": 0, "finish_reason": "stop"}]
        content = json.dumps({"choices": choices, "usage": usage}, indent=1).encode()
        self.send_response(200)
        self.send_header("Content-Type", self.behaviour.one_document)
        self.send_header("Content-Length", str(len(content) + 7 * self.behaviour.closes_early))
        self.end_headers()
        self.wfile.write(content)

    def _stream_for_ever(self) -> None:
        try:
            while True:
                self._event({"choices": [{"index": 0, "text": "la ", "delta": {"content": "la "}}]})
        except OSError:
            self.behaviour.left.set()

    def _event(self, document: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(document)}\n\n".encode())

    def _send(self, status: int, document: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


def _log_probs(tokens: bytes) -> dict[str, Any]:
    texts = [bytes([token]).decode(errors="replace") for token in tokens]
    pairs = list(pairwise(tokens))
    tops = []
    for (before, token), text in zip(pairs, texts[1:], strict=True):
        best = likeliest(before)
        tops.append({chr(best): log_prob(before, best)} | {text: log_prob(before, token)})
    return {
        "tokens": texts,
        "token_logprobs": [None, *(log_prob(before, token) for before, token in pairs)],
        "top_logprobs": [None, *tops],
        "text_offset": list(range(len(texts))),
    }


@contextmanager
def running_server(*, port: int = 0, **behaviour: Any) -> Iterator[Behaviour]:
    """A server on a free port, or on `port`."""
    ours = Behaviour(**behaviour)
    handler = type("BoundHandler", (Handler,), {"behaviour": ours})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True)
    thread.start()
    ours.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield ours
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
