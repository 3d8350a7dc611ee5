"""Digests as Markdown, JSON and an Atom feed, and the files they are saved in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tracker.answers.digest_records import Digest, DigestChange, web_address
from tracker.foreign_text import html_plain, html_text, markdown_code, markdown_text
from tracker.serialization import write_atomically

ATOM = "http://www.w3.org/2005/Atom"
FEED_ID = "urn:open-weight-tracker:digests"
IN_FEED = 20  # digests
FORMATS = ("markdown", "json", "atom")


def document(digest: Digest) -> dict[str, Any]:
    """The digest as plain JSON values."""
    return {
        "since": digest.since.isoformat(),
        "until": digest.until.isoformat(),
        "sections": [
            {
                "key": section.key,
                "title": section.title,
                "lines": list(section.lines),
                "n": section.n,
                "changes": [asdict(change) for change in section.changes],
            }
            for section in digest.sections
        ],
        "attributions": list(digest.attributions),
    }


def markdown(digest: Digest) -> str:
    """The digest as Markdown; text from sources stays in its line, and is no link, picture or mention."""
    lines = [f"# What changed from {digest.since:%Y-%m-%d} to {digest.until:%Y-%m-%d}", ""]
    for section in digest.sections:
        if not section.n:
            continue
        lines += [f"## {section.title} ({section.n:,})", ""]
        lines += [f"- {_markdown_line(change)}" for change in section.changes]
        if section.n > len(section.changes):
            lines.append(f"- and {section.n - len(section.changes):,} more")
        lines.append("")
    if digest.is_empty:
        lines += ["Nothing changed.", ""]
    lines += [f"*{markdown_text(credit)}*  " for credit in digest.attributions]
    return "\n".join(lines).rstrip() + "\n"


def atom(documents: Iterable[dict[str, Any]]) -> bytes:
    """A feed with one entry per digest document, newest first.

    A document that is rewritten while its period is still running has its own `id` and `updated`.
    """
    newest = sorted(documents, key=lambda one: str(one["until"]), reverse=True)[:IN_FEED]
    ET.register_namespace("", ATOM)
    feed = ET.Element(f"{{{ATOM}}}feed")
    _child(feed, "id", FEED_ID)
    _child(feed, "title", "Open-weight tracker: what changed")
    _child(feed, "updated", _updated(newest[0]) if newest else "1970-01-01T00:00:00+00:00")
    _child(_child(feed, "author", ""), "name", "tracker")
    for one in newest:
        entry = _child(feed, "entry", "")
        _child(entry, "id", f"{FEED_ID}:{one.get('id', one['until'])}")
        _child(entry, "title", f"{one['since'][:10]} to {one['until'][:10]}")
        _child(entry, "updated", _updated(one))
        content = _child(entry, "content", _html(one))
        content.set("type", "html")
    return bytes(ET.tostring(feed, encoding="utf-8", xml_declaration=True))


def keep(digest: Digest, folder: Path) -> list[Path]:
    """Save the digest in each format and update the feed; returns their paths.

    A second digest of the same day that covers another period gets a file of its own.
    """
    stem = folder / f"{digest.until:%Y-%m-%d}"
    sinces = {one["since"] for one in _read([stem.with_suffix(".json")])}
    if sinces - {digest.since.isoformat()}:
        stem = folder / f"{digest.until:%Y-%m-%dT%H%M%S}"
    write_atomically(stem.with_suffix(".md"), markdown(digest).encode())
    write_atomically(stem.with_suffix(".json"), json.dumps(document(digest), ensure_ascii=False).encode())
    feed = folder / "feed.xml"
    write_atomically(feed, atom(kept(folder)))
    return [stem.with_suffix(".md"), stem.with_suffix(".json"), feed]


def kept(folder: Path) -> list[dict[str, Any]]:
    """The documents of the saved digests, except those that cannot be read."""
    return _read(sorted(folder.glob("*.json")))


def _read(paths: Iterable[Path]) -> list[dict[str, Any]]:
    found = []
    for path in paths:
        try:
            one = json.loads(path.read_bytes())
            found.append(one | {"until": str(one["until"]), "since": str(one["since"])})
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def _updated(one: dict[str, Any]) -> str:
    return str(one.get("updated", one["until"]))


def _html(one: Mapping[str, Any]) -> str:
    """The changes of a digest document; documents of older versions have lines without links."""
    parts = []
    for section in one["sections"]:
        if not section["n"]:
            continue
        changes = [
            DigestChange(str(change["text"]), change.get("model"), change.get("url"))
            for change in section.get("changes", ())
        ]
        said = [*map(_html_line, changes)] if changes else [html_text(line) for line in section["lines"]]
        left = section["n"] - len(said)
        said += [f"and {left:,} more"] if left > 0 else []
        items = "".join(f"<li>{line}</li>" for line in said)
        parts.append(f"<h3>{html_plain(section['title'])} ({section['n']:,})</h3><ul>{items}</ul>")
    return "".join(parts) or "Nothing changed."


def _html_line(change: DigestChange) -> str:
    text, url = html_text(change.text), web_address(change.url)
    if change.model is None:
        return text if url is None else f'{text} (<a href="{html_plain(url)}">source</a>)'
    name = f"<code>{html_plain(change.model)}</code>"
    return (name if url is None else f'<a href="{html_plain(url)}">{name}</a>') + text


def _child(parent: ET.Element, name: str, text: str) -> ET.Element:
    child = ET.SubElement(parent, f"{{{ATOM}}}{name}")
    child.text = text or None
    return child


def _markdown_line(change: DigestChange) -> str:
    text, url = markdown_text(change.text), web_address(change.url)
    if change.model is None:
        return text if url is None else f"{text} ([source]({url}))"
    name = markdown_code(change.model)
    return (name if url is None else f"[{name}]({url})") + text
