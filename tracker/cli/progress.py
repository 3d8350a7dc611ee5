"""Progress on standard error: of a running bench one bar per task, of other work one bar."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from runners.harness.events import Event
from tracker.foreign_text import one_line
from tracker.settings import load_settings
from tracker.wording import counted


def progress_console() -> Console:
    """Where progress goes: standard error; nowhere with `--quiet`."""
    return Console(stderr=True, quiet=load_settings().log_level in {"error", "critical"})


SAY_EVERY_S = 30.0  # without a terminal


class CountProgress:
    """How many of a known number of things are done, and the time that is left."""

    def __init__(self, console: Console, text: str) -> None:
        self._console, self._text = console, text
        columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn(bar_width=24)]
        self._progress = Progress(
            *columns,
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task(text, total=None)
        self._began_s = self._said_s = time.monotonic()

    def __enter__(self) -> CountProgress:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self._progress.stop()

    def show(self, n_done: int, n_total: int) -> None:
        """Show how far it is; without a terminal, a line now and then."""
        self._progress.update(self._bar, completed=n_done, total=n_total)
        now_s = time.monotonic()
        if self._console.is_terminal or now_s - self._said_s < SAY_EVERY_S:
            return
        self._said_s = now_s
        left_s = (now_s - self._began_s) * (n_total - n_done) / max(n_done, 1)
        line = f"{self._text}: {n_done:,} of {n_total:,}, about {left_s:,.0f} s left"
        self._console.print(line, style="dim", markup=False, highlight=False)


class BenchProgress:
    """Show events: bars on a terminal, one line per task elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: dict[tuple[str, str], TaskID] = {}
        self._first_tokens: dict[tuple[str, str], tuple[int, float]] = {}
        self._progress = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> BenchProgress:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self._progress.stop()

    def show(self, event: Event) -> None:
        """Show one event."""
        if event.event == "loading":
            self._say(f"loading {event.message}")
        elif event.event == "ready":
            self._say(f"ready on {event.message} after {event.duration_s or 0:.0f} s")
        elif event.event in {"warning", "unavailable"}:
            self._say(f"{event.event}: {event.message}")
        elif event.event in {"task", "progress"}:
            self._bar(event)

    def _bar(self, event: Event) -> None:
        key = (event.run_id or "", event.task or "")
        if key not in self._bars:
            if not self._console.is_terminal:
                reused = f", {event.n_done} already measured" if event.n_done else ""
                self._say(f"{event.task}: {counted(event.n_total, 'item')}{reused}")
            self._bars[key] = self._progress.add_task(
                escape(one_line(event.task or "")), total=event.n_total, speed=""
            )
            self._first_tokens[key] = (event.output_tokens, self._progress.get_time())
        tokens, started = self._first_tokens[key]
        elapsed = self._progress.get_time() - started
        speed = f"{(event.output_tokens - tokens) / elapsed:,.0f} tokens/s" if elapsed > 1 else ""
        self._progress.update(self._bars[key], completed=event.n_done, speed=speed)

    def _say(self, line: str) -> None:
        self._progress.console.print(one_line(line), style="dim", markup=False, highlight=False)
