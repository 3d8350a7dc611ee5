"""The Hub with its lists and leaderboards, and the other sources, on one port, in their real protocols."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.hub_double import Hub, Response

FIXTURES = Path(__file__).parent / "fixtures" / "ingest"
LIST_FIELDS = ("_id", "id")
JSON = {"Content-Type": "application/json; charset=utf-8"}
HTML = (200, {"Content-Type": "text/html"}, b"<html><body>Just a moment...</body></html>")


def recorded(name: str) -> Any:
    """The body of one recorded answer."""
    response = json.loads((FIXTURES / f"{name}.response.json").read_text())["response"]
    return response.get("body", response.get("body_text"))


def response(name: str) -> Response:
    """One recorded answer as it came."""
    one = json.loads((FIXTURES / f"{name}.response.json").read_text())["response"]
    return one["status"], one["headers"], json.dumps(one["body"]).encode()


def epoch_zip(folder: str, *, without: Iterable[str] = (), top: str = "") -> bytes:
    """Epoch's ZIP in one of its layouts."""
    packed = io.BytesIO()
    root = FIXTURES / folder
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*.csv")):
            name = path.relative_to(root).as_posix()
            if name not in without:
                archive.writestr(top + name, path.read_text())
    return packed.getvalue()


def entry(name: str, modified: str = "2026-11-20T00:00:00.000Z", **more: Any) -> dict[str, Any]:
    """One model as the Hub lists it."""
    common: dict[str, Any] = {
        "_id": hashlib.sha1(name.encode()).hexdigest()[:24],
        "id": name,
        "author": name.partition("/")[0],
        "sha": hashlib.sha1(f"{name}{modified}".encode()).hexdigest(),
        "gated": False,
        "private": False,
        "disabled": False,
        "createdAt": modified,
        "lastModified": modified,
        "likes": 5,
        "downloads": 1000,
        "trendingScore": 1,
        "pipeline_tag": "text-generation",
        "tags": ["transformers", "safetensors", "conversational", "license:apache-2.0"],
        "cardData": {"license": "apache-2.0"},
        "safetensors": {"parameters": {"BF16": 1_000_000_000}, "total": 1_000_000_000},
    }
    return common | more


class SourcesHub(Hub):
    """What all sources have; a test changes it between two ingests."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[str, dict[str, Any]] = {}
        self.renamed: dict[str, str] = {}
        self.boards: dict[str, Any] = {
            "Idavidrein/gpqa": recorded("api_datasets__Idavidrein__gpqa__leaderboard")
        }
        self.documents: dict[str, bytes] = {
            "/epoch.zip": epoch_zip("epoch_newer"),
            "/modelsdev.json": json.dumps(recorded("modelsdev__api.json")).encode(),
            "/openrouter.json": json.dumps(recorded("openrouter__api_v1_models")).encode(),
            "/lmarena.parquet": (FIXTURES / "lmarena__text__latest.sample.parquet").read_bytes(),
        }
        self.records: dict[str, Any] = {}  # of Every Eval Ever, by object path
        self.answers: dict[str, list[Response]] = {}  # answers that come first, by path
        self.next_page_loops = False
        self.list_calls = 0

    @property
    def source_urls(self) -> dict[str, str]:
        """For `TRACKER_SOURCE_URLS`."""
        names = {"epoch": "epoch.zip", "models-dev": "modelsdev.json", "openrouter": "openrouter.json"}
        names["artificial-analysis"] = "aa.json"
        return {source: f"{self.url}/{path}" for source, path in names.items()}

    def put(self, *entries: dict[str, Any]) -> None:
        """List these models."""
        for one in entries:
            self.entries[one["id"]] = one
            self.infos[one["id"]] = {"siblings": [], "config": {}} | self.infos.get(one["id"], {}) | one

    def drop(self, name: str) -> None:
        """Delete a model."""
        del self.entries[name], self.infos[name]

    def answer(self, method: str, target: str, headers: dict[str, str]) -> Response:
        """The answer to one request, with an ETag."""
        path = urlsplit(target).path
        if self.answers.get(unquote(path)):
            self.requests.append(f"{method} {target}")
            return self.answers[unquote(path)].pop(0)
        status, more, body = self._answer(method, target, headers, unquote(path))
        if status == 200 and "ETag" not in more:
            more = more | {"ETag": f'W/"{hashlib.sha1(body).hexdigest()[:16]}"'}
            if headers.get("if-none-match") == more["ETag"]:
                return 304, more, b""
        return status, more, body

    def _answer(self, method: str, target: str, headers: dict[str, str], path: str) -> Response:
        query = parse_qs(urlsplit(target).query)
        if path in self.documents:
            self.requests.append(f"{method} {target}")
            return 200, {}, self.documents[path]
        if path == "/api/models" and "sort" in query and not self.broken and "search" not in query:
            self.requests.append(f"{method} {target}")
            return self._list(query)
        if path.startswith(("/api/datasets", "/datasets/")):
            self.requests.append(f"{method} {target}")
            return self._dataset(path)
        name = path.removeprefix("/api/models/")
        if path.startswith("/api/models/") and name in self.renamed:
            self.requests.append(f"{method} {target}")
            return 307, {"Location": f"/api/models/{self.renamed[name]}"}, b""
        return super().answer(method, target, headers)

    def _list(self, query: dict[str, list[str]]) -> Response:
        self.list_calls += 1
        wanted = query.get("filter", [])
        rows = [
            one
            for one in self.entries.values()
            if all(tag in one["tags"] for tag in wanted)
            and one["pipeline_tag"] in query.get("pipeline_tag", [one["pipeline_tag"]])
        ]
        rows.sort(key=lambda one: (one.get(query["sort"][0]) or 0, one["id"]), reverse=True)
        limit = int(query.get("limit", ["100"])[0])
        start = int(base64.b64decode(query["cursor"][0])) if "cursor" in query else 0
        fields = {*LIST_FIELDS, *query.get("expand[]", []), *query.get("expand", [])}
        page = [{k: v for k, v in one.items() if k in fields} for one in rows[start : start + limit]]
        more = dict(JSON)
        if start + limit < len(rows) or (self.next_page_loops and rows):
            at = 0 if self.next_page_loops else start + limit
            cursor = quote(base64.b64encode(str(at).encode()).decode(), safe="")
            kept = [(k, v) for k, values in query.items() for v in values if k != "cursor"]
            words = "&".join(f"{quote(k)}={quote(v)}" for k, v in kept)
            more["Link"] = f'<{self.url}/api/models?{words}&cursor={cursor}>; rel="next"'
        return 200, more, json.dumps(page).encode()

    def _dataset(self, path: str) -> Response:
        if path == "/api/datasets":
            return _json([{"id": name, "tags": ["benchmark:official"]} for name in self.boards])
        name = path.removeprefix("/api/datasets/").removesuffix("/leaderboard")
        if path.endswith("/leaderboard") and name in self.boards:
            return _json(self.boards[name])
        if path == "/api/datasets/lmarena-ai/leaderboard-dataset/parquet/text/latest":
            return _json([f"{self.url}/lmarena.parquet"])
        datastore = "/datasets/evaleval/EEE_datastore"
        if path.startswith(f"/api{datastore}/tree/main/"):
            return _json([{"type": "file", "path": "flat/indexes/by_collection/sample.jsonl"}])
        if path.endswith("by_collection/sample.jsonl"):
            lines = [json.dumps({"object_path": name}) for name in self.records]
            return 200, {}, "\n".join(lines).encode()
        name = path.removeprefix(f"{datastore}/resolve/main/")
        if name in self.records:
            return _json(self.records[name])
        return 404, {"X-Error-Code": "EntryNotFound", **JSON}, b'{"error":"not found"}'


def _json(document: Any) -> Response:
    return 200, dict(JSON), json.dumps(document).encode()
