"""The page “Items”."""

from app.pages import PageEntry

PAGE = PageEntry("Items", order=60)
