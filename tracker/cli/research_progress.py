"""Progress of a running study on standard error: one bar, and one line per trial."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from runners.research.events import StudyEvent
from tracker.foreign_text import one_line


class StudyProgress:
    """Show events: a bar on a terminal, lines elsewhere."""

    def __init__(self, console: Console, *, n_total: int) -> None:
        self._progress = Progress(
            TextColumn("trials"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[doing]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._n_trainings = 0
        self._bar = self._progress.add_task("trials", total=n_total, doing="")

    def __enter__(self) -> StudyProgress:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self._progress.stop()

    def show(self, event: StudyEvent) -> None:
        """Show one event."""
        if event.event == "opening":
            self._doing(f"loading {event.message}")
        elif event.event == "ready":
            self._say(f"{event.message} ready after {event.duration_s or 0:.0f} s")
        elif event.event == "baseline":
            self._say(f"baseline: {event.val_bpb:.4f} bpb on val")
        elif event.event == "asking":
            self._doing(f"requesting trial {event.n_done + 1}")
        elif event.event == "training":
            self._n_trainings += 1
            self._doing(f"{self._n_trainings} trainings")
        elif event.event == "trial":
            self._trial(event)
        elif event.event == "test":
            self._say("measuring the final gain on test with fresh seeds")
        elif event.event == "transfer":
            self._say("trying the final change at 4 times the size")
        elif event.event == "warning":
            self._say(f"warning: {event.message}")

    def _trial(self, event: StudyEvent) -> None:
        self._progress.update(self._bar, completed=event.n_done)
        what = "placebo" if event.is_placebo else f"trial {event.n_done} of {event.n_total}"
        val = "" if event.val_bpb is None else f" at {event.val_bpb:.4f}"
        self._say(f"{what}: {event.verdict}{val}: {event.message}")

    def _doing(self, what: str) -> None:
        self._progress.update(self._bar, doing=escape(one_line(what)))

    def _say(self, line: str) -> None:
        self._progress.console.print(one_line(line), style="dim", markup=False, highlight=False)
