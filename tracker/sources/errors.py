"""How a source fails, where it matters which way."""

from __future__ import annotations

from tracker.errors import UnreachableError


class LayoutError(UnreachableError):
    """It answered with something that cannot be right: no JSON, a missing column, a page that comes again."""


class TooLargeError(LayoutError):
    """It answered with far more than it ever does; `next_url` is the page after it, if there is one."""

    def __init__(self, message: str, *, next_url: str | None) -> None:
        super().__init__(message)
        self.next_url = next_url


class RefusedError(UnreachableError):
    """It refuses the token or key."""


class TimeUpError(UnreachableError):
    """It took longer than a source may."""


class AbsentError(UnreachableError):
    """It has no such thing, or does not show it to us."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status
