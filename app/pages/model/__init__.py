"""The page “Model”."""

from app.pages import MORE, PageEntry

PAGE = PageEntry("Model", order=40, group=MORE)
