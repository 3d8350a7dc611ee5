"""Back and Forward: one entry of the history per view, and each brings back exactly what was left."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage, go_to, settled
from tests.browser.test_app_in_browser import FIRST, SECOND, TINY, tick

pytestmark = pytest.mark.browser

# each page, with filters that are not its defaults where it has any
VIEWS = {
    "/": "?definition=G1&axis=GPQA+diamond",
    "/models": "?weights=Open&search=qwen",
    "/benchmarks": "?benchmark=GPQA+diamond",
    "/leaderboard": "?fits=12+GB&suite=quick&task=sort_words",
    "/run_it": "?card=80+GB",
    "/model": f"?model={SECOND.replace('/', '%2F')}",
    "/compare": f"?compare={FIRST.replace('/', '%2F')}&compare={SECOND.replace('/', '%2F')}",
    "/items": f"?items_of={TINY.replace('/', '%2F')}&answers=Wrong&of_task=odd_one_out",
    "/research": "?study=20261124-000009-aaaaaa",
    "/runs": "",
    "/changes": "?span=30+days",
    "/sources": "",
}


# the address, what stands in headings and figures, and what the boxes hold
VIEW = """() => {
    const all = parts => [...document.querySelector('[data-testid=stMain]').querySelectorAll(parts)];
    const words = all('h1, h2, [data-testid=stMetricValue]').map(part => part.innerText);
    const held = all('input').map(box => `${box.ariaLabel}: ${box.value} ${box.checked}`);
    return [location.href, ...words, ...held].join('\\n');
}"""
# resolves with the view once it has been the same for two seconds: a server with other work draws in parts
STEADY = f"""() => new Promise(done => {{
    let before = null, since = 0;
    const look = () => {{
        const now = ({VIEW})(), at = performance.now();
        since = now === before ? since : at;
        before = now;
        at - since < 2000 ? requestAnimationFrame(look) : done(now);
    }};
    look();
}})"""


def view(page: Page) -> str:
    """What the page shows once it has come to rest."""
    settled(page)
    return str(page.evaluate(STEADY))


def has_view(page: Page, wanted: str) -> None:
    """Wait until the page shows this view again."""
    page.wait_for_function(f"wanted => ({VIEW})() === wanted", arg=wanted)


@pytest.mark.parametrize("path", list(VIEWS))
def test_back_and_forward_return_to_the_view_that_was_left(
    address: str, open_page: OpenPage, path: str
) -> None:
    query = VIEWS[path]
    page = open_page(f"{address}{path}{query}")
    left, length = view(page), page.evaluate("history.length")
    assert set(query[1:].split("&")) - {""} <= set(left.splitlines()[0].partition("?")[2].split("&"))
    other = "Sources" if path == "/runs" else "Runs"
    go_to(page, other)
    expect(page.get_by_role("heading", level=1)).to_have_text(other)
    next_one = view(page)
    assert page.evaluate("history.length") == length + 1
    page.go_back()
    has_view(page, left)
    page.go_forward()
    has_view(page, next_one)


def test_a_filter_that_was_chosen_and_a_row_that_was_opened_make_one_entry(
    address: str, open_page: OpenPage
) -> None:
    page = open_page(f"{address}/leaderboard?task=sort_words")
    page.get_by_role("radio", name="12 GB").click()
    expect(page.get_by_text("4 of 5 rows.")).to_be_visible()
    left, length = view(page), page.evaluate("history.length")
    tick(page, page.get_by_test_id("stDataFrame").first, row=0)
    page.wait_for_url(re.compile(r"/model\?model=.*&run="))
    assert page.evaluate("history.length") == length + 1
    page.go_back()
    has_view(page, left)


def test_back_from_one_benchmark_leads_to_the_list(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/benchmarks")
    tick(page, page.get_by_test_id("stDataFrame").first, row=0)
    page.wait_for_url(re.compile(r"/benchmarks\?benchmark="))
    settled(page)
    page.go_back()
    page.wait_for_url(f"{address}/benchmarks")
    expect(page.get_by_role("heading", level=1)).to_have_text("Benchmarks")


@pytest.mark.parametrize(
    "link", ["/model?model=nobody/none", "/items?items_of=nobody/none", "/compare?compare=nobody/none"]
)
def test_an_unknown_model_is_said_and_nothing_else_is_shown(
    address: str, open_page: OpenPage, link: str
) -> None:
    page = open_page(address + link)
    expect(page.get_by_test_id("stAlert")).to_contain_text("`nobody/none`")
    expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(0)
    expect(page.get_by_test_id("stDataFrame")).to_have_count(0)
    assert page.url == address + link


def test_the_theme_is_switched_and_kept(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/runs")
    main = page.get_by_test_id("stApp")
    expect(main).to_have_css("background-color", "rgb(255, 255, 255)")
    page.get_by_test_id("stMainMenuButton").click()
    page.get_by_test_id("stMainMenuItem-theme-Dark").click()
    expect(main).to_have_css("background-color", "rgb(17, 22, 28)")
    page.reload()
    settled(page)
    expect(main).to_have_css("background-color", "rgb(17, 22, 28)")
