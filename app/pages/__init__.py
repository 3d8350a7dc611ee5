"""The pages of the dashboard. A page is one folder: adding the folder adds the page.

Its `__init__.py` says where the page stands in the navigation (`PAGE = PageEntry("Title", order=35)`), its
`page.py` is the script that Streamlit runs. The folder's name is the address. Pages do not import each other:
what two of them need stands in `app/widgets/` or `app/data/`.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PageEntry:
    """How one page appears in the navigation."""

    title: str
    order: int  # from left to right; the lowest is the start page


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


def _read_page(name: str) -> PageFolder:
    package = importlib.import_module(f"{__name__}.{name}")
    return PageFolder(name, package.PAGE, Path(package.__path__[0]) / "page.py")
