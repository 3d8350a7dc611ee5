"""The page “Sources and method”."""

from app.pages import MORE, PageEntry

PAGE = PageEntry("Sources and method", order=100, group=MORE)
