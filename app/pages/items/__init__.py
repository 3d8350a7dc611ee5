"""The page “Items”."""

from app.pages import MORE, PageEntry

PAGE = PageEntry("Items", order=60, group=MORE)
