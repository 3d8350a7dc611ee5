"""A server whose answers go wrong by chance: a seed decides how, for each document and each attempt.

`Script` is how the server treats a document: some faults, then an answer that is finished, one that is
finished and empty, or a fault for ever. `Misbehaviour.finished` notes every text that was sent whole.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JSON, EVENTS = "application/json", "text/event-stream"
USAGES: tuple[Any, ...] = (
    None, {}, [], "many", {"prompt_tokens": 5, "completion_tokens": 2}, {"completion_tokens": -1},
    {"completion_tokens": 1e300, "prompt_tokens": "5"}, {"prompt_tokens": 3, "prompt_tokens_details": 7},
    {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": None}},
)  # fmt: skip
# statuses of one document; those of all (401, 403) end a run and have their own test
STATUSES = (400, 404, 408, 409, 413, 418, 422, 425, 429, 500, 502, 503, 504)
WORDS: tuple[Any, ...] = (
    {"error": {"message": "maximum context length is 4096 tokens", "type": "x", "param": None}},
    {"error": "overloaded"}, {"detail": [{"loc": ["body", "messages"], "msg": "no", "type": "value_error"}]},
    {"error": None}, {"message": {"detail": "no"}}, [], None, 7, "no", {"error": {"message": ["no", {}]}},
    {"error": {"message": "Unsupported parameter: 'seed'", "param": "seed"}},
    {"error": {"message": "n" * 300_000}},
)  # fmt: skip
# events that no server should send; the stream ends after them
BROKEN_EVENTS: tuple[Any, ...] = (
    {"choices": "text"}, {"choices": [7]}, {"choices": [None]}, {"choices": {"a": 1}},
    {"choices": [{"delta": 5}]}, {"choices": [{"delta": {"content": 5}}]},
    {"choices": [{"delta": {"content": [7]}}]}, {"choices": [{"delta": {"reasoning": 4}}]}, 7, [], "x", None,
    {"error": {"message": "CUDA error"}}, {"error": "busy"}, {"error": ["busy"]},
)  # fmt: skip


def event(content: Any = None, *, reason: Any = None, **more: Any) -> dict[str, Any]:
    delta = ({} if content is None else {"content": content}) | more
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def stream(events: list[Any], *, end: str = "\n\n", is_marked: bool = True) -> bytes:
    lines = [f"data: {json.dumps(one)}{end}" for one in events]
    return "".join([*lines, *([f"data: [DONE]{end}"] if is_marked else [])]).encode()


@dataclass(frozen=True)
class Reply:
    """One answer of the server; `cut` bytes of the body are sent, then the connection is reset."""

    status: int = 200
    kind: str = EVENTS
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    pause_s: float = 0.0


def good(chance: random.Random, text: str) -> Reply:
    """A finished answer in one of the many shapes that servers give it."""
    usage = chance.choice(USAGES)
    half = len(text) // 2
    pieces = chance.choice([[text], [text[:half], text[half:]], list(text)])
    events: list[Any] = [event(piece) for piece in pieces]
    events.append(event(reason=chance.choice(["stop", "eos", "end_turn"])))
    events.insert(chance.randrange(len(events)), chance.choice([event(), {"choices": []}, {"choices": None}]))
    if usage is not None:
        events.append({"choices": [], "usage": usage, "x_extra": {"a": [1]}})
    message = {"role": "assistant", "content": text}
    whole = {
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
        "error": None,
    }
    shapes: list[Callable[[], Reply]] = [
        lambda: Reply(body=stream(events)),
        lambda: Reply(body=stream(events, end="\r\n\r\n")),
        lambda: Reply(body=b": keep-alive\n\n" + stream(events, is_marked=False)),
        lambda: Reply(body=gzip.compress(stream(events)), headers={"content-encoding": "gzip"}),
        lambda: Reply(body=stream(events), kind="text/plain"),
        lambda: Reply(body=json.dumps(whole).encode(), kind=JSON),
        lambda: Reply(
            body=b"\n".join(json.dumps(one).encode() for one in events), kind="application/x-ndjson"
        ),
        lambda: Reply(body=stream(events), pause_s=chance.random() / 100),
        lambda: Reply(body=stream(events), headers={"retry-after": "9", "x-weird": "\xe9"}),
    ]
    return chance.choice(shapes)()


def empty(chance: random.Random) -> Reply:
    """Finished, but without text: thinking alone, a tool call, a filter, nothing."""
    calls = [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]
    last = chance.choice([
        [event(reasoning_content="hm"), event(reason="stop")],
        [event(tool_calls=calls), event(reason="tool_calls")],
        [event(reason="content_filter")],
        [event(""), event(reason="stop")],
        [event(refusal="no", reason="stop")],
        [event([{"type": "thinking", "thinking": "hm"}]), event(reason="stop")],
    ])  # fmt: skip
    return Reply(body=stream(last))


def fault(chance: random.Random) -> Reply:
    """No answer, in one of many ways."""
    begun = stream([event("par"), event("tial")], is_marked=False)
    document = json.dumps({"choices": [{"message": {"content": "x" * 50}}]}).encode()
    broken = chance.choice(BROKEN_EVENTS)
    shapes: list[Callable[[], Reply]] = [
        lambda: Reply(chance.choice(STATUSES), JSON, json.dumps(chance.choice(WORDS)).encode()),
        lambda: Reply(chance.choice(STATUSES), "text/html", b"<html>" + bytes(chance.randbytes(20))),
        lambda: Reply(429, JSON, b"{}", {"retry-after": chance.choice(["0", "soon", "-1", "", "9" * 30])}),
        lambda: Reply(chance.choice([204, 302, 304]), JSON),
        lambda: Reply(body=begun),
        lambda: Reply(body=begun, cut=chance.randrange(1, len(begun))),
        lambda: Reply(body=b"", cut=0),
        lambda: Reply(body=stream([event("par"), broken])),
        lambda: Reply(body=stream([broken], is_marked=False)),
        lambda: Reply(body=b"data: {\n\n"),
        lambda: Reply(body=b"data: " + chance.randbytes(40).replace(b"\n", b"") + b"\n\n"),
        lambda: Reply(kind=JSON, body=document[: chance.randrange(len(document) - 1)]),
        lambda: Reply(
            kind=JSON, body=chance.choice([b"null", b"[]", b"{}", b"7", b'"four"', b"", b"[" * 5000])
        ),
        lambda: Reply(kind="text/html", body=b"<html>sign in</html>"),
        lambda: Reply(body=stream([event("x", reason="stop")]), headers={"content-encoding": "gzip"}),
        lambda: Reply(kind=JSON, body=document, headers={"content-length": "99999"}),
        lambda: Reply(body=begun, headers={"transfer-encoding": "chunked"}),
    ]
    return chance.choice(shapes)()


@dataclass
class Script:
    """The replies of one document, in order; the last one for ever."""

    replies: list[Reply]
    text: str | None = None  # of the last reply; None: it is a fault
    n_asked: int = 0


@dataclass
class Misbehaviour:
    """The scripts by document, and what was sent whole."""

    scripts: dict[str, Script]
    finished: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""


def misbehaviour(seed: int, texts: dict[str, str], *, attempts: int) -> Misbehaviour:
    """Scripts for the documents, of which at least one is answered at once."""
    chance = random.Random(seed)
    scripts = {}
    for n, (name, text) in enumerate(texts.items()):
        kind = "good" if n == 0 else chance.choices(["good", "empty", "fault"], [6, 1, 2])[0]
        n_faults = 0 if n == 0 else chance.choice([0, 0, 1, attempts - 1, attempts + 1])
        faults = [fault(chance) for _ in range(n_faults)]
        if kind == "fault":
            scripts[name] = Script([*faults, fault(chance)])
        else:
            last = good(chance, text) if kind == "good" else empty(chance)
            scripts[name] = Script([*faults, last], text if kind == "good" else "")
    return Misbehaviour(scripts)


class MisbehavingHandler(BaseHTTPRequestHandler):
    """One connection; `ours` is set by `running_misbehaviour`."""

    ours: Misbehaviour

    def do_GET(self) -> None:
        models = self.path == "/v1/models"
        body = json.dumps({"data": [{"id": "m", "owned_by": "acme"}]} if models else {}).encode()
        self._send(Reply(200 if models else 404, JSON, body))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "messages" not in body:
            self._send(Reply(400, JSON, b'{"error": "no completions"}'))
            return
        name = next(
            n for n in self.ours.scripts if re.search(rf"{re.escape(n)}$", body["messages"][-1]["content"])
        )
        script = self.ours.scripts[name]
        with self.ours.lock:
            place = min(script.n_asked, len(script.replies) - 1)
            script.n_asked += 1
        is_last = place == len(script.replies) - 1
        with suppress(OSError):
            self._send(script.replies[place])
        if is_last and script.text is not None:
            with self.ours.lock:
                self.ours.finished[name] = script.text

    def _send(self, reply: Reply) -> None:
        threading.Event().wait(reply.pause_s)
        self.send_response(reply.status)
        headers = {"Content-Type": reply.kind, "content-length": str(len(reply.body))} | reply.headers
        if "transfer-encoding" in reply.headers or reply.cut is not None:
            headers.pop("content-length")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body[: reply.cut])
        if reply.cut is not None:  # reset, not closed in order
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *args: Any) -> None:
        pass


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was reset is what is tested."""


@contextmanager
def running_misbehaviour(ours: Misbehaviour) -> Iterator[Misbehaviour]:
    """The server on a free port."""
    handler = type("BoundHandler", (MisbehavingHandler,), {"ours": ours})
    server = _Quiet(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    ours.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield ours
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
