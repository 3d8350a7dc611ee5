"""A digest as Markdown, JSON and an Atom feed, and the files in which they are kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tracker.codec import write_atomically
from tracker.digest import Digest

ATOM = "http://www.w3.org/2005/Atom"
FEED_ID = "urn:open-weight-tracker:digests"
IN_FEED = 20  # digests
FORMATS = ("markdown", "json", "atom")


def document(digest: Digest) -> dict[str, Any]:
    """The digest as plain JSON values."""
    return {
        "since": digest.since.isoformat(),
        "until": digest.until.isoformat(),
        "sections": [asdict(section) | {"lines": list(section.lines)} for section in digest.sections],
        "attributions": list(digest.attributions),
    }


def markdown(digest: Digest) -> str:
    """The digest for people; nothing in it can break out of its line."""
    lines = [f"# What changed from {digest.since:%Y-%m-%d} to {digest.until:%Y-%m-%d}", ""]
    for section in digest.sections:
        if not section.n:
            continue
        lines += [f"## {section.title} ({section.n:,})", ""]
        lines += [f"- {_one_line(line)}" for line in section.lines]
        if section.n > len(section.lines):
            lines.append(f"- and {section.n - len(section.lines):,} more")
        lines.append("")
    if digest.is_empty:
        lines += ["Nothing.", ""]
    lines += [f"*{_one_line(credit)}*  " for credit in digest.attributions]
    return "\n".join(lines).rstrip() + "\n"


def atom(documents: Iterable[dict[str, Any]]) -> bytes:
    """A feed with one entry per digest document, the newest first.

    A document that is written anew while its time goes on has `id` and `updated` of its own.
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
        content = _child(entry, "content", _text(one))
        content.set("type", "text")
    return bytes(ET.tostring(feed, encoding="utf-8", xml_declaration=True))


def keep(digest: Digest, folder: Path) -> list[Path]:
    """Write the digest of its day in each form, and the feed of all days; their paths.

    A second one of a day that tells of another time is kept beside the first.
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
    """The documents of the digests that were kept; one that cannot be read is left out."""
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


def _text(one: dict[str, Any]) -> str:
    parts = [
        "\n".join([f"{section['title']} ({section['n']})", *map(_printable, section["lines"])])
        for section in one["sections"]
        if section["n"]
    ]
    return "\n\n".join(parts) or "Nothing changed."


def _child(parent: ET.Element, name: str, text: str) -> ET.Element:
    child = ET.SubElement(parent, f"{{{ATOM}}}{name}")
    child.text = text or None
    return child


def _one_line(text: str) -> str:
    return " ".join(_printable(text).split()).replace("<", "&lt;")


def _printable(text: str) -> str:
    """The text without characters that XML cannot hold or a terminal would obey."""
    return "".join(c for c in text if c.isprintable() or c == "\n")
