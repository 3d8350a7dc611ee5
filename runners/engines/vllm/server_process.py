"""vLLM's server for one model: started as a child process, watched until it answers, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx2
import psutil

from runners.child import PARENT
from runners.engines.vllm.args import BATCH_INVARIANT, CPU, engine_args, engine_environment, slice_args
from runners.engines.vllm.errors import explain
from runners.hardware import Gpu, visible_cards
from tracker.errors import EngineError, UnreachableError
from tracker.http_client import MIB, AnswerLimits, fetched
from tracker.interpreter import python_command, python_environment
from tracker.records import EngineSettings, Model
from tracker.redaction import masked
from tracker.settings import keep_server_key

MARK = "TRACKER_MODEL_SERVER"  # environment variable that names the server's log, inherited by all it starts
HOST = "127.0.0.1"
KEY_VARIABLE = "VLLM_API_KEY"  # vLLM 0.32.0 guards /v1 with it, not /health
KEY_BYTES = 32  # of a random key per start
START_S = 3600.0  # a 400 GB checkpoint; the small ones take one to three minutes
POLL_S = 0.5
HEALTH = AnswerLimits(max_bytes=MIB, silence_s=5.0, total_s=5.0)  # of one look
END_S = 20.0  # to end by itself
LOG_TAIL_BYTES = 200_000
SCHEMA_BACKEND = {"backend": "guidance", "disable_any_whitespace": True}  # or blanks fill the budget


@dataclass(frozen=True, slots=True)
class VllmLaunch:
    """Everything that decides how the server runs."""

    model: Model
    settings: EngineSettings
    is_cpu: bool
    what: str = "vLLM's server"  # in messages
    parser: str | None = None  # of the model's thinking; None: it is part of the text
    cards: Sequence[Gpu] = ()


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a server answers, and the key that it wants."""

    base_url: str
    key: str = field(default="", repr=False)


class VllmServer:
    """A server under way. Its key is a random one, which this process sends from now on."""

    def __init__(
        self, process: subprocess.Popen[bytes], launch: VllmLaunch, log_path: Path, *, address: ServerAddress
    ) -> None:
        """Take over `process`, which writes to `log_path`."""
        self.launch = launch
        self.base_url, self.key = address.base_url, address.key
        self._process, self._log_path = process, log_path

    @classmethod
    def start(cls, launch: VllmLaunch, log_path: Path) -> Self:
        """Start it; it is not ready yet."""
        # the key is not in its arguments, which every user of the machine can list
        key, port = secrets.token_urlsafe(KEY_BYTES), _free_port()
        base_url = f"http://{HOST}:{port}/v1"
        keep_server_key(base_url, key)
        told = engine_environment(None) | (engine_environment(CPU) if launch.is_cpu else {})
        told |= BATCH_INVARIANT if launch.settings.batch_invariant else {}
        marks = {MARK: str(log_path), PARENT: str(os.getpid()), KEY_VARIABLE: key}
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                server_argv(launch, port=port),
                cwd=log_path.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=told | python_environment() | visible_cards(launch.cards) | marks,
            )
        return cls(process, launch, log_path, address=ServerAddress(base_url, key))

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def said(self) -> str:
        """The end of what it wrote."""
        return _tail(self._log_path)

    def check(self) -> None:
        """Do nothing as long as the server lives.

        Raises:
            EngineError: it has died; the reason is vLLM's.
        """
        if self._process.poll() is not None:
            raise explain(_tail(self._log_path), doing=f"{self.launch.what} (log: {self._log_path})")

    def check_still_there(self) -> None:
        """As `check`, for a server that was ready once: what ends it from outside is an outage.

        Raises:
            UnreachableError: it has died, and vLLM names no cause; a new one may live.
            EngineError: it has died of a cause that would end a new one too.
        """
        try:
            self.check()
        except EngineError as error:
            if error.reason != "engine_died":
                raise
            raise UnreachableError(str(error), hint=error.hint) from error

    def wait_until_ready(self) -> None:
        """Wait for the model to be loaded.

        Raises:
            EngineError: the server died, or was not ready in time.
        """
        url = f"{self.base_url.removesuffix('/v1')}/health"
        give_up_at = time.monotonic() + START_S
        while time.monotonic() < give_up_at:
            self.check()
            with contextlib.suppress(httpx2.HTTPError, UnreachableError, OSError):
                if fetched(url, HEALTH).status < 400:
                    return
            time.sleep(POLL_S)
        message = f"{self.launch.what} was not ready after {START_S:.0f} s"
        raise EngineError(message, reason="hang", hint=f"see {self._log_path}")

    def close(self) -> None:
        """End the server and everything that it started. Closing twice does nothing."""
        processes = list(_marked(str(self._log_path)))
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        for process in (*processes, *_marked(str(self._log_path))):
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=END_S)
        self._process.wait()


def server_argv(launch: VllmLaunch, *, port: int) -> list[str]:
    """The command line of vLLM's server; the one place where our names become its options."""
    argv = python_command("-m", "runners.engines.vllm.server_main", "--host", HOST, "--port", str(port))
    argv += ["--served-model-name", launch.model.model_id]
    argv += ["--allowed-origins", "[]"]  # no page in a browser may ask it
    argv += ["--structured-outputs-config", json.dumps(SCHEMA_BACKEND)]
    if launch.parser is not None:
        argv += ["--reasoning-parser", launch.parser]
    own = engine_args(launch.model, launch.settings, device_type=CPU if launch.is_cpu else "cuda")
    for name, value in (slice_args(launch.cards) | own).items():
        argv += _option(name, value)
    return argv


def _option(name: str, value: Any) -> list[str]:
    option = "--" + name.replace("_", "-")
    if value is None or value is False:
        return []
    return [option] if value is True else [option, str(value)]


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return int(taken.getsockname()[1])


def _tail(path: Path) -> str:
    with contextlib.suppress(OSError):
        return masked(path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace"))
    return ""


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.pid != os.getpid():
                yield process
