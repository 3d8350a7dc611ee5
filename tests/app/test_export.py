"""`tracker app --export`: the same values as `--json`, nothing from the network, names as characters."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from app.data import listed_models
from app.export import details, site
from app.export.chart import frontier_svg
from app.export.details import file_names
from app.export.tables import html_table
from tracker.answers.benchmarks import answer_benchmark
from tracker.answers.frontier import answer_question, point_document
from tracker.answers.model_table import model_table_document
from tracker.cli import main
from tracker.errors import TrackerError
from tracker.frontier.question import Question
from tracker.settings import Settings

HOSTILE = """"><script>alert(1)</script>&<img src=x onerror=alert(1)>'</text></svg>\x1b[31m\u202e"""


class Tags(HTMLParser):
    """The tags, what they load, and the cells of the tables of one file."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.rows: list[list[Any]] = []
        self.titles: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        self.loads += [
            str(named[name]) for name in ("src", "href", "action", "data", "style") if name in named
        ]
        assert not any(name.startswith("on") for name in named)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            value = named.get("data-value")
            self.rows[-1].append("" if value is None else json.loads(value))

    def handle_data(self, data: str) -> None:
        if (
            (self.tags[-1:] == ["td"] or self.tags[-2:] == ["td", "a"])
            and self.rows[-1][-1] == ""
            and data.strip()
        ):
            self.rows[-1][-1] = data
        if self.tags[-1:] == ["title"] and data.strip():
            self.titles.append(data)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def exported(home: Settings) -> Path:
    folder = home.home / "site"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKER_HOME", str(home.home))
        main(["app", "--export", str(folder), "--json"])
    return folder


def told(*argv: str, capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    main([*argv, "--json"])
    return json.loads(capsys.readouterr().out)


def as_shown(row: dict[str, Any], names: dict[str, str]) -> list[Any]:
    plain = {None: "–", True: "yes", False: "no"}
    return [
        plain[row[name]] if row[name] is None or isinstance(row[name], bool) else row[name] for name in names
    ]


def test_export_has_the_values_of_json(
    exported: Path, home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(home.home))
    frontier = told("frontier", capsys=capsys)
    page = (exported / "index.html").read_text()
    assert Tags(page).rows[1:] == [as_shown(row, site.DEFINITIONS) for row in frontier["definitions"]]
    assert f"<h1>{frontier['sentence']}</h1>" in page
    listed = model_table_document(listed_models.models_of(answer_question(Question(), home)))
    shown = Tags((exported / "models.html").read_text()).rows[1:]
    assert shown == [as_shown(row, site.MODELS) for row in listed]
    benchmarks = told("benchmarks", capsys=capsys)["benchmarks"]
    shown = Tags((exported / "benchmarks.html").read_text()).rows[1:]
    assert shown == [as_shown(row, site.BENCHMARKS) for row in benchmarks]


def test_export_chart_has_every_model_of_the_frontier(exported: Path, home: Settings) -> None:
    titles = Tags((exported / "index.html").read_text()).titles[1:]
    points = answer_question(Question(), home).points
    assert sorted(title.partition(":")[0] for title in titles) == sorted(
        point.model.partition(":")[0] for point in points
    )


@pytest.mark.clock
@pytest.mark.parametrize("name", site.PAGES)
def test_export_loads_nothing_and_says_day_and_sources(exported: Path, name: str) -> None:
    text = (exported / name).read_text()
    found = Tags(text)
    assert set(site.PAGES) <= set(found.loads)
    assert all((exported / place).is_file() for place in found.loads)
    assert not {"script", "iframe", "img", "link", "form", "object", "embed"} & set(found.tags)
    assert not re.search(r"url\(|@import|xlink", text)
    assert "default-src 'none'" in text
    assert "Data of 2026-08-11" in text
    assert "Epoch AI" in text


def test_export_has_a_page_of_every_model_and_benchmark_with_links_that_lead_somewhere(
    exported: Path,
) -> None:
    for kind, listed in (("models", "models.html"), ("benchmarks", "benchmarks.html")):
        pages = {f"{kind}/{path.name}" for path in (exported / kind).iterdir()}
        assert pages == {
            place for place in Tags((exported / listed).read_text()).loads if kind + "/" in place
        }
    n_links = 0
    for page in [*(exported / "models").iterdir(), *(exported / "benchmarks").iterdir()]:
        text = page.read_text()
        found = Tags(text)
        assert not {"script", "iframe", "img", "link", "form", "object", "embed"} & set(found.tags)
        assert "Data of 2026-08-11" in text
        own = [place for place in found.loads if not place.startswith("https://")]
        assert all((page.parent / place).is_file() for place in own if not place.startswith("http://"))
        n_links += len(own)
    assert n_links > 3000


def test_export_page_of_a_benchmark_has_the_values_of_json(
    exported: Path, home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(home.home))
    document = told("benchmarks", "GPQA diamond", capsys=capsys)
    rows = Tags((exported / "benchmarks" / "gpqa-diamond.html").read_text()).rows
    lag = document["lag"]
    assert [lag["id"], lag["value"], lag["ci_low"], lag["ci_high"]] in [row[:4] for row in rows]
    shown = [row[3] for row in rows if len(row) == len(details.OF_BENCHMARK) and row]
    assert shown == [row["score"] for row in document["scores"]]


def test_export_leaves_out_scores_that_may_not_be_passed_on(home: Settings) -> None:
    (page,) = [answer_benchmark("GPQA diamond", home)]
    secret = page.scores[0].model
    content = details.benchmark_content(page, links={}, left_out=frozenset({(secret, "GPQA diamond")}))
    assert "1 score whose license does not allow redistribution is left out" in content
    whole = details.benchmark_content(page, links={}, left_out=frozenset())
    assert len(Tags(whole).rows) - len(Tags(content).rows) == 1


def test_export_names_of_files_are_plain_and_differ() -> None:
    names = ["GPT-5", "gpt 5", "../etc", "模型", "DeepSeek-V3.1 (Thinking)"]
    files = file_names(names, "models")
    assert len(set(files.values())) == len(names)
    assert all(re.fullmatch(r"models/[a-z0-9-]+\.html", file) for file in files.values())
    assert files["DeepSeek-V3.1 (Thinking)"] == "models/deepseek-v3-1-thinking.html"


def test_export_shows_hostile_names_as_characters(home: Settings) -> None:
    answer = answer_question(Question(), home)
    row = point_document(replace(answer.points[0], model=HOSTILE)) | {"title": HOSTILE}
    svg = frontier_svg([row, point_document(answer.points[-1])], title=HOSTILE, unit=HOSTILE)
    table = html_table([row], {"model": HOSTILE, "organization": "x"})
    for text in (svg, table):
        assert not {"script", "img"} & set(Tags(text).tags)
        assert "&lt;script&gt;" in text
        assert not re.search("[\x1b\u202e]", text)
    assert Tags(svg).tags.count("svg") == 1


def test_export_into_a_place_that_is_no_folder_is_one_sentence(home: Settings, tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(TrackerError, match="cannot be written"):
        site.export_site(place / "site", home)
