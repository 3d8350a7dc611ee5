"""The pages of the dashboard. A page is one folder: adding the folder adds the page.

Its `__init__.py` says where the page stands in the navigation (`PAGE = PageEntry("Title", order=35)`), its
`page.py` is the script that Streamlit runs. The folder's name is the address. Pages do not import each other:
what two of them need stands in `app/widgets/` or `app/data/`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MORE = "More"  # the menu of pages that links lead to, so that the bar has room for those one begins with


@dataclass(frozen=True, slots=True)
class PageEntry:
    """How one page appears in the navigation."""

    title: str
    order: int  # from left to right; the lowest is the start page
    group: str = ""  # the menu in the bar that it stands in; empty: in the bar itself


@dataclass(frozen=True, slots=True)
class PageFolder:
    """One page as found on disk."""

    name: str  # of the folder, and in the address
    entry: PageEntry
    script: Path


def find_pages() -> list[PageFolder]:
    """All pages in the order of the navigation."""
    found = [_read_page(module.name) for module in pkgutil.iter_modules(__path__)]
    return sorted(found, key=lambda page: page.entry.order)


def by_group(found: Iterable[PageFolder]) -> dict[str, list[PageFolder]]:
    """The pages of the bar, under the empty name, then of each menu in it."""
    groups: dict[str, list[PageFolder]] = {"": []}
    for page in found:
        groups.setdefault(page.entry.group, []).append(page)
    return groups


def _read_page(name: str) -> PageFolder:
    package = importlib.import_module(f"{__name__}.{name}")
    return PageFolder(name, package.PAGE, Path(package.__path__[0]) / "page.py")
