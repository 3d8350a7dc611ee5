"""Errors of sources that need different treatment."""

from __future__ import annotations

from tracker.errors import UnreachableError


class LayoutError(UnreachableError):
    """The response is invalid: not JSON, a missing column, a repeated page."""


class TooLargeError(LayoutError):
    """The response is much larger than expected; `next_url` is the page after it, if any."""

    def __init__(self, message: str, *, next_url: str | None) -> None:
        super().__init__(message)
        self.next_url = next_url


class RefusedError(UnreachableError):
    """The source refuses the token or key."""


class TimeUpError(UnreachableError):
    """The source exceeded its time limit."""


class AbsentError(UnreachableError):
    """The requested resource does not exist, or is not visible to us."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status
