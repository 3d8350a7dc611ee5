"""MkDocs hook: pages that are files elsewhere in the repository; nothing may load from the web."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "published_scores.md": "data/README.md",
    "security.md": "SECURITY.md",
}
LOADED = re.compile(r"""<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^"'\s>]+""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add those files, with their links as they are on the site."""
    for page, source in PAGES.items():
        text = re.sub(r"\]\((?:\.\./)*docs/", "](", (ROOT / source).read_text(encoding="utf-8"))
        for other, file in PAGES.items():
            text = text.replace(f"]({file}", f"]({other}")
        files.append(File.generated(config, page, content=text))
    return files


def on_post_page(output: str, page: Any, config: MkDocsConfig) -> str:
    """Return the page as it is.

    Raises:
        PluginError: the browser would load a part of it from the web.
    """
    if found := LOADED.search(output):
        raise PluginError(f"{page.file.src_uri} loads from the web: {found.group()}")
    return output
