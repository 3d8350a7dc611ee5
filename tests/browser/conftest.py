"""A real browser on the real server: Debian's Chromium, no request to anywhere else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from tests.builders.epoch_october import ingest_october, small_october
from tests.builders.store_builder import NOW, build_store
from tests.doubles.app_process import served
from tracker.settings import Settings

RESULTS = Path(__file__).parent.parent.parent / "test-results"
# Chromium itself asks for updates and the like; what is left comes from the page
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
FLAGS += ["--disable-component-update", "--disable-sync"]
FLAGS += ["--host-resolver-rules=MAP *.example 127.0.0.1"]  # for pages of other sites
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
PATIENCE_MS = 90_000  # two cores, shared with the server and whatever else runs

OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    assert executable, "no Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small store."""
    return build_store(tmp_path_factory.mktemp("home")).home


@pytest.fixture(scope="session")
def address(small_home: Path) -> Iterator[str]:
    """The address of a dashboard over the small store."""
    with served(small_home) as (_, line):
        yield line.removeprefix("dashboard: ").strip()


@pytest.fixture(scope="session")
def ingested_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard over a home that has ingested Epoch's index of October."""
    home = tmp_path_factory.mktemp("ingested")
    ingest_october(Settings(home=home).model_copy(update={"fixed_now": NOW}), small_october())
    with served(home) as (_, line):
        yield line.removeprefix("dashboard: ").strip()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open an address in a session of its own; at the end no page has asked another machine for anything."""
    contexts = []
    elsewhere: list[str] = []

    def note(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            elsewhere.append(request.url)

    def opened(url: str, *, size: str = "desktop", scheme: str = "light") -> Page:
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", note)
        page.goto(url)
        settled(page)
        return page

    expect.set_options(timeout=PATIENCE_MS)
    yield opened
    for context in contexts:
        context.close()
    assert elsewhere == []


def settled(page: Page) -> None:
    """Wait until the page's script has run and its charts are drawn."""
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")


def saved(page: Page, name: str) -> None:
    """Keep a picture of the whole page in test-results/."""
    RESULTS.mkdir(exist_ok=True)
    main = page.locator("[data-testid=stMain]")
    height = main.evaluate("part => part.scrollHeight")
    size = page.viewport_size
    assert size is not None
    page.set_viewport_size({"width": size["width"], "height": max(size["height"], height)})
    if page.get_by_test_id("stVegaLiteChart").count():
        page.locator(
            "[data-testid=stVegaLiteChart] svg, [data-testid=stVegaLiteChart] canvas"
        ).first.wait_for()
    page.wait_for_function("document.getAnimations().every(a => a.playState !== 'running')")
    page.screenshot(path=RESULTS / f"{name}.png")
    page.set_viewport_size(size)


def go_to(page: Page, title: str) -> None:
    """Open a page of the app by its name in the bar, or in the menu of those that have no room there."""
    link = page.get_by_role("link", name=title, exact=True).first
    if not link.is_visible():
        page.get_by_test_id("stTopNavSection").click()
        link = page.get_by_test_id("stTopNavDropdownLink").filter(has_text=title)
    link.click()
