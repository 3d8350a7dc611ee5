"""The token and the base path in a real browser, and pages of other sites and ports as attackers."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from app.pages import find_pages
from tests.browser.conftest import OpenPage, go_to, settled
from tests.doubles.app_process import served

pytestmark = pytest.mark.browser

# frames the app, asks for its results and opens its socket, with whatever cookies the browser sends along
ATTACK = """<!doctype html><title>attack</title><iframe id=frame src="{url}/research"></iframe><script>
const told = {{}};
const frame = new Promise(done => document.getElementById('frame').onload = done);
const asked = fetch('{url}/api/runs.json', {{credentials: 'include'}})
    .then(answer => told.fetch = answer.status, () => told.fetch = 'refused');
const socket = new Promise(done => {{
    const opened = new WebSocket('{url}/_stcore/stream'.replace('http', 'ws'));
    opened.onopen = () => done(told.socket = 'open');
    opened.onerror = () => done(told.socket = 'refused');
}});
window.result = Promise.all([frame, asked, socket]).then(() => told);
</script>"""


@contextmanager
def foreign_page(text: str) -> Iterator[int]:
    """The port of a server of another program, which answers everything with this page."""

    class Foreign(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Foreign)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def behind_a_proxy(small_home: Path) -> Iterator[str]:
    """The address, with its token, of a dashboard under a base path."""
    with served(small_home, "--base-path", "/lab/tracker", needs_token=True) as (_, line):
        yield line.removeprefix("dashboard: ").strip()


def test_token_opens_every_page_under_the_base_path_and_is_in_no_address(
    behind_a_proxy: str, open_page: OpenPage
) -> None:
    url, _, token = behind_a_proxy.partition("/?token=")
    page = open_page(behind_a_proxy)
    assert page.url == f"{url}/"
    for found in find_pages()[1:]:
        go_to(page, found.entry.title)
        page.wait_for_url(f"{url}/{found.name}*")
        settled(page)
        assert token not in page.url
    for name, address in {"Atom feed": "/feed.atom", "fjord/kelp-1b": "/model?model=fjord%2Fkelp-1b"}.items():
        page.goto(f"{url}/changes")
        expect(page.get_by_role("link", name=name).first).to_have_attribute("href", f"/lab/tracker{address}")
    page.goto(f"{url}/leaderboard?task=sort_words")
    with page.expect_download() as download:
        page.get_by_role("button", name="Scores as CSV").click()
    assert "sort_words" in Path(download.value.path()).read_text()


def test_token_that_is_missing_shows_a_sentence_and_nothing_else(
    behind_a_proxy: str, browser: Browser
) -> None:
    url = behind_a_proxy.partition("/?token=")[0]
    page = browser.new_page()
    answer = page.goto(f"{url}/leaderboard")
    assert answer is not None
    assert answer.status == 401
    expect(page.get_by_role("heading")).to_have_text("This dashboard needs its token")
    saved_words = page.locator("body").inner_text()
    assert "tracker app" in saved_words
    assert "acme" not in saved_words
    page.context.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.example"])
def test_a_page_of_another_site_or_port_neither_frames_nor_reads_nor_connects(
    behind_a_proxy: str, browser: Browser, host: str
) -> None:
    """The browser has the cookie, and sends it along: for cookies all ports of a host are one."""
    url = behind_a_proxy.partition("/?token=")[0]
    context = browser.new_context()
    page = context.new_page()
    page.goto(behind_a_proxy)
    settled(page)
    with foreign_page(ATTACK.format(url=url)) as port:
        page.goto(f"http://{host}:{port}/")
        assert page.evaluate("window.result") == {"fetch": "refused", "socket": "refused"}
        assert [frame.url for frame in page.frames[1:]] in ([], ["chrome-error://chromewebdata/"])
    context.close()


def test_an_unknown_address_says_so_and_shows_nothing_else(behind_a_proxy: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(behind_a_proxy)
    url = behind_a_proxy.partition("/?token=")[0]
    answer = page.goto(f"{url}/no-such-page?model=a")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading")).to_have_text("Page not found")
    page.get_by_role("link", name="/lab/tracker/").click()
    settled(page)
    page.context.close()
