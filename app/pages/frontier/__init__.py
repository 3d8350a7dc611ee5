"""The page “Frontier”."""

from app.pages import PageEntry

PAGE = PageEntry("Frontier", order=10)
