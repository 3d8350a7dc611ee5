"""The page “Leaderboard”."""

from app.pages import PageEntry

PAGE = PageEntry("Leaderboard", order=20)
