"""Suites of episodes on the leaderboard: success against its cost, and discovery against documentation."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage, saved, settled
from tests.builders.episode_runs import episode_run, store_episodes
from tests.doubles.app_process import served
from tracker.settings import Settings

pytestmark = pytest.mark.browser


def solved(n_right: int) -> list[float]:
    return [1.0] * n_right + [0.0] * (24 - n_right)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_a_visitor_reads_what_success_and_discovery_cost(
    tmp_path: Path, open_page: OpenPage, size: str, scheme: str
) -> None:
    levels = {"home_tools": solved(14), "home_api": solved(9), "home_network": solved(3)}
    store_episodes(
        Settings(home=tmp_path),
        episode_run(1, "acme/atlas-8b", levels),
        episode_run(2, "borealis/nimbus-4b", {"home_tools": solved(19)}, tokens=40, device="NVIDIA H100"),
    )
    with served(tmp_path) as (_, line):
        page = open_page(
            f"{line.removeprefix('dashboard: ').strip()}/leaderboard?suite=home", size=size, scheme=scheme
        )
        expect(page.get_by_role("heading", name="What success costs")).to_be_visible()
        expect(page.get_by_role("heading", name="Discovery against documentation")).to_be_visible()
        charts = page.get_by_test_id("stVegaLiteChart")
        expect(charts).to_have_count(3)
        costs, discovery = charts.nth(1), charts.nth(2)
        expect(costs.locator("svg text", has_text="borealis/nimbus-4b")).to_be_visible()
        expect(costs.locator("svg text", has_text="NVIDIA H100")).to_be_visible()
        expect(costs.locator("svg text", has_text="Tokens written in an episode")).to_be_visible()
        for words in ("undocumented devices", "12.5% · 5 unsafe", "37.5% · 3 unsafe", "acme/atlas-8b"):
            expect(discovery.locator("svg text", has_text=words).first).to_be_visible()
        settled(page)
        saved(page, f"episodes-{size}-{scheme}")
        page.get_by_test_id("stMain").get_by_text("Memory", exact=True).click()
        expect(charts.nth(1).locator("svg text", has_text="Memory needed (GiB, estimate)")).to_be_visible()
        assert "against=Memory" in page.url
