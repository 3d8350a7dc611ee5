"""Yield what a coroutine finds, while it runs in a thread of its own.

Leaving early, by Ctrl-C or by an error, cancels the coroutine, which closes its connections, so that a server
can stop computing.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

JOIN_S = 10.0  # for the background thread to close its connections

Found = TypeVar("Found")


def streamed(work: Callable[[Callable[[Found], None]], Coroutine[Any, Any, None]]) -> Iterator[Found]:
    """Run `work`, which calls its argument with whatever it finds; yield that, then raise its error."""
    arrived: queue.SimpleQueue[Found | BaseException | None] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(work(arrived.put))

    def run() -> None:
        try:
            loop.run_until_complete(asyncio.wait({task}))
        finally:
            loop.close()
        arrived.put(None if task.cancelled() else task.exception())

    thread = threading.Thread(target=run, name="server-requests", daemon=True)
    thread.start()
    try:
        while (found := arrived.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        if thread.is_alive() and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)
        thread.join(JOIN_S)
