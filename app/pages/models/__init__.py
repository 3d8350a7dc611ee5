"""The page “Models”."""

from app.pages import PageEntry

PAGE = PageEntry("Models", order=15)
