"""Work from the page in a real browser: the queue changes with `--allow-write`, and no control without it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.doubles.app_process import served
from tracker.settings import Settings
from tracker.store import open_snapshot

pytestmark = pytest.mark.browser

TOKEN = "a-token-that-nobody-guesses"
ADDED = "acme/atlas-8b"


def test_a_model_is_queued_from_the_page_and_without_the_flag_nothing_offers_it(
    tmp_path: Path, address: str, open_page: OpenPage
) -> None:
    page = open_page(f"{address}/runs")
    expect(page.get_by_role("heading", name="Queue")).to_be_visible()
    expect(page.get_by_role("heading", name="Change the queue")).to_have_count(0)
    with served(tmp_path, "--allow-write", needs_token=True, TRACKER_APP_TOKEN=TOKEN) as (_, line):
        url = line.removeprefix("dashboard: ").strip().partition("/?")[0]
        page = open_page(f"{url}/runs?token={TOKEN}")
        page.get_by_role("textbox", name="Model to add").fill(ADDED)
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_text(f"{ADDED}: added to the queue")).to_be_visible()
        expect(page.get_by_role("button", name="Run first")).to_be_visible()
        with open_snapshot(Settings(home=tmp_path)) as snapshot:
            assert [(row["model_id"], row["status"]) for row in snapshot.query("jobs")] == [(ADDED, "queued")]
