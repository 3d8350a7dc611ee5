"""A server that an engine starts for one model, or that runs already, as a load generator needs to know it.

`EngineSpec.server` names a `ServerStarter`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from runners.hardware import Gpu
from tracker.records import EngineInfo, EngineSettings, Model


class RunningServer(Protocol):
    """A server that answers OpenAI's API."""

    @property
    def base_url(self) -> str:
        """The address before `/completions`: `http://127.0.0.1:8000/v1`."""
        ...

    @property
    def served_name(self) -> str:
        """The model's name in its requests."""
        ...

    @property
    def key(self) -> str:
        """The key that it wants; empty: none."""
        ...

    @property
    def pid(self) -> int | None:
        """Its process; None: it was not started here."""
        ...

    @property
    def cards(self) -> Sequence[Gpu]:
        """The cards that it uses here; empty: none, or none of ours."""
        ...

    @property
    def info(self) -> EngineInfo:
        """The engine and device that answer."""
        ...

    def check(self) -> None:
        """Do nothing as long as it lives.

        Raises:
            EngineError: it has died; the reason is the engine's.
        """
        ...

    def close(self) -> None:
        """End what was started here; closing twice does nothing."""
        ...


class ServerStarter(Protocol):
    """Starts a server and waits until it answers, or finds the one at the given address."""

    def __call__(self, model: Model, settings: EngineSettings, *, log_path: Path) -> RunningServer:
        """The server; what it prints goes to `log_path`.

        Raises:
            EngineError: the model could not be loaded.
            UnreachableError: the server does not answer.
        """
        ...
