"""The page “Compare”."""

from app.pages import PageEntry

PAGE = PageEntry("Compare", order=50)
