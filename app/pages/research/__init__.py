"""The page “Research”."""

from app.pages import PageEntry

PAGE = PageEntry("Research", order=70)
