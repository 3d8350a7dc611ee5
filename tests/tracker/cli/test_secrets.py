"""Secrets planted in every variable and address: after real commands they stand nowhere."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.doubles.hostile_double import MODES, running_hostile
from tracker.cli import main
from tracker.errors import TrackerError
from tracker.logs import SafeFormatter, get_logger
from tracker.redaction import keep_secret, masked, repeats, without_known_secrets
from tracker.settings import address_secrets, load_settings
from tracker.store import Store

PLANTED = {
    "TRACKER_SERVER_API_KEY": "sk-PLANTED1/key+9",
    "TRACKER_ARTIFICIAL_ANALYSIS_KEY": "aa-PLANTED2-key",
    "HF_TOKEN": "hf_PLANTED3abcdefghij",
    "TRACKER_ACME_TOKEN": "acme-PLANTED4-token",
}
LOGIN, QUERY_KEY = "pw-PLANTED5$x", "PLANTED6query"
WORD = "PLANTED"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def planted(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, with secrets in the environment."""
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRACKER_SERVER_LOGINS", "")
    monkeypatch.setenv("TRACKER_SOURCE_TIMEOUT_S", "3")
    return home


def run(*argv: str) -> int:
    """The exit code of the command, in this process."""
    try:
        main(argv)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def stored_texts(home: Path) -> Iterator[tuple[str, bytes]]:
    """Everything in the home, also unpacked."""
    for path in sorted(home.rglob("*")):
        if not path.is_file():
            continue
        yield str(path), path.read_bytes()
        if path.suffix == ".zst":
            with pa.input_stream(str(path), compression="zstd") as stream:
                yield f"{path} (unpacked)", bytes(stream.read())
        if path.suffix == ".parquet":
            yield f"{path} (rows)", json.dumps(pq.read_table(path).to_pylist(), default=str).encode()


def forms(word: str) -> set[bytes]:
    """The secrets as somebody may find them."""
    secrets = [*PLANTED.values(), LOGIN, QUERY_KEY]
    pairs = [f"alice:{LOGIN}", *secrets]
    encoded = {base64.b64encode(one.encode()).decode().rstrip("=") for one in pairs}
    return {one.encode() for one in (word, quote(word), *secrets, *encoded)}


def assert_nowhere(home: Path, *outputs: str) -> None:
    texts = [*stored_texts(home), *(("output", text.encode()) for text in outputs)]
    assert len(texts) > len(outputs)
    found = [(where, form) for where, text in texts for form in forms(WORD) if form in text]
    assert found == []


@pytest.mark.parametrize(
    "mode",
    ["echo", "header-echo", "elsewhere", "deep", "binary", "too-short", "slow-body", "gzip", "metadata"],
)
def test_secrets_of_a_source_stand_nowhere_after_an_ingest(
    mode: str, planted: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    monkeypatch.setenv("TRACKER_SOURCE_TIMEOUT_S", "1.5")
    with running_hostile() as other, running_hostile(elsewhere=other.url) as server:
        url = server.url.replace("http://", f"http://alice:{quote(LOGIN)}@") + f"/{mode}?api_key={QUERY_KEY}"
        monkeypatch.setenv("TRACKER_SOURCE_URLS", json.dumps({"artificial-analysis": url}))
        assert run("ingest", "artificial-analysis", "--json") == 4
        assert server.requests[0]["headers"]["x-api-key"] == PLANTED["TRACKER_ARTIFICIAL_ANALYSIS_KEY"]
        assert other.requests == []
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    assert json.loads(out)
    assert_nowhere(planted, out, err)
    with Store.open(load_settings()) as store:
        dump = json.dumps([dict(row) for row in store.query("ingest_health", now=None)], default=str)
    assert WORD not in dump


def test_secrets_in_an_address_leave_a_log_that_is_still_of_use(
    planted: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    rows = {"data": [{"slug": "m1", "name": "m1", "evaluations": {"mmlu": 0.5}}]}

    def answer(to: Any) -> None:
        if to.headers.get("if-none-match"):
            to.send(b"", 304)
        else:
            to.send(json.dumps(rows).encode(), etag='"1"')

    with running_hostile(modes={"/rows": answer}) as server:
        address = f"{server.url}/rows?k={QUERY_KEY}"
        monkeypatch.setenv("TRACKER_SOURCE_URLS", json.dumps({"artificial-analysis": address}))
        assert [run("ingest", "artificial-analysis") for _ in range(2)] == [0, 0]
        assert server.requests[1]["headers"]["if-none-match"] == '"1"'
        log = planted / "raw" / "artificial-analysis" / "log.jsonl"
        # an older version kept the address as it is
        log.write_text(
            "\n".join(
                json.dumps(json.loads(line) | {"url": address}) for line in log.read_text().splitlines()
            )
        )
        assert run("ingest", "artificial-analysis") == 0
        assert server.requests[2]["headers"]["if-none-match"] == '"1"'
    assert log.read_text().count("sha256:") == 0  # nothing new was stored
    log.unlink()
    assert_nowhere(planted, *capfd.readouterr())


def serves_one_model(to: Any) -> None:
    to.send(b'{"data":[{"id":"m","owned_by":"acme"}]}')


def repeats_the_key(to: Any) -> None:
    """In the text of a streamed answer, else in an error."""
    MODES["echo-stream" if json.loads(to.hostile.requests[-1]["body"]).get("stream") else "echo"](to)


def test_secrets_of_a_server_stand_nowhere_after_a_bench(planted: Path) -> None:
    paths = ("/v1/completions", "/v1/chat/completions", "/version", "/props", "/api/version")
    with running_hostile(
        modes={"/v1/models": serves_one_model} | dict.fromkeys(paths, repeats_the_key)
    ) as server:
        for path in paths[2:]:
            server.modes[path] = lambda to: to.send(b"", 404)
        address = server.url.replace("http://", f"http://alice:{quote(LOGIN)}@") + f"/v1?api_key={QUERY_KEY}"
        done = subprocess.run(
            [sys.executable, "-m", "tracker", "bench", "m", "--engine", "server", "--base-url", address,
             "--suite", "smoke", "--limit", "1", "--json"],
            env=os.environ, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        said = [request["headers"].get("authorization", "") for request in server.requests]
    assert f"Bearer {PLANTED['TRACKER_SERVER_API_KEY']}" in said
    assert "Traceback" not in done.stdout + done.stderr
    runs = [json.loads(path.read_text()) for path in planted.glob("items/*/run.json")]
    assert [run["settings"]["base_url"] for run in runs] == [f"{server.url}/v1"]
    assert_nowhere(planted, done.stdout, done.stderr)
    open_to_others = [path for path in (planted, *planted.rglob("*")) if path.stat().st_mode & 0o077]
    assert open_to_others == []


def test_secrets_stand_in_no_output_of_the_other_commands(
    planted: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    url = f"https://a:{quote(LOGIN)}@h/x?key={QUERY_KEY}"
    monkeypatch.setenv("TRACKER_SOURCE_URLS", json.dumps({"epoch": url}))
    monkeypatch.setenv("HTTPS_PROXY", url)
    assert run("schedule", "print") == 0
    assert run("bench", "m", "--engine", "server", "--base-url", url.replace("https", "ftp"), "--json") == 1
    assert run("show", f"no-such-model-{PLANTED['HF_TOKEN']}", "--json") == 1
    out, err = capfd.readouterr()
    assert [form for form in forms(WORD) if form in (out + err).encode()] == []


DRIVER = """
import json, sys
from tracker.cli import main
codes = []
for argv in json.load(sys.stdin):
    try:
        main(argv)
        codes.append(0)
    except SystemExit as end:
        codes.append(int(end.code or 0))
print("exit codes:", codes, file=sys.stderr)
"""


def takes_a_notification(to: Any) -> None:
    to.send(b"{}")


def test_secrets_of_sources_stand_nowhere_after_a_week_its_digest_and_an_export(
    planted: Path, tmp_path: Path
) -> None:
    names = ("epoch", "models-dev", "openrouter", "artificial-analysis", "openrouter-usage")
    with running_hostile(modes={"/notify": takes_a_notification}, mode="echo") as server:
        with_login = server.url.replace("http://", f"alice:{quote(LOGIN)}@")
        urls = {name: f"http://{with_login}/{name}?api_key={QUERY_KEY}" for name in names}
        environment = os.environ | {
            "TRACKER_SOURCE_URLS": json.dumps(urls), "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / "hf"),
        }  # fmt: skip
        week = ["weekly", "--suite", "smoke", "--minutes", "1", "--base-url", f"http://{with_login}/v1"]
        commands = [
            [*week, "--notify", f"json://{with_login}/notify?to={QUERY_KEY}"],
            [*week, "--json", "--notify", f"json://{with_login}/lost?to={QUERY_KEY}"],  # answers an error
            ["digest"], ["digest", "--json"], ["doctor"], ["doctor", "--json"], ["queue", "list"],
            ["schedule", "status"], ["store", "check"], ["store", "repair"],
            ["store", "export", str(planted / "export.tar.zst")],
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", DRIVER],
            input=json.dumps(commands), env=environment, capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
        bodies = [one["body"] for one in server.requests if one["path"].startswith("/notify")]
        told = {one["headers"].get("x-api-key") for one in server.requests}
    assert PLANTED["TRACKER_ARTIFICIAL_ANALYSIS_KEY"] in told
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.splitlines()[-1].startswith("exit codes: [4, 4, 0, 0,"), done.stderr
    assert len(bodies) == 1
    assert b"400" in bodies[0]  # what the sources answered is in the digest
    assert_nowhere(planted, done.stdout, done.stderr, bodies[0].decode())


@pytest.mark.parametrize(
    "form",
    [
        "{key}", "Bearer {key}", "{quoted}", "{base64}", "{json}", "{upper}", "x{key}y",
        "http://{key}@h/", "http://u:{key}@h/", "{url_base64}",
    ],
)  # fmt: skip
def test_masked_knows_a_secret_in_every_form(form: str, planted: Path) -> None:
    key = PLANTED["TRACKER_SERVER_API_KEY"]
    text = form.format(
        key=key,
        quoted=quote(key, safe=""),
        base64=base64.b64encode(f"user:{key}".encode()[2:]).decode(),
        url_base64=base64.urlsafe_b64encode(f":{key}".encode()).decode(),
        json=json.dumps(json.dumps(key)),
        upper=key.upper(),
    )
    if form != "{base64}":
        assert key[3:10].lower() not in masked(text).lower()
        assert "***" in masked(text)
        assert masked(masked(text)) == masked(text)


def test_masked_leaves_what_is_no_secret(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_SERVER_API_KEY", "ollama")  # what manuals name
    monkeypatch.setenv(
        "TRACKER_SOURCE_URLS", '{"epoch": "https://h/epoch.zip?version=latest&day=2026-11-29"}'
    )
    text = "ollama 0.12.1 of 2026-11-29, the latest; see https://example.org/@user and a@b.c"
    assert masked(text) == text
    assert without_known_secrets("postgres://user:pass@localhost/db") == "postgres://user:pass@localhost/db"
    assert masked("postgres://user:pass@localhost/db") == "postgres://***@localhost/db"


@pytest.mark.parametrize("key", ["secret", "Password", "123456789012", "banana", "a1b2c3"])
def test_masked_never_changes_an_answer_for_a_key_that_may_be_one(
    key: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_SERVER_API_KEY", key)
    assert without_known_secrets(f"The answer is {key}.") == f"The answer is {key}."
    assert masked(f"wrong key {key}") == "wrong key ***"


def test_masked_covers_the_traceback_of_an_unexpected_error(planted: Path) -> None:
    code = "import os, tracker.cli; tracker.cli.main(['--version']); raise ValueError(os.environ['HF_TOKEN'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert "ValueError: ***" in done.stderr
    assert PLANTED["HF_TOKEN"] not in done.stdout + done.stderr


def test_masked_covers_errors_logs_and_their_hints(planted: Path, capfd: Captured) -> None:
    key = PLANTED["HF_TOKEN"]
    error = TrackerError(f"bad {key}", hint=f"not {key}")
    assert (str(error), error.hint) == ("bad ***", "not ***")
    record = logging.LogRecord("tracker", logging.WARNING, "f", 1, "bad %s", (key,), None)
    assert SafeFormatter().format(record) == "bad ***"
    get_logger("test").warning("bad", why=key)
    assert key not in capfd.readouterr().err


def test_masked_learns_what_an_address_on_the_command_line_holds() -> None:
    address = "slack://learned-token-1/learned-token-2?to=me&auth=learned-token-3"
    keep_secret(*address_secrets(address))
    assert "learned-token-3" not in masked(f"cannot send to learned-token-3 of {address}")
    assert repeats(b"... learned-token-3 ...", "learned-token-3")
    assert not repeats(b"... short ...", "short")
