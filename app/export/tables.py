"""Tables and lists of facts in HTML: values as they are read, and exactly as `--json` has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from tracker.answers.digest_records import web_address
from tracker.foreign_text import html_plain

Row = Mapping[str, Any]
SOURCE, SOURCE_URL = "source", "source_url"  # a source links to its address


def html_table(
    rows: Iterable[Row], columns: Mapping[str, str], links: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """A table; `columns` has titles by key, `links` by key the file that each value leads to."""
    head = "".join(f'<th scope="col">{html_plain(title)}</th>' for title in columns.values())
    body = "\n".join(
        f"<tr>{''.join(_cell(row, name, (links or {}).get(name, {})) for name in columns)}</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts_list(row: Row, titles: Mapping[str, str], links: Mapping[str, str] | None = None) -> str:
    """The values that are known, each under its title; a value that is a key of `links` leads there."""
    lines = [
        f'<tr><th scope="row">{html_plain(title)}</th>{_cell(row, name, links or {})}</tr>'
        for name, title in titles.items()
        if row.get(name) is not None
    ]
    return f'<div class="wide"><table><tbody>{"".join(lines)}</tbody></table></div>'


def _cell(row: Row, name: str, links: Mapping[str, str]) -> str:
    value = row.get(name)
    if value is None:
        return "<td>–</td>"
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int | float):
        shown = f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
        return f'<td class="number" data-value="{value!r}">{shown}</td>'
    text = html_plain(value.isoformat() if isinstance(value, date) else str(value))
    address = links.get(str(value)) or (web_address(row.get(SOURCE_URL)) if name == SOURCE else None)
    if address is None:
        return f"<td>{text}</td>"
    return f'<td><a href="{html_plain(address)}" rel="noreferrer">{text}</a></td>'
