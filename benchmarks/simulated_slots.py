"""An engine with a fixed number of slots, as a sequence of moments at which answers end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def slot_steps(lengths: Sequence[int], *, slots: int) -> Iterator[tuple[int, int, list[int]]]:
    """Yield steps until answers end, how many were in progress, and the places of those that end."""
    waiting, busy = iter(range(len(lengths))), dict[int, int]()
    while True:
        for place in waiting:
            busy[place] = lengths[place]
            if len(busy) == slots:
                break
        if not busy:
            return
        n_steps, n_busy = min(busy.values()), len(busy)
        done = [place for place, steps in busy.items() if steps == n_steps]
        busy = {place: steps - n_steps for place, steps in busy.items() if place not in done}
        yield n_steps, n_busy, done
