"""The Hub with its lists and leaderboards, and the other sources, on one port, with their real protocols."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import ROOT
from tests.doubles.hub_double import Hub, Response

FIXTURES = ROOT / "tests" / "fixtures" / "ingest"
LIST_FIELDS = ("_id", "id")
JSON = {"Content-Type": "application/json; charset=utf-8"}
HTML = (200, {"Content-Type": "text/html"}, b"<html><body>Just a moment...</body></html>")


def recorded(name: str) -> Any:
    """The body of one recorded answer."""
    response = json.loads((FIXTURES / f"{name}.response.json").read_text())["response"]
    return response.get("body", response.get("body_text"))


def response(name: str) -> Response:
    """One recorded answer, unchanged."""
    one = json.loads((FIXTURES / f"{name}.response.json").read_text())["response"]
    return one["status"], one["headers"], json.dumps(one["body"]).encode()


def epoch_files(folder: str) -> dict[str, str]:
    """The CSV files of Epoch's ZIP in one of its layouts, by path."""
    root = FIXTURES / folder
    return {path.relative_to(root).as_posix(): path.read_text() for path in sorted(root.rglob("*.csv"))}


def epoch_zip(folder: str, *, without: Iterable[str] = (), top: str = "") -> bytes:
    """Epoch's ZIP in one of its layouts."""
    files = epoch_files(folder)
    return zipped({top + name: content for name, content in files.items() if name not in without})


def zipped(files: Mapping[str, str]) -> bytes:
    """The files as one ZIP."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """The rows as one Parquet file."""
    packed = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), packed)
    return packed.getvalue()


def arena_boards() -> dict[tuple[str, str], bytes]:
    """LMArena's files by config and split: the recorded board, older days of it, and boards like it."""
    recorded_board = (FIXTURES / "lmarena__text__latest.sample.parquet").read_bytes()
    rows = pq.read_table(io.BytesIO(recorded_board)).to_pylist()
    overall = [row for row in rows if row["category"] == "overall"]
    days = ("2025-11-05", "2026-02-26", "2026-04-19")
    full = [
        row | {"leaderboard_publish_date": on, "rating": row["rating"] - 9.0 * n}
        for n, on in enumerate(reversed(days))
        for row in rows
    ]
    agent = [
        {
            **{name: row[name] for name in ("model_name", "organization", "license", "category")},
            "score": (row["rating"] - 1450) / 1000,
            "score_ci_lower": -0.1,
            "score_ci_upper": 0.2,
            "observation_count": 500,
            "leaderboard_publish_date": "2026-06-04",
        }
        for row in overall
    ]
    boards = {("text", "latest"): rows, ("text", "full"): full}
    for config, some in (("text_style_control", rows), ("webdev", overall), ("agent", agent)):
        boards |= {(config, "latest"): some, (config, "full"): some}
    return {name: parquet(some) for name, some in boards.items()}


def token_shares(n_days: int = 30, last: date = date(2026, 11, 22)) -> dict[str, Any]:
    """An export of OpenRouter in its JSON form: names of the recorded list, invented shares."""
    models = (
        ("deepseek/deepseek-v4-flash-20260424", 0.31),
        ("openai/gpt-5-20250807", 0.2),
        ("ibm-granite/granite-4.1-8b", 0.12),
        ("stealth/space-bunny-alpha", 0.22),
        ("anthropic/claude-4.5-opus-20251124:free", 0.09),
        ("other", 0.06),
    )
    rows = [
        {
            "date": (last - timedelta(days=n)).isoformat(),
            "model_permaslug": name,
            "rank": None if name == "other" else rank,
            "total_tokens": int(share * 2e13),
            "share_of_daily_tokens": share,
        }
        for n in range(n_days)
        for rank, (name, share) in enumerate(models, 1)
    ]
    license_ = {"name": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"}
    head = {"dataset": "rankings-daily", "schema_version": "v1", "snapshot_date": last.isoformat()}
    return {**head, "license": license_, "row_count": len(rows), "rows": rows}


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
        "downloads": 100_000,  # enough for the queue, however long ago it was released
        "trendingScore": 1,
        "pipeline_tag": "text-generation",
        "tags": ["transformers", "safetensors", "conversational", "license:apache-2.0"],
        "cardData": {"license": "apache-2.0"},
        "safetensors": {"parameters": {"BF16": 1_000_000_000}, "total": 1_000_000_000},
    }
    return common | more


class SourcesHub(Hub):
    """The content of all sources; a test changes it between two ingests."""

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
            "/usage.json": json.dumps(token_shares()).encode(),
        }
        self.pages: dict[str, list[Any]] = {}  # documents that are sent one by one, by path
        self.arena = arena_boards()
        self.arena_card: dict[str, Any] = {"license": "cc-by-4.0"}
        self.records: dict[str, Any] = {}  # of Every Eval Ever, by object path
        self.answers: dict[str, list[Response]] = {}  # answers that are sent first, by path
        self.next_page_loops = False
        self.list_calls = 0

    @property
    def source_urls(self) -> dict[str, str]:
        """The value of `TRACKER_SOURCE_URLS`."""
        names = {"epoch": "epoch.zip", "models-dev": "modelsdev.json", "openrouter": "openrouter.json"}
        names |= {"artificial-analysis": "aa.json", "openrouter-usage": "usage.json"}
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
        if path in self.pages:
            self.requests.append(f"{method} {target}")
            number = int(query.get("page", ["1"])[0])
            some = self.pages[path][number - 1 : number]
            return _json(some[0]) if some else (404, dict(JSON), b'{"error": "no such page"}')
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
        arena = "/api/datasets/lmarena-ai/leaderboard-dataset"
        if path == arena:
            return _json({"id": arena.removeprefix("/api/datasets/"), "cardData": self.arena_card})
        config, _, split = path.removeprefix(f"{arena}/parquet/").removesuffix("/0.parquet").partition("/")
        if path.startswith(arena) and (config, split) in self.arena:
            if path.endswith("/0.parquet"):
                return 200, {}, self.arena[config, split]
            return _json([f"{self.url}{path}/0.parquet"])
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
