"""One change of a digest as Markdown, with links to its model, its benchmark and its source."""

from __future__ import annotations

import re
from collections.abc import Container

from app.data.own_addresses import own_address
from app.widgets import benchmark_links, safe_text
from tracker.answers.digest_records import DigestChange, web_address

NAME_MARKS = re.compile(r"(?<![^\s(])`|`(?=[\s,.;:)]|$)")  # around a name, not within it


def linked(change: DigestChange, with_page: Container[str]) -> str:
    """The change as Markdown: its characters, and a link to the page of a model of `with_page`."""
    text = benchmark_links.with_links(safe_text.escaped(NAME_MARKS.sub("", change.text)))
    url = web_address(change.url)
    space = " " if change.text.startswith(" ") else ""
    if change.model is None:
        return text if url is None else f"{text} ([source]({url}))"
    if change.model in with_page:
        url = own_address("/model", model=change.model)
    name = safe_text.escaped(change.model)
    return (name if url is None else f"[{name}]({url})") + space + text
