"""The page “What changed”."""

from app.pages import PageEntry

PAGE = PageEntry("What changed", order=90)
