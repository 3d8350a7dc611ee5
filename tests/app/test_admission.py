"""Whom the server answers: host names, origins, paths under the base path, and the token."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from app.http import guard
from app.http.server import ADDRESS, Binding, binding, choose_token
from tests.doubles.app_process import START_S, served
from tracker.errors import TrackerError

TOKEN = "a token that nobody guesses"
PLACES = ("/", "/leaderboard", "/api", "/feed.atom", "/static/x.js", "/media/x.csv", "/_stcore/host-config")


async def _echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("open")
    await socket.close()


def client(where: Binding, **headers: str) -> TestClient:
    """Asks a server that says which question reached it, behind the checks of this binding."""
    routes: list[Any] = [
        WebSocketRoute(f"{where.base}/_stcore/stream", _echo),
        Route("/{path:path}", lambda request: PlainTextResponse(f"{request.url.path}?{request.url.query}")),
    ]
    server = Starlette(routes=routes, middleware=[where.admission().middleware()])
    return TestClient(
        server, base_url=f"http://{where.host}:{where.port}", headers=headers, follow_redirects=False
    )


def socket_status(asking: TestClient, *, base: str = "", **headers: str) -> int:
    """The status with which a WebSocket is refused, or 101 if it is opened."""
    own = {"Host": f"{ADDRESS}:8501"} | headers
    try:
        with asking.websocket_connect(f"{base}/_stcore/stream", headers=own) as socket:
            assert socket.receive_text() == "open"
    except WebSocketDenialResponse as refusal:
        return refusal.status_code
    return 101


@pytest.fixture(scope="module")
def local() -> Iterator[TestClient]:
    with client(Binding(8501)) as asking:
        yield asking


@pytest.mark.parametrize(
    ("host", "is_answered"),
    [
        ("localhost:8501", True),
        ("192.168.1.7:8501", True),
        ("[fd00::7]:8501", True),
        ("Lab.Example", True),
        ("lab.example.", True),
        ("rebound.example", False),
        ("lab.example.rebound.example", False),
        ("192.168.1.7.rebound.example", False),
        ("127.0.0.1@rebound.example", False),
        ("rebound.example:x", False),
        ("", False),
    ],
)
def test_host_check_on_every_address_lets_digits_and_our_names_pass(host: str, is_answered: bool) -> None:
    where = Binding(8501, "0.0.0.0", ("lab.example",))
    assert (client(where).get("/api", headers={"Host": host}).status_code == 200) == is_answered


def test_host_check_of_the_loopback_address_refuses_other_addresses(local: TestClient) -> None:
    """A program that relays requests to us is not a browser on this machine."""
    assert local.get("/api", headers={"Host": "rebound.example"}).status_code == 400
    assert local.get("/api", headers={"Host": "192.168.1.7"}).status_code == 400
    assert local.get("/api", headers={"Host": "localhost:1"}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (f"http://{ADDRESS}:8501", 200),
        (f"http://{ADDRESS}:9999", 403),
        (f"http://{ADDRESS}", 403),
        ("http://localhost:8501", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
def test_requests_from_pages_of_another_origin_or_port_are_refused(
    local: TestClient, origin: str, status: int
) -> None:
    assert local.get("/health", headers={"Origin": origin}).status_code == status
    assert socket_status(local, Origin=origin) == (101 if status == 200 else status)


def test_no_page_may_frame_the_app_or_be_asked_for_anything(local: TestClient) -> None:
    for path in ("/health", "/no-such-page"):
        headers = local.get(path).headers
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "default-src 'self' " in headers["content-security-policy"]


@pytest.mark.parametrize("base", ["", "/tracker"])
@pytest.mark.parametrize("path", PLACES)
def test_token_is_needed_everywhere_and_wrong_ones_are_refused(path: str, base: str) -> None:
    asking = client(Binding(8501, base=base, token=TOKEN))
    wrong = [{"Authorization": f"Bearer {TOKEN}x"}, {"Cookie": f"tracker-8501={TOKEN}"}, {}]
    assert {asking.get(base + path, headers=headers).status_code for headers in wrong} == {401}
    assert asking.get(f"{base}{path}?token=").status_code == 401
    assert asking.get(f"{base}{path}?token={TOKEN[:-1]}").status_code == 401
    assert asking.get(base + path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_token_refusal_says_what_to_open() -> None:
    asking = client(Binding(8501, token=TOKEN))
    assert "the address that <code>tracker app</code> printed" in asking.get("/leaderboard").text
    told = asking.get("/api/runs.json").json()
    assert (told["error"], "`tracker app`" in told["hint"]) == (guard.NO_TOKEN, True)


def test_token_in_the_address_becomes_a_cookie_and_leaves_the_address() -> None:
    asking = client(Binding(8501, base="/tracker", token=TOKEN))
    answer = asking.get("/tracker/leaderboard", params={"token": TOKEN, "task": "a b", "find": "x"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/tracker/leaderboard?task=a+b&find=x")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "Path=/tracker", "SameSite=lax"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    assert asking.get("/tracker/leaderboard?task=a").text == "/tracker/leaderboard?task=a"
    assert socket_status(asking, base="/tracker", Cookie=cookie.partition(";")[0]) == 101


def test_token_in_the_address_of_the_api_and_the_feed_needs_no_cookie_and_goes_no_further() -> None:
    asking = client(Binding(8501, token=TOKEN))
    for path in ("/api/runs.json", "/feed.atom"):
        answer = asking.get(path, params={"days": "3", "token": TOKEN})
        assert (answer.status_code, answer.text) == (200, f"{path}?days=3")
        assert "set-cookie" not in answer.headers


def test_token_is_needed_by_websockets() -> None:
    asking = client(Binding(8501, token=TOKEN))
    assert socket_status(asking) == 401
    assert socket_status(asking, Authorization=f"Bearer {TOKEN}") == 101


def test_token_that_starts_a_browser_is_good_once() -> None:
    """Users of this machine may see the arguments of its programs, and with them the address."""
    admission = Binding(8501, token=TOKEN).admission()
    once = admission.token_for_one_visit()
    assert once != TOKEN
    assert [admission.accepts(once), admission.accepts(once), admission.accepts(TOKEN)] == [True, False, True]


def test_token_is_not_needed_for_health_or_where_it_was_switched_off() -> None:
    asking = client(Binding(8501, token=TOKEN))
    assert {asking.get(path).status_code for path in ("/health", "/_stcore/health")} == {200}
    answer = client(Binding(8501)).get("/models?weights=Open&token=old")
    assert (answer.status_code, answer.headers["location"]) == (303, "/models?weights=Open")
    assert "set-cookie" not in answer.headers


def test_token_of_the_user_must_not_be_guessable() -> None:
    assert choose_token(TOKEN) == TOKEN
    assert len({choose_token(""), choose_token("")}) == 2
    with pytest.raises(TrackerError, match="TRACKER_APP_TOKEN has fewer than 16 characters"):
        choose_token("hunter2")


@pytest.mark.parametrize("base", ["", "/tracker", "/lab/tracker"])
def test_base_path_holds_everything_and_unknown_addresses_are_not_found(base: str) -> None:
    asking = client(Binding(8501, base=base))
    assert [asking.get(base + path).status_code for path in PLACES] == [200] * len(PLACES)
    unknown = ["/nope", "/leaderboard/more", "//", "//evil.example", "/frontierx", "/<b>"]
    answers = [asking.get(f"http://{ADDRESS}:8501{base}{path}") for path in unknown]
    assert {answer.status_code for answer in answers} == {404}
    assert all("Page not found" in answer.text and "<b>" not in answer.text for answer in answers)
    if base:
        outside = ["/", "/leaderboard", "/api", "/feed.atom", "/health", f"{base}x/api", "/_stcore/stream"]
        assert {asking.get(path).status_code for path in outside} == {404}
        assert f"href='{base}/'" in asking.get("/").text


@pytest.mark.parametrize(
    ("given", "base"), [("", ""), ("/", ""), ("tracker", "/tracker"), ("/a/b.c/", "/a/b.c")]
)
def test_base_path_may_have_slashes_around_it(given: str, base: str) -> None:
    assert binding(None, base_path=given).base == base


@pytest.mark.parametrize("given", ["/a b", "/..", "/a//b", "/a?b", "https://lab.example/", "/<b>", "/ä"])
def test_base_path_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(TrackerError, match="is not a path"):
        binding(None, base_path=given)


@pytest.mark.timeout(120)
def test_real_server_holds_pages_api_feed_and_files_under_the_base_path_and_behind_the_token(
    tmp_path: Path,
) -> None:
    flags = ("--base-path", "/tracker", "--name", "lab.example")
    with served(tmp_path, *flags, needs_token=True, TRACKER_APP_TOKEN=TOKEN) as (_, line):
        url, _, token = line.removeprefix("dashboard: ").strip().partition("/?token=")
        assert (url.rpartition(":")[2][4:], unquote(token)) == ("/tracker", TOKEN)
        paths = ("/", "/leaderboard", "/api/models.json", "/feed.atom")
        assert [status(url + path) for path in paths] == [401] * 4
        known = {"Authorization": f"Bearer {TOKEN}", "Host": "lab.example"}
        assert [status(url + path, **known) for path in paths] == [200] * 4
        assert status(url + "/api/models.json", **known | {"Host": "rebound.example"}) == 400
        assert status(url + "/api/models.json", **known, Origin="http://lab.example:9999") == 403
        assert status(url + "/api/models.json", **known, Origin="https://lab.example") == 200
        assert [status(url + path) for path in ("/health", "/_stcore/health")] == [200, 200]
        root = url.removesuffix("/tracker")
        assert {status(root + path, **known) for path in ("/", "/api", "/health", "/_stcore/health")} == {404}


def status(url: str, **headers: str) -> int:
    """The status of a request for this address."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=START_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
