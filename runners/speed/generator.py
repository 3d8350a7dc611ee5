"""The load generator: `vllm bench serve`, of our own environment or another one.

It runs as a child process, so that what it takes does not weigh on what it measures, and writes one file for
each level, which stays beside the record as evidence.
"""

from __future__ import annotations

import importlib.util
import json
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tracker.errors import EngineError, TrackerError
from tracker.installation import install_command
from tracker.interpreter import python_command, python_environment
from tracker.loopback import NAMES
from tracker.redaction import masked
from tracker.serialization import write_atomically
from tracker.settings import Settings

NAME = "vllm bench serve"
PACKAGE = "vllm"  # and its program
PROGRAM = Path(__file__).parent / "vllm_bench_main.py"
VARIABLE = "TRACKER_LOAD_GENERATOR"
KEY_VARIABLE = "OPENAI_API_KEY"  # vLLM's generator sends it as the key
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
POLL_S = 0.5  # between two looks at the server while the generator works
END_S = 5.0  # for the generator to end by itself
LOG_TAIL_BYTES = 4000
PLAN = "plan.json"
LOG = "generator.log"


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and what each asks for."""

    base_url: str
    endpoint: str
    served_name: str
    output_tokens: int
    ignores_end: bool


@dataclass(frozen=True, slots=True)
class Level:
    """One call of the generator: its arguments, and the file that it writes."""

    arguments: tuple[str, ...]
    result: Path


class OutOfTimeError(TrackerError):
    """The time for the measurement is over."""


def find_generator(settings: Settings) -> str:
    """The Python of the environment whose vLLM generates the load.

    Raises:
        TrackerError: there is none, or what is set is no program.
    """
    if settings.load_generator:
        given = shutil.which(settings.load_generator)
        if given is None:
            message = f"{VARIABLE} names `{settings.load_generator}`, which is no program"
            raise TrackerError(message, hint="the path of `python` or `vllm` in an environment with vLLM")
        beside = Path(given).with_name("python")
        return str(beside) if Path(given).stem == PACKAGE and beside.exists() else given
    if importlib.util.find_spec(PACKAGE) is not None:
        return python_command()[0]
    vllm = shutil.which(PACKAGE)
    if vllm is not None and (beside := Path(vllm).with_name("python")).exists():
        return str(beside)
    raise TrackerError(
        f"no load generator is installed: speed is measured with `{NAME}`",
        hint=f"{install_command('gpu')}, or set {VARIABLE} to the `python` of another environment with vLLM",
    )


class Generator:
    """A run of the generator over several levels; `version` is known once it has started."""

    def __init__(self, python: str, folder: Path, *, key: str, is_local: bool) -> None:
        """Prepare it; `is_local`: the server is on this machine, so no proxy is in between."""
        self.version = ""
        self._python, self._folder, self._is_local = python, folder, is_local
        self._environment = python_environment() | {"VLLM_LOGGING_STREAM": "ext://sys.stderr"}
        self._environment.pop(KEY_VARIABLE, None)
        if key:
            self._environment[KEY_VARIABLE] = key
        if is_local:
            for name in PROXIES:
                self._environment.pop(name, None)

    def measure(
        self, levels: Sequence[Level], *, check: Callable[[], None], until: float | None
    ) -> Iterator[Path]:
        """Yield the file of each level once it is whole.

        `check` raises if the server has died; `until`: moment of `time.monotonic` to stop at.

        Raises:
            OutOfTimeError: the time is over.
            EngineError: the server died, or the generator (reason `generator_failed`).
        """
        plan = {
            "is_local": self._is_local,
            "levels": [{"arguments": one.arguments, "result": str(one.result)} for one in levels],
        }
        write_atomically(self._folder / PLAN, json.dumps(plan).encode())
        with (self._folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                [self._python, "-P", str(PROGRAM), str(self._folder / PLAN)],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        try:
            yield from self._results(process, levels, check=check, until=until)
        finally:
            _end(process)

    def _results(
        self,
        process: subprocess.Popen[bytes],
        levels: Sequence[Level],
        *,
        check: Callable[[], None],
        until: float | None,
    ) -> Iterator[Path]:
        lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(process, lines), name="load-generator", daemon=True).start()
        waiting = iter(levels)
        n_left = len(levels)
        while n_left:
            check()
            if until is not None and time.monotonic() > until:
                raise OutOfTimeError("the time for the measurement is over")
            try:
                line = lines.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if line is None:
                check()
                raise self._failure(process)
            with suppress(ValueError):
                said = json.loads(line)
                self.version = str(said.get("version", self.version))
                if "level" in said:
                    n_left -= 1
                    yield next(waiting).result

    def _failure(self, process: subprocess.Popen[bytes]) -> EngineError:
        process.wait(END_S)
        tail = masked((self._folder / LOG).read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace"))
        words = [line.strip() for line in tail.splitlines() if "Error" in line and ":" in line]
        why = words[-1] if words else f"it ended with exit code {process.returncode}"
        return EngineError(
            f"the load generator failed: {why}",
            reason="generator_failed",
            hint=f"{self._folder / LOG} has the whole story; {VARIABLE} names another one",
        )


def _read(process: subprocess.Popen[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    assert process.stdout is not None
    with process.stdout as pipe:
        for line in pipe:
            lines.put(line)
    lines.put(None)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        process.kill()
    process.wait()


def level_arguments(target: Target, *, prompts: Path, concurrency: int, n_requests: int) -> tuple[str, ...]:
    """The arguments of `vllm bench serve` for one level; the one place that knows its options.

    It needs no tokenizer: the prompts come from a file and the server counts tokens.
    """
    is_chat = "chat" in target.endpoint
    limit = "max_completion_tokens" if is_chat else "max_tokens"
    given: dict[str, object] = {
        "backend": "openai-chat" if is_chat else "openai",
        "base-url": target.base_url,
        "endpoint": target.endpoint,
        "model": target.served_name,
        "dataset-name": "custom",
        "dataset-path": prompts,
        "num-prompts": n_requests,
        "max-concurrency": concurrency,
        "temperature": 0,
        "extra-body": json.dumps({limit: target.output_tokens}),
        "percentile-metrics": "ttft,tpot,itl,e2el",
        "metric-percentiles": "50,90,99",
    }
    flags = ["--skip-tokenizer-init", "--skip-chat-template", "--no-oversample", "--save-detailed"]
    flags += ["--disable-tqdm", *(["--ignore-eos"] if target.ignores_end else [])]
    return (*(word for name, value in given.items() for word in (f"--{name}", str(value))), *flags)


def is_on_this_machine(base_url: str) -> bool:
    """Whether an address is of this machine, which no proxy may come between."""
    return (urlsplit(base_url).hostname or "") in {*NAMES, "::1"}
