"""A small local stand-in for the Hugging Face Hub: recorded metadata, and whole repositories from folders."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.conftest import ROOT

FIXTURES = ROOT / "tests" / "fixtures" / "hub"
POLL_S = 0.01  # how soon the server notices that it must stop
GOOD_TOKEN = "hf_goodgoodgoodgoodgoodgood"
API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|refs)(?:/([^/]+))?)?$")
RESOLVE = re.compile(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")
Response = tuple[int, dict[str, str], bytes]


def fixture(name: str) -> Response:
    """One recorded answer."""
    recorded = json.loads((FIXTURES / f"{name}.response.json").read_text())["response"]
    body = recorded["body_text"] if "body_text" in recorded else json.dumps(recorded["body"])
    return recorded["status"], dict(recorded["headers"]), body.encode()


class Hub:
    """The data of the stand-in, and the requests it received."""

    def __init__(self) -> None:
        self.url = ""
        self.infos: dict[str, dict[str, Any]] = {}  # recorded metadata by model_id
        self.trees: dict[tuple[str, str], list[dict[str, Any]]] = {}  # files of other commits
        self.folders: dict[str, Path] = {}  # repositories that are served whole
        self.data_sets: set[str] = set()  # names of data sets; they have no files
        self.broken: list[Response] = []  # answers that are sent first, in this order
        self.requests: list[str] = []
        self.answers_ranges = True
        for path in sorted(FIXTURES.glob("api_models__*.json")):
            info = json.loads(path.read_text())["response"]["body"]
            self.infos[info["id"]] = info

    def serve(self, model_id: str, folder: Path, **info: Any) -> str:
        """Serve a folder as a repository; return its commit."""
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        sha = hashlib.sha1(b"".join(files.values())).hexdigest()
        config = json.loads(files.get("config.json", b"{}"))
        self.folders[model_id] = folder
        self.infos[model_id] = {
            "id": model_id,
            "sha": sha,
            "gated": False,
            "config": config,
            "siblings": [{"rfilename": name} for name in files],
            **info,
        }
        return sha

    def answer(self, method: str, target: str, headers: dict[str, str]) -> Response:
        """The answer to one request."""
        self.requests.append(f"{method} {target}")
        if self.broken:
            return self.broken.pop(0)
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if token and token != GOOD_TOKEN:
            return fixture("error_401_bad_token__api_whoami-v2")
        url = urlsplit(unquote(target))
        if url.path == "/api/models":
            return self._search(parse_qs(url.query))
        if (name := url.path.removeprefix("/api/datasets/")) in self.data_sets:
            return _json({"id": name})
        if found := API.match(url.path):
            return self._api(found.group(1), found.group(2) or "", found.group(3) or "main", token=token)
        if found := RESOLVE.match(url.path):
            return self._file(found.group(1), found.group(3), headers, token=token)
        return fixture("error_404_repo__api_models__no-such-org__no-such-model")

    def _api(self, model_id: str, what: str, revision: str, *, token: str) -> Response:
        info = self.infos.get(model_id)
        if model_id == "example/disabled":
            return fixture("error_403_disabled__api_models__example__disabled")
        if info is None:
            if token:
                return fixture("error_404_repo__api_models__no-such-org__no-such-model")
            return fixture("error_401_repo_anonymous__api_models__no-such-org__no-such-model-2")
        if what == "tree" and (model_id, revision) in self.trees:
            return _json(self.trees[model_id, revision])
        if what == "refs":
            branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": info["sha"]}
            return _json({"branches": [branch], "converts": [], "tags": []})
        if revision not in ("main", info["sha"]):
            return fixture("error_404_revision__api_models__Qwen__Qwen3-8B__revision_nope")
        return _json(self._tree(model_id) if what == "tree" else info)

    def _tree(self, model_id: str) -> list[dict[str, Any]]:
        entries = []
        for path in sorted(self.folders[model_id].iterdir()) if model_id in self.folders else ():
            content = path.read_bytes()
            entry: dict[str, Any] = {"type": "file", "path": path.name, "size": len(content)}
            entry["oid"] = hashlib.sha1(content).hexdigest()
            if path.suffix in (".safetensors", ".gguf"):
                entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
                entry["lfs"]["pointerSize"] = 135
            entries.append(entry)
        return entries

    def _search(self, query: dict[str, list[str]]) -> Response:
        author, search = query.get("author", [""])[0], query.get("search", [""])[0]
        names = [n for n in self.infos if n.startswith(f"{author}/" if author else "")]
        return _json([{"id": name} for name in names if search.lower() in name.lower()])

    def _file(self, model_id: str, name: str, headers: dict[str, str], *, token: str) -> Response:
        info = self.infos[model_id]
        if info["gated"] and token != GOOD_TOKEN:
            case = "401" if model_id.startswith("meta-llama/") else "403"
            owner = model_id.replace("/", "__")
            return fixture(f"error_{case}_gated__resolve__{owner}__config.json")
        path = self.folders[model_id] / name if model_id in self.folders else None
        if path is not None and not path.is_file():
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": info["sha"]}, b""
        content = path.read_bytes() if path else b"{}"
        answer = {"X-Repo-Commit": info["sha"], "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        if name.endswith((".safetensors", ".gguf")):
            answer |= {"X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"'}
            answer |= {"X-Linked-Size": str(len(content))}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        if asked is None or not self.answers_ranges:
            return 200, answer, content
        start, end = int(asked.group(1)), int(asked.group(2) or len(content) - 1)
        answer["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return 206, answer, content[start : end + 1]


def _json(document: Any) -> Response:
    return 200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(document).encode()


@contextmanager
def running_hub(hub: Hub | None = None) -> Iterator[Hub]:
    """A Hub on a free port."""
    hub = hub or Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer, body = hub.answer(self.command, self.path, headers)
            self.send_response(status)
            for name, value in answer.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
