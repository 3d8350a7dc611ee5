"""The page “Sources and method”."""

from app.pages import PageEntry

PAGE = PageEntry("Sources", order=100)
