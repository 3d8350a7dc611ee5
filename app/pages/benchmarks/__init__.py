"""The page “Benchmarks”: all of them, or one."""

from app.pages import PageEntry

PAGE = PageEntry("Benchmarks", order=17)
