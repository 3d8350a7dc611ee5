"""A model measured here is a labelled point on the frontier chart, and a click on it opens its page."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage, saved, settled
from tests.builders.store_builder import build_store, measure_published
from tests.doubles.app_process import served

pytestmark = pytest.mark.browser

HUB_ID = "moonshotai/Kimi-K3"


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_a_measured_model_is_a_named_point_that_opens_its_page(
    tmp_path: Path, open_page: OpenPage, size: str, scheme: str
) -> None:
    """Before the intervals are computed too: the point is there as soon as the run is stored."""
    measure_published(build_store(tmp_path), hub_id=HUB_ID)
    with served(tmp_path) as (_, line):
        page = open_page(line.removeprefix("dashboard: ").strip(), size=size, scheme=scheme)
        expect(page.get_by_text("Triangles: 1 model measured here")).to_be_visible()
        chart = page.get_by_test_id("stVegaLiteChart").first
        expect(chart.locator("svg text", has_text="measured here")).to_be_visible()
        point = chart.locator("svg path[aria-label*='measured here: moonshotai/Kimi-K3']")
        expect(point).to_have_count(1)
        settled(page)
        saved(page, f"frontier-measured-{size}-{scheme}")
        chart.locator("svg text", has_text="Kimi-K3").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Model")
        expect(page.get_by_role("heading", name="Placement")).to_be_visible()
        assert "model?model=moonshotai%2FKimi-K3&run=20261124T110000-0000aa" in page.url
