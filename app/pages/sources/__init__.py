"""The page “Sources”."""

from app.pages import PageEntry

PAGE = PageEntry("Sources", order=100)
