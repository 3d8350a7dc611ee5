"""What a visitor does: filter and pass the link on, follow a number down to its item, take the data along."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import SIZES, OpenPage, saved, settled
from tests.builders.store_builder import (
    CANDIDATES,
    ODD_ID,
    build_store,
    measure_published,
)
from tests.builders.studies_builder import begin, stop_path
from tests.doubles.app_process import served
from tracker.files.items import RUN_FILE
from tracker.records import Run
from tracker.serialization import load_json
from tracker.store import Store, publish

pytestmark = pytest.mark.browser

TINY = CANDIDATES[0].model.model_id
DRAWN_MS = 300_000  # a thousand refits take seconds, and minutes where twenty processes share two cores
ROW_PX = 35  # of Streamlit's table, its head included
# resolves once a part of the page has stayed where it is for ten frames, so that a click meets it
STANDS_STILL = """part => new Promise(done => {
    let before = null, n = 0;
    const look = () => {
        const top = part.getBoundingClientRect().top;
        n = top === before ? n + 1 : 0;
        before = top;
        n < 10 ? requestAnimationFrame(look) : done();
    };
    look();
})"""
FIRST, SECOND = "acme/atlas-2-8b", "borealis/nimbus-4b-thinking"
PLACES = {
    "frontier": "/",
    "benchmarks": "/benchmarks",
    "benchmark": "/benchmarks?benchmark=GPQA%20diamond",
    "leaderboard": "/leaderboard?claimed=true",
    "run_it": "/run_it",
    "model": f"/model?model={FIRST}",
    "published": "/model?model=Kimi%20K3",
    "failed": "/model?model=delta/colossus-405b",
    "compare": f"/compare?compare={FIRST}&compare={SECOND}",
    "items": f"/items?items_of={TINY}&answers=Wrong&of_task=odd_one_out",
    "research": "/research?study=20261124-000001-aaaaaa",
    "runs": "/runs",
    "changes": "/changes",
    "sources": "/sources",
}


# what a person comes for is done on a desk in the light and on a phone in the dark
MAIN_PATH = pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()
    page.keyboard.press("Escape")  # a rerun meanwhile may have opened the list again, which hides the page
    settled(page)


def tick(page: Page, table: Locator, *, row: int) -> None:
    """Click the box before a row; the table is one canvas, so there is nothing in it to ask for."""
    table.locator("canvas").first.wait_for()
    table.scroll_into_view_if_needed()
    table.evaluate(STANDS_STILL)
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 16, box["y"] + ROW_PX * (row + 1.5))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("place", list(PLACES))
def test_no_page_has_a_barrier(address: str, open_page: OpenPage, place: str, size: str, scheme: str) -> None:
    page = open_page(address + PLACES[place], size=size, scheme=scheme)
    saved(page, f"{place}-{size}-{scheme}")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("place", list(PLACES))
def test_no_page_is_wider_than_a_phone(address: str, open_page: OpenPage, place: str) -> None:
    page = open_page(address + PLACES[place], size="phone")
    main = page.locator("[data-testid=stMain]")
    assert main.evaluate("part => part.scrollWidth <= part.clientWidth")


@MAIN_PATH
def test_a_filter_is_in_the_link_and_a_colleague_sees_the_same(
    address: str, open_page: OpenPage, size: str, scheme: str
) -> None:
    page = open_page(f"{address}/leaderboard", size=size, scheme=scheme)
    choose(page, "Rank by", "sort_words")
    page.get_by_role("radio", name="12 GB").click()
    settled(page)
    shown = page.get_by_text("4 of 5 rows.")
    expect(shown).to_be_visible()
    assert {"suite=quick", "task=sort_words", "fits=12+GB"} == set(page.url.partition("?")[2].split("&"))
    page.reload()
    settled(page)
    expect(shown).to_be_visible()
    colleague = open_page(page.url)
    expect(colleague.get_by_role("combobox", name="Rank by")).to_have_value("sort_words")
    expect(colleague.get_by_text("4 of 5 rows.")).to_be_visible()


def test_a_frontier_without_a_model_is_a_link_too(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/?without=Kimi%20K3&definition=G6")
    expect(page.get_by_text("Filters: without Kimi K3")).to_be_visible()
    expect(page.get_by_text("Open models trail by (G6)")).to_be_visible()
    page.reload()
    settled(page)
    expect(page.get_by_text("Filters: without Kimi K3")).to_be_visible()


def test_an_address_in_a_link_is_shown_and_leads_nowhere(address: str, open_page: OpenPage) -> None:
    page = open_page(
        f"{address}/leaderboard?x=https://evil.example/login&y=www.evil.example&z=me@evil.example"
    )
    said = page.get_by_test_id("stAlert")
    expect(said).to_contain_text("evil.example/login")
    expect(said).to_contain_text("me@")
    expect(said.get_by_role("link")).to_have_count(0)
    expect(page.locator("[href*='evil.example']")).to_have_count(0)


def test_a_row_of_the_leaderboard_opens_its_model(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/leaderboard?task=sort_words")
    tick(page, page.get_by_test_id("stDataFrame").first, row=0)
    expect(page.get_by_role("heading", level=1)).to_have_text("Model")
    best = CANDIDATES[2].model.model_id
    expect(page.get_by_role("combobox", name="Model", exact=True)).to_have_value(best)
    assert f"model={best.replace('/', '%2F')}" in page.url


@MAIN_PATH
def test_a_months_figure_is_followed_down_to_an_item(
    tmp_path: Path, open_page: OpenPage, size: str, scheme: str
) -> None:
    measure_published(build_store(tmp_path), hub_id="moonshotai/Kimi-K3")
    with served(tmp_path) as (_, line):
        page = open_page(line.removeprefix("dashboard: ").strip(), size=size, scheme=scheme)
        expect(page.get_by_text("5.6 months", exact=True).first).to_be_visible()
        page.get_by_role("link", name="View Kimi K3, the best open model").click()
        expect(page.get_by_role("heading", name="Placement")).to_be_visible()
        page.get_by_role("link", name="View all items of this run").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Items")
        expect(page.get_by_text("60 items.")).to_be_visible()
        expect(page.get_by_role("heading", name="gsm8k 0:")).to_be_visible()


def test_a_row_of_the_list_opens_a_benchmark_and_its_score_opens_the_model(
    address: str, open_page: OpenPage
) -> None:
    page = open_page(f"{address}/benchmarks?about=gpqa")
    tick(page, page.get_by_test_id("stDataFrame").first, row=0)
    expect(page.get_by_role("heading", level=1)).to_have_text("GPQA diamond")
    assert "benchmark=GPQA" in page.url
    page.get_by_role("link", name="Best open:").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Model")


@MAIN_PATH
def test_a_name_typed_into_the_search_box_opens_its_page(
    address: str, open_page: OpenPage, size: str, scheme: str
) -> None:
    page = open_page(f"{address}/runs", size=size, scheme=scheme)
    box = page.get_by_role("combobox", name="Search models, benchmarks and pages")
    box.fill("gpqa")
    page.get_by_role("option", name="Benchmark: GPQA diamond").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("GPQA diamond")
    expect(box).to_have_value("")
    page.get_by_text("How to read this page").click()
    expect(page.get_by_text("The best score on a benchmark on the way from guessing")).to_be_visible()


@MAIN_PATH
def test_two_models_are_compared_and_an_item_that_only_one_solved_is_opened(
    address: str, open_page: OpenPage, size: str, scheme: str
) -> None:
    page = open_page(
        f"{address}/compare?compare={FIRST}&compare={SECOND}&compare_task=sort_words",
        size=size,
        scheme=scheme,
    )
    expect(page.get_by_text("items were solved by only some of the models")).to_be_visible()
    tick(page, page.get_by_test_id("stDataFrame").nth(1), row=0)
    expect(page.get_by_role("heading", level=1)).to_have_text("Items")
    expect(page.get_by_role("combobox", name="Model", exact=True)).to_have_value(FIRST)
    expect(page.get_by_role("heading", name="sort_words ")).to_be_visible()


def test_an_item_is_shown_and_never_rendered(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/items?items_of={TINY}")
    expect(page.get_by_text("360 items.")).to_be_visible()
    page.get_by_role("radio", name="Wrong").click()
    expect(page.get_by_text("360 items.")).to_have_count(0)
    choose(page, "Task", "count_letters")
    expect(page.get_by_role("heading", name="count_letters 0: wrong")).to_be_visible()
    prompt = page.get_by_test_id("stCode").first
    for characters in ("<script>document.title", "**bold** [link](https://example.org)", "\\x1b[31mred"):
        expect(prompt).to_contain_text(characters)
    assert page.title() != "owned"
    assert page.locator("img[src=x]").count() == 0
    assert page.get_by_role("link", name="link", exact=True).count() == 0
    for part in ("answers=Wrong", "of_task=count_letters"):
        assert part in page.url


def test_a_clicked_row_is_the_item_that_is_shown_and_its_link_brings_it_back(
    address: str, open_page: OpenPage
) -> None:
    page = open_page(f"{address}/items?items_of={TINY}&of_task=odd_one_out")
    tick(page, page.get_by_test_id("stDataFrame").first, row=2)
    expect(page.get_by_role("heading", name="odd_one_out 2:")).to_be_visible()
    assert "item=odd_one_out+2" in page.url
    colleague = open_page(page.url)
    expect(colleague.get_by_role("heading", name="odd_one_out 2:")).to_be_visible()


def test_a_model_with_odd_characters_is_named_as_it_is(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/model")
    choose(page, "Model", ODD_ID)
    expect(page.get_by_test_id("stCode").first).to_have_text(ODD_ID)
    page.reload()
    settled(page)
    expect(page.get_by_role("combobox", name="Model", exact=True)).to_have_value(ODD_ID)


def test_pages_are_reached_and_filters_set_by_the_keyboard_alone(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    link = page.get_by_role("link", name="Leaderboard")
    link.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Leaderboard")
    page.get_by_role("textbox", name="Model contains").focus()
    page.keyboard.type("acme")
    page.keyboard.press("Enter")
    expect(page.get_by_text("2 of 5 rows.")).to_be_visible()


@MAIN_PATH
def test_the_leaderboard_can_be_downloaded_as_csv(
    address: str, open_page: OpenPage, size: str, scheme: str
) -> None:
    page = open_page(f"{address}/leaderboard?task=sort_words", size=size, scheme=scheme)
    with page.expect_download() as download:
        page.get_by_role("button", name="Scores as CSV").click()
    path = Path(download.value.path())
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["task"] for row in rows] == ["sort_words"] * len(CANDIDATES)
    assert all(0.0 <= float(row["score"]) <= 1.0 for row in rows)


def test_the_frontier_can_be_downloaded_as_parquet(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    with page.expect_download() as download:
        page.get_by_role("button", name="Models as Parquet", exact=True).click()
    table = pq.read_table(download.value.path())
    assert {"model", "access", "released", "value"} <= set(table.column_names)


@pytest.mark.timeout(400)
def test_the_headline_is_of_the_data_that_was_ingested(ingested_address: str, open_page: OpenPage) -> None:
    page = open_page(f"{ingested_address}/")
    for text in ("Claude Opus 5.5", "07 Oct 2026", "48 days old"):
        expect(page.get_by_text(text).first).to_be_visible()
    saved(page, "frontier-ingested")


def test_the_interval_appears_by_itself(tmp_path: Path, open_page: OpenPage) -> None:
    """A home without draws: the number is there at once, its interval when it is computed."""
    with served(build_store(tmp_path).home) as (_, line):
        page = open_page(line.removeprefix("dashboard: ").strip())
        expect(page.get_by_text("5.6 months", exact=True).first).to_be_visible()
        expect(page.get_by_text(re.compile(r"90% interval: \d")).first).to_be_visible(timeout=DRAWN_MS)


def test_new_results_appear_on_an_open_page_by_themselves(tmp_path: Path, open_page: OpenPage) -> None:
    settings = build_store(tmp_path)
    with served(tmp_path) as (_, line):
        page = open_page(line.removeprefix("dashboard: ").strip() + "/model")
        page.get_by_role("combobox", name="Model", exact=True).click()
        expect(page.get_by_role("option", name="zeta/newcomer")).to_have_count(0)
        page.keyboard.press("Escape")
        run = load_json(Run, next(settings.items_path.glob(f"*/{RUN_FILE}")).read_bytes(), where="run")
        newcomer = replace(run.model, model_id="zeta/newcomer")
        with Store.open(settings) as store:
            store.add_run(replace(run, run_id="20261201T000000-000000", model=newcomer))
        publish(settings)
        expect(page.get_by_text("New results were published")).to_be_visible()
        settled(page)  # a rerun of the page closes an open list
        choose(page, "Model", "zeta/newcomer")
        expect(page.get_by_test_id("stCode").first).to_have_text("zeta/newcomer")


def test_a_study_and_its_trial_are_chosen_and_the_link_brings_both_back(
    address: str, open_page: OpenPage
) -> None:
    page = open_page(f"{address}/research")
    expect(page.get_by_role("heading", name="Prompt and reply")).to_be_visible()
    tick(page, page.get_by_role("region", name="All studies, newest first"), row=2)
    expect(page.get_by_role("combobox", name="Study")).to_have_value("20261124-000009-aaaaaa")
    expect(page.get_by_test_id("stText").get_by_text("10 of 10", exact=True)).to_be_visible()
    settled(page)
    tick(page, page.get_by_role("region", name="Trials of 20261124-000009-aaaaaa"), row=3)
    expect(page.get_by_role("heading", name="Trial 3: kept")).to_be_visible()
    page.reload()
    settled(page)
    expect(page.get_by_role("combobox", name="Study")).to_have_value("20261124-000009-aaaaaa")
    expect(page.get_by_role("heading", name="Trial 3: kept")).to_be_visible()


@MAIN_PATH
def test_a_running_study_is_stopped_only_after_a_second_click(
    tmp_path: Path, open_page: OpenPage, size: str, scheme: str
) -> None:
    settings = build_store(tmp_path)
    stop = stop_path(settings, begin(settings))
    with served(tmp_path) as (_, line):
        page = open_page(line.removeprefix("dashboard: ").strip() + "/research", size=size, scheme=scheme)
        expect(page.get_by_text("4 of 10 trials")).to_be_visible()
        saved(page, f"research-live-{size}-{scheme}")
        page.get_by_role("button", name="Stop this study").click()
        expect(page.get_by_text("Finished trials are kept")).to_be_visible()
        assert not stop.exists()
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.get_by_text("Stopping…")).to_be_visible()
        assert stop.read_bytes() == b""
