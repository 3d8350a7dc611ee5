"""How many steps the engine of this process has computed: the sign that a long answer goes on.

A thinking model may write for twenty minutes before its first answer is finished. Engines note each step, and
the heartbeat of the worker carries the count, so that only an engine that stands still counts as hung.
"""

from __future__ import annotations


class _Steps:
    n = 0


def note_step() -> None:
    """Count one step: a forward pass, a batch of tokens, a piece of a streamed answer."""
    _Steps.n += 1


def n_steps() -> int:
    """The steps counted so far in this process."""
    return _Steps.n
