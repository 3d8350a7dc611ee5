"""What became of the requests of one call: which errors are of one request alone, and which end the call."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from runners.engines import RequestRefusedError
from tracker.errors import EngineError, TrackerError

MOST_REFUSED = 256  # from the beginning, after which the server is not asked further
MOST_FAILED = 8  # the same for answers that fail, each after several attempts, and for what is forbidden


@dataclass(slots=True)
class Outcomes:
    """What became of the requests of one call so far."""

    n_answered: int = 0
    n_under_way: int = 0
    refused: list[tuple[int, TrackerError]] = field(default_factory=list)  # by the request's place
    failed: list[TrackerError] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def are_enough(self) -> bool:
        """Whether no further request is to be sent; of many without an answer, those under way decide."""
        async with self._changed:
            self._changed.notify_all()
            if self._has_no_answer():
                await self._changed.wait_for(lambda: not self._has_no_answer() or self.n_under_way == 0)
            if self._has_no_answer():
                self.failed.append(self._why_none())
                self._changed.notify_all()
        return bool(self.failed)

    def _has_no_answer(self) -> bool:
        n_failed = sum(not isinstance(error, RequestRefusedError) for _, error in self.refused)
        is_enough = n_failed >= MOST_FAILED or len(self.refused) >= MOST_REFUSED
        return is_enough and not self.n_answered and not self.failed

    def _why_none(self) -> TrackerError:
        error = self.refused[-1][1]
        if not isinstance(error, RequestRefusedError):
            return error
        message = f"the first {len(self.refused)} requests were refused: {error}"
        return EngineError(message, reason="unsupported", hint=error.hint)

    def end(self) -> None:
        """Raise the first error that is not of one request alone.

        Raises:
            TrackerError: there is one, or no request was answered.
        """
        if self.refused and not self.n_answered:
            self.failed.append(self.refused[0][1])
        if self.failed:
            raise self.failed[0]
