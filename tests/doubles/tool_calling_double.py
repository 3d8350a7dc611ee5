"""A small real OpenAI-compatible server whose model makes tool calls from a script."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

POLL_S = 0.01
Call = tuple[str, dict[str, Any]]


@dataclass
class Script:
    """The calls that the model makes, one in each answer; then it says that it is done."""

    calls: Sequence[Call]
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)


class ScriptHandler(BaseHTTPRequestHandler):
    """One connection; `script` is set by `running_script`."""

    script: Script

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = len(self.script.requests)
        self.script.requests.append(body)
        message: dict[str, Any] = {"role": "assistant", "content": "done"}
        if number < len(self.script.calls):
            name, arguments = self.script.calls[number]
            function = {"name": name, "arguments": json.dumps(arguments)}
            message["content"] = None
            message["tool_calls"] = [{"id": f"call-{number}", "type": "function", "function": function}]
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
        }
        content = json.dumps(
            {
                "id": f"answer-{number}",
                "object": "chat.completion",
                "created": 1_764_000_000,
                "model": body["model"],
                "choices": [choice],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def running_script(*calls: Call) -> Iterator[Script]:
    """A server on a free port that makes these calls."""
    script = Script(calls)
    handler = type("BoundHandler", (ScriptHandler,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True)
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
