"""The page “Model”."""

from app.pages import PageEntry

PAGE = PageEntry("Model", order=40)
