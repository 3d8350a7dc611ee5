"""The page “Run it”."""

from app.pages import PageEntry

PAGE = PageEntry("Run it", order=30)
