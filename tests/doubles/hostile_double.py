"""Servers that no one should meet: endless, packed, deep, slow, false and talkative answers on loopback."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

POLL_S = 0.01
MIB = 2**20
BOMB_MIB = 1500  # unpacked; 1.5 MB on the wire
DRIP_S = 0.2  # between two bytes of a slow answer


def bomb(wbits: int, n_mib: int = BOMB_MIB) -> bytes:
    """Blanks, packed: 31 is gzip, 15 is deflate. The end, which no caller should reach, is missing."""
    packer = zlib.compressobj(6, zlib.DEFLATED, wbits)
    first, again = (packer.compress(b" " * MIB) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * (n_mib - 1)


@dataclass
class Hostile:
    """One server: what it answers by path, and what it was told."""

    modes: dict[str, Callable[[Any], None]] = field(default_factory=dict)
    mode: str = ""  # of every path without its own mode
    requests: list[dict[str, Any]] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    elsewhere: str = ""  # where redirects lead


class HostileHandler(BaseHTTPRequestHandler):
    """One connection; `hostile` is set by `running_hostile`."""

    hostile: Hostile
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        told = {name.lower(): value for name, value in self.headers.items()}
        self.hostile.requests.append({"path": self.path, "headers": told, "body": body})
        path = self.path.partition("?")[0]
        mode = self.hostile.modes.get(path) or MODES[self.hostile.mode or path.rpartition("/")[2]]
        self.close_connection = True
        with suppress(OSError):
            mode(self)

    def do_POST(self) -> None:
        self.do_GET()

    def do_HEAD(self) -> None:
        self.do_GET()

    def send(self, body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        """One honest answer."""
        self.begin(status, kind, content_length=str(len(body)), **headers)
        self.wfile.write(body)

    def begin(self, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        """The head of an answer."""
        self.send_response(status)
        self.send_header("content-type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def _endless(part: bytes, kind: str = "application/json") -> Callable[[HostileHandler], None]:
    def answer(to: HostileHandler) -> None:
        to.begin(kind=kind)
        while True:
            to.wfile.write(part)

    return answer


def _drip(to: HostileHandler, head: bytes, part: bytes) -> None:
    to.wfile.write(head)
    while not to.hostile.left.wait(DRIP_S):
        to.wfile.write(part)
        to.wfile.flush()


def _slow_head(to: HostileHandler) -> None:
    _drip(to, b"HTTP/1.1 200 OK\r\nx: ", b"y")


def _slow_body(to: HostileHandler) -> None:
    _drip(to, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n", b" ")


def _slow_comments(to: HostileHandler) -> None:
    _drip(to, b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", b": wait\n\n")


def _endless_head(to: HostileHandler) -> None:
    to.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        to.wfile.write(b"x-more: " + b"y" * 5000 + b"\r\n")


def _continues(to: HostileHandler) -> None:
    while True:
        to.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def _too_short(to: HostileHandler) -> None:
    to.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{}")


def _junk_chunks(to: HostileHandler) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    to.wfile.write(head + b"zzzz\r\n{}\r\n")


def _echo(to: HostileHandler) -> None:
    """An error that repeats every header, and the key alone."""
    words = " ".join(f"{name}: {value}" for name, value in to.headers.items())
    key = (to.headers.get("authorization") or "").removeprefix("Bearer ")
    message = f"bad request {words} {key} {json.dumps(key)} {to.path}"
    to.send(json.dumps({"error": {"message": message}}).encode(), 400)


def _echo_stream(to: HostileHandler) -> None:
    key = to.headers.get("authorization") or ""
    event = {"choices": [{"text": f"I know {key}", "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
    to.begin(kind="text/event-stream")
    to.wfile.write(f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())


def _deep_stream(to: HostileHandler) -> None:
    to.begin(kind="text/event-stream")
    to.wfile.write(b"data: " + b"[" * 200_000 + b"\n\n")


def _header_echo(to: HostileHandler) -> None:
    """A body that repeats the key as the name of a model."""
    key = to.headers.get("x-api-key") or to.headers.get("authorization") or ""
    to.send(json.dumps({"data": [{"slug": key, "name": key, "evaluations": {"mmlu": 0.5}}]}).encode())


def _redirect(status: int, place: str) -> Callable[[HostileHandler], None]:
    def answer(to: HostileHandler) -> None:
        to.send(b"", status, location=place.format(elsewhere=to.hostile.elsewhere, here=to.hostile.url))

    return answer


EVENT = b'data: {"choices":[{"text":"' + b"A" * MIB + b'"}]}\n\n'
MODES: dict[str, Callable[[HostileHandler], None]] = {
    "gzip": lambda to: to.send(bomb(31), content_encoding="gzip"),
    "deflate": lambda to: to.send(bomb(15), content_encoding="deflate"),
    "broken-gzip": lambda to: to.send(b"no gzip at all", content_encoding="gzip"),
    "endless": _endless(b" " * MIB),
    "endless-line": _endless(b"A" * MIB, kind="text/event-stream"),
    "endless-events": _endless(EVENT, kind="text/event-stream"),
    "endless-head": _endless_head,
    "continues": _continues,
    "deep": lambda to: to.send(b"[" * 200_000),
    "deep-and-closed": lambda to: to.send(b'{"data":' * 900 + b"1" + b"}" * 900),
    "deep-stream": _deep_stream,
    "slow-head": _slow_head,
    "slow-body": _slow_body,
    "slow-comments": _slow_comments,
    "too-short": _too_short,
    "junk-chunks": _junk_chunks,
    "binary": lambda to: to.send(bytes(range(256)) * 4),
    "surrogate": lambda to: to.send(b'{"data":[{"id":"\\ud800","max_model_len":1e999}],"version":"\\ud800"}'),
    "shapes": lambda to: to.send(b'{"data":{"id":[]},"version":{"a":[]},"choices":{},"usage":[]}'),
    "numbers": lambda to: to.send(
        b'{"data":[{"id":5,"max_model_len":' + b"9" * 4000 + b'}],"version":1e999}'
    ),
    "charset": lambda to: to.send(b"{}", kind="application/json; charset=zip"),
    "echo": _echo,
    "echo-stream": _echo_stream,
    "header-echo": _header_echo,
    "elsewhere": _redirect(302, "{elsewhere}/header-echo"),
    "elsewhere-307": _redirect(307, "{elsewhere}/header-echo"),
    "metadata": _redirect(302, "http://169.254.169.254/latest/meta-data/"),
    "decimal": _redirect(302, "http://2130706433/"),
    "octal": _redirect(302, "https://0177.0.0.1/"),
    "mapped": _redirect(302, "https://[::ffff:127.0.0.1]/"),
    "file": _redirect(302, "file:///etc/passwd"),
    "loop": _redirect(302, "{here}/loop"),
    "no-address": _redirect(302, "http://[::1"),
}


@contextmanager
def running_hostile(**hostile: Any) -> Iterator[Hostile]:
    """A server on a free port."""
    ours = Hostile(**hostile)
    handler = type("BoundHandler", (HostileHandler,), {"hostile": ours})
    server = _Quiet(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True)
    thread.start()
    ours.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield ours
    finally:
        ours.left.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is what is tested."""


__all__ = ["MODES", "Hostile", "running_hostile"]
