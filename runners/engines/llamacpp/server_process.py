"""Start llama.cpp's server for one model, wait until it answers, notice its death, and end it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import replace
from typing import TextIO

import httpx2
import psutil

from runners.child import PARENT
from runners.engines.llamacpp.errors import explain, is_port_taken
from runners.engines.llamacpp.launch import HOST, PREFIX, Launch
from tracker.errors import EngineError, UnreachableError
from tracker.http_client import MIB, AnswerLimits, fetched
from tracker.interpreter import python_command, python_environment
from tracker.redaction import masked
from tracker.serialization import dump_json

KEY_BYTES = 32  # of a random key per start
START_S = 3600.0  # to load the largest files from a slow disk
POLL_S = (0.05, 0.5)  # between two looks at it: at the beginning, later
HEALTH = AnswerLimits(max_bytes=MIB, silence_s=5.0, total_s=5.0)  # of one look
END_S = 10.0  # to end by itself
LAST_WORDS_S = 2.0  # for the rest of what it wrote, and for a process to end after its connections
MAX_LINES = 400  # kept of what it writes
USUAL = re.compile(r"[\d.]+ [ID] |.* n_past |slot ")  # what it writes of every request
MAX_STARTS = 3  # if another program takes the port in between


class LlamaServer:
    """A running server; `base_url` and `key` reach it."""

    def __init__(self, launch: Launch, *, log: TextIO | None = None) -> None:
        """Start it and wait until the model is loaded; what it says goes to `log`, or to standard error.

        Raises:
            EngineError: it died while loading; the reason is llama.cpp's.
        """
        self._log = log or sys.stderr
        for attempt in range(MAX_STARTS):
            self.launch = replace(launch, port=_free_port(), key=secrets.token_urlsafe(KEY_BYTES))
            self._lines: deque[str] = deque(maxlen=MAX_LINES)
            self._is_ready = False
            self._process, self._reader = self._start()
            try:
                self._wait()
            except BaseException:
                self.close()
                if attempt + 1 < MAX_STARTS and is_port_taken(self.said):
                    continue
                raise
            return

    @property
    def base_url(self) -> str:
        """Base of all addresses."""
        return f"http://{HOST}:{self.launch.port}{PREFIX}"

    @property
    def key(self) -> str:
        """The key that it wants."""
        return self.launch.key

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def said(self) -> str:
        """The end of what it wrote."""
        return masked("\n".join(self._lines))

    def check(self, *, wait_s: float = 0.0) -> None:
        """Do nothing as long as the server lives; `wait_s`: give it that long to die.

        Raises:
            EngineError: it has died; the reason is llama.cpp's, or the signal that killed it.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(wait_s)
            self._reader.join(LAST_WORDS_S)
            raise explain(self.said, returncode=self._process.returncode, model=self.launch.path)

    def close(self) -> None:
        """End the server. Closing twice does nothing."""
        if self._process.poll() is None:
            children = psutil.Process(self.pid).children(recursive=True)
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
            for process in children:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self._process.kill()
        self._process.wait()
        self._reader.join(LAST_WORDS_S)

    def _start(self) -> tuple[subprocess.Popen[bytes], threading.Thread]:
        process = subprocess.Popen(
            python_command("-m", "runners.engines.llamacpp.serve"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=python_environment() | {PARENT: str(os.getpid())},
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(dump_json(self.launch))
        reader = threading.Thread(target=self._read, args=(process,), name="llama-server-log", daemon=True)
        reader.start()
        return process, reader

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Keep the end of what the server writes, and log it; once it answers, only its problems."""
        assert process.stdout is not None
        with process.stdout as pipe:
            for line in pipe:
                text = line.decode(errors="replace").rstrip()
                if self._is_ready and USUAL.match(text):
                    continue  # several lines for each request
                self._lines.append(text)
                self._log.write(text + "\n")

    def _wait(self) -> None:
        url, pause_s = f"{self.base_url}/health", POLL_S[0]
        login = {"authorization": f"Bearer {self.key}"}
        give_up_at = time.monotonic() + START_S
        while time.monotonic() < give_up_at:
            self.check()
            with contextlib.suppress(httpx2.HTTPError, UnreachableError, OSError):
                if fetched(url, HEALTH, headers=login).status < 400:
                    self._is_ready = True
                    return
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, POLL_S[1])
        raise EngineError(f"llama.cpp was not ready after {START_S:.0f} s", reason="hang")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return int(taken.getsockname()[1])
