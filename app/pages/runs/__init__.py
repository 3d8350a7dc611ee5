"""The page “Runs”."""

from app.pages import PageEntry

PAGE = PageEntry("Runs", order=80)
