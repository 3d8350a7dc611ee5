"""Five questions of a person who never read the docs, answered from the first screen in at most three clicks.

Typing into the search box is not a click, going into it and choosing are.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import OpenPage, settled
from tests.browser.test_app_in_browser import tick
from tests.builders.ladders import store_ladder
from tests.builders.some_runs import model
from tests.builders.store_builder import build_store
from tests.doubles.app_process import served
from tests.tracker.cli.test_compare import one_task, scored, store

pytestmark = pytest.mark.browser

MOST_CLICKS = 3
MEASURED, CLAIMED, PARENT, COPY = (
    "acme/atlas-2-8b",
    "borealis/nimbus-4b-thinking",
    "acme/atlas-8b",
    "acme/atlas-8b-awq",
)


@pytest.fixture(scope="module")
def first_screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard with runs, claims, and what the copy of a model loses."""
    settings = build_store(tmp_path_factory.mktemp("asked"))
    store(
        settings,
        one_task(101, scored([1.0, 1.0, 0.0, 1.0] * 20), model(PARENT)),
        one_task(102, scored([1.0, 0.0, 0.0, 0.0] * 20), model(COPY)),
    )
    store_ladder(settings, PARENT, COPY)
    with served(settings.home) as (_, line):
        yield line.removeprefix("dashboard: ").strip()


class Stranger:
    """Begins each question at the first screen, clicks, and counts it."""

    def __init__(self, open_page: OpenPage, address: str) -> None:
        self.address, self.page = address, open_page(address)
        self.clicks = 0

    def begin(self) -> None:
        self.page.goto(self.address)
        settled(self.page)
        self.clicks = 0

    def click(self, what: Locator) -> None:
        what.click()
        self.clicks += 1

    def find(self, words: str, choice: str) -> None:
        """Go into the search box, type, and choose."""
        box = self.page.get_by_role("combobox", name="Search models, benchmarks and pages")
        self.click(box)
        box.fill(words)
        self.click(self.page.get_by_role("option", name=choice, exact=True))


def test_strangers_questions_are_answered_within_three_clicks(first_screen: str, open_page: OpenPage) -> None:
    asks, clicks = Stranger(open_page, first_screen), {}

    # which model under 24 GB is least behind, and by how much?
    card = asks.page.get_by_test_id("stMetric").filter(has_text="Best that fits at 4 bits trails by")
    expect(card).to_contain_text("months")
    expect(asks.page.get_by_role("combobox", name="My card")).to_have_value("24 GB")
    clicks["24 GB"] = asks.clicks

    asks.click(asks.page.get_by_role("link", name="View all changes"))  # what changed this week?
    expect(asks.page.get_by_role("heading", level=1)).to_have_text("What changed")
    clicks["this week"] = asks.clicks

    asks.begin()  # did the claim hold?
    asks.find(CLAIMED, f"Model: {CLAIMED}")
    expect(asks.page.get_by_role("heading", name="Claimed vs. measured")).to_be_visible()
    clicks["claim"] = asks.clicks

    asks.begin()  # what did the model answer to the item?
    asks.find(f"items {MEASURED}", f"Items: {MEASURED}")
    expect(asks.page.get_by_role("heading", level=1)).to_have_text("Items")
    tick(asks.page, asks.page.get_by_test_id("stDataFrame").first, row=2)
    expect(asks.page.get_by_text("Response", exact=True)).to_be_visible()
    clicks["item"] = asks.clicks + 1

    asks.begin()  # what would 4 bits cost me?
    asks.find(PARENT, f"Model: {PARENT}")
    expect(asks.page.get_by_role("heading", name="Quantization")).to_be_visible()
    clicks["4 bits"] = asks.clicks

    assert clicks == {"24 GB": 0, "this week": 1, "claim": 2, "item": 3, "4 bits": 2}
    assert max(clicks.values()) <= MOST_CLICKS
