"""vLLM's server for one agent: started on this machine, with as little of the card as it needs.

The card is shared with the trainings of the study, which come first: the server claims the memory that its
model is predicted to need, and never what is kept for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil, floor
from pathlib import Path
from typing import Any

import httpx2
import psutil

from runners.child import PARENT
from runners.engines.thinking import ThinkingMarks
from runners.engines.vllm.args import CPU, engine_args, engine_environment, slice_args
from runners.engines.vllm.errors import explain
from runners.hardware import Gpu, Hardware, choose_cards, describe_hardware, visible_cards
from runners.memory.prediction import GIB, predict, require_predictor
from runners.memory.vllm import CONTEXT_BYTES
from runners.memory.weights import read_subject
from runners.research.problem.tiers import TIERS
from tracker.errors import EngineError, FieldError, ModelError, TrackerError, UnreachableError
from tracker.http_client import MIB, AnswerLimits, fetched
from tracker.interpreter import python_command, python_environment
from tracker.records import EngineSettings, Model
from tracker.records.studies import Training
from tracker.redaction import masked
from tracker.serialization import load_json
from tracker.settings import keep_server_key, load_settings

MARK = "TRACKER_MODEL_SERVER"  # environment variable that names the server's log, inherited by all it starts
HOST = "127.0.0.1"
KEY_VARIABLE = "VLLM_API_KEY"  # vLLM 0.32.0 guards /v1 with it, not /health
KEY_BYTES = 32  # of a random key per start
START_S = 3600.0  # a 400 GB checkpoint; the small ones take one to three minutes
POLL_S = 0.5
HEALTH = AnswerLimits(max_bytes=MIB, silence_s=5.0, total_s=5.0)  # of one look
END_S = 20.0  # to end by itself
LOG_TAIL_BYTES = 200_000
CONTEXT = 40_960  # tokens: a prompt of 6,000 and 32,768 for thinking
SEQUENCES = 8  # questions of one wave at once
MIN_SHARE = 0.05  # of the card: vLLM then says itself that this is too little
SLACK = 1.15  # over the predicted memory; `runners.memory` is within 10%
# of the card, for one training with a tenth in reserve, until one of the tier was measured here: 35 and 5 GiB
# by arithmetic for the defaults
KEPT_BYTES = {"gpu": 40 * GIB, "gpu-small": 6 * GIB}
RESERVE = 1.1  # over the measured peak
# vLLM 0.32.0's parser for the thinking that begins so; without one an answer by schema has no thinking
PARSERS = {
    "[THINK]": "mistral",
    "<seed:think>": "seed_oss",
    "<|START_THINKING|>": "cohere_command3",
    "<|channel|>analysis<|message|>": "openai_gptoss",
    "<|channel>": "gemma4",
    "<mm:think>": "minimax_m3",
    "<ifm|think>": "k2_horizon",
    "<|open|>think<|sep|>": "kimi_k3",
    "<|content_thinking|>": "inkling",
    "to=self<|message|>": "muse_glimmer",
    "Here is my thought process:": "granite",
    "Here's my thought process:": "granite",
    "<|plamo:begin_think:plamo|>": "plamo3",
}
SCHEMA_BACKEND = {"backend": "guidance", "disable_any_whitespace": True}  # or blanks fill the budget


class ModelServer:
    """A server under way; `settings` are those of the engine that asks it."""

    def __init__(self, process: subprocess.Popen[bytes], settings: EngineSettings, log_path: Path) -> None:
        """Take over `process`, which writes to `log_path`."""
        self.settings = settings
        self._process = process
        self._log_path = log_path

    def check(self) -> None:
        """Do nothing as long as the server lives.

        Raises:
            EngineError: it has died; the reason is vLLM's.
        """
        if self._process.poll() is not None:
            raise explain(_tail(self._log_path), doing=f"the agent's vLLM server (log: {self._log_path})")

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
        url = f"{(self.settings.base_url or '').removesuffix('/v1')}/health"
        give_up_at = time.monotonic() + START_S
        while time.monotonic() < give_up_at:
            self.check()
            with contextlib.suppress(httpx2.HTTPError, UnreachableError, OSError):
                if fetched(url, HEALTH).status < 400:
                    return
            time.sleep(POLL_S)
        message = f"the agent's vLLM server was not ready after {START_S:.0f} s"
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


def start_server(model: Model, settings: EngineSettings, *, tier: str, log_path: Path) -> ModelServer:
    """A server that answers, with memory left for the trainings of `tier`.

    Raises:
        FieldError: a setting is not supported here.
        ModelError: the model does not fit beside them (reason `does_not_fit`).
        EngineError: vLLM could not load it; the reason is vLLM's.
    """
    if settings.chat_template is not None:
        raise FieldError("chat_template", "is not supported for the agent of a study on vLLM")
    hardware = describe_hardware()
    kept_bytes = training_bytes(tier, load_settings().home)
    settings = shared_settings(model, settings, hardware, tier=tier, kept_bytes=kept_bytes)
    cards = choose_cards(hardware.gpus, settings.tensor_parallel_size)
    port = _free_port()
    argv = server_argv(
        model,
        settings,
        port=port,
        is_cpu=not hardware.has_gpu,
        parser=_parser(model, settings),
        cards=cards,
    )
    told = engine_environment(None) | (engine_environment(CPU) if not hardware.has_gpu else {})
    # not in its arguments, which every user of the machine can list
    key = secrets.token_urlsafe(KEY_BYTES)
    base_url = f"http://{HOST}:{port}/v1"
    keep_server_key(base_url, key)
    marks = {MARK: str(log_path), PARENT: str(os.getpid()), KEY_VARIABLE: key}
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            argv,
            cwd=log_path.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=told | python_environment() | visible_cards(cards) | marks,
        )
    asked = EngineSettings(
        engine="server",
        base_url=base_url,
        max_model_len=settings.max_model_len,
        thinking=settings.thinking,
        seed=settings.seed,
    )
    server = ModelServer(process, asked, log_path)
    try:
        server.wait_until_ready()
    except BaseException:
        server.close()
        raise
    return server


def training_bytes(tier: str, home: Path) -> int:
    """Bytes of the card to keep for a training: of `tier`'s measured peak and a tenth, else an estimate."""
    n_tokens = TIERS[tier].train_tokens if tier in TIERS else 0
    peaks = []
    for path in (home / "trainings").glob("*.json"):
        with contextlib.suppress(OSError, TrackerError):
            known = load_json(Training, path.read_bytes(), where=str(path))
            if known.device != "cpu" and known.n_tokens == n_tokens and known.peak_memory_bytes:
                peaks.append(known.peak_memory_bytes)
    return int(max(peaks) * RESERVE) + CONTEXT_BYTES if peaks else KEPT_BYTES.get(tier, 0)


def shared_settings(
    model: Model, settings: EngineSettings, hardware: Hardware, *, tier: str, kept_bytes: int
) -> EngineSettings:
    """`settings` with a context for an agent and the share of the GPU that the model needs.

    `kept_bytes` of the card are left to the trainings, unless another card has as much for them. Where the
    model's need is not known, the rest of the card is its share.

    Raises:
        ModelError: weights and one conversation do not fit beside the trainings (reason `does_not_fit`).
    """
    settings = replace(settings, max_num_seqs=settings.max_num_seqs or SEQUENCES)
    try:
        subject = read_subject(model)
        fit = predict(subject, settings, hardware)
    except UnreachableError:
        return _with_the_rest(settings, hardware, kept_bytes)
    except ModelError as error:
        if error.reason != "unsupported":
            raise
        return _with_the_rest(settings, hardware, kept_bytes)
    settings = replace(settings, max_model_len=settings.max_model_len or min(fit.context, CONTEXT))
    if not hardware.has_gpu:
        return settings
    fit = predict(subject, settings, hardware)
    cards = choose_cards(hardware.gpus, settings.tensor_parallel_size)
    card_bytes, n_cards = min(card.total_bytes for card in cards), len(cards)
    cache_bytes = fit.kv_cache_bytes * SEQUENCES
    needed = (fit.weights_bytes + fit.overhead_bytes + cache_bytes) * SLACK / n_cards
    least = (fit.weights_bytes + fit.overhead_bytes + fit.kv_cache_bytes) / n_cards
    offered = _offered_share(settings, hardware, kept_bytes) * card_bytes
    if least > offered:
        raise ModelError(
            f"{model.model_id} needs {least / GIB:.0f} GiB of the GPU, but next to the trainings of tier "
            f"`{tier}` there are {max(0.0, offered) / GIB:.0f}",
            reason="does_not_fit",
            hint="use a smaller model, or one served on another machine: `--engine server --base-url …`",
        )
    share = ceil(min(needed, offered) / card_bytes * 100) / 100
    return replace(settings, gpu_memory_utilization=min(share, settings.gpu_memory_utilization))


def _with_the_rest(settings: EngineSettings, hardware: Hardware, kept_bytes: int) -> EngineSettings:
    if not hardware.has_gpu:
        return settings
    share = floor(_offered_share(settings, hardware, kept_bytes) * 100) / 100
    return replace(settings, gpu_memory_utilization=max(share, MIN_SHARE))


def _offered_share(settings: EngineSettings, hardware: Hardware, kept_bytes: int) -> float:
    """The share of each card that the server may take beside a training."""
    cards = choose_cards(hardware.gpus, settings.tensor_parallel_size)
    others = [card for card in hardware.gpus if card not in cards]
    kept = 0 if any(card.free_bytes >= kept_bytes for card in others) else kept_bytes
    free = require_predictor(settings.engine).as_started(settings, hardware).gpu_memory_utilization
    return min(free, max(0.0, min((card.free_bytes - kept) / card.total_bytes for card in cards)))


def server_argv(
    model: Model,
    settings: EngineSettings,
    *,
    port: int,
    is_cpu: bool,
    parser: str | None,
    cards: Sequence[Gpu] = (),
) -> list[str]:
    """The command line of vLLM's server; the one place where our names become its options."""
    argv = python_command(
        "-m", "runners.research.agents.vllm_server_main", "--host", HOST, "--port", str(port)
    )
    argv += ["--served-model-name", model.model_id]
    argv += ["--allowed-origins", "[]"]  # no page in a browser may ask it
    argv += ["--structured-outputs-config", json.dumps(SCHEMA_BACKEND)]
    if parser is not None:
        argv += ["--reasoning-parser", parser]
    own = engine_args(model, settings, device_type=CPU if is_cpu else "cuda")
    for name, value in (slice_args(cards) | own).items():
        argv += _option(name, value)
    return argv


def _option(name: str, value: Any) -> list[str]:
    option = "--" + name.replace("_", "-")
    if value is None or value is False:
        return []
    return [option] if value is True else [option, str(value)]


def _parser(model: Model, settings: EngineSettings) -> str | None:
    """The parser of the model's thinking; None for one that does not think, or is not to."""
    if settings.thinking is False:
        return None
    from runners.engines.loading import load_tokenizer
    from runners.engines.thinking import find_marks

    tokenizer = load_tokenizer(model, settings)
    return parser_name(find_marks(tokenizer), str(getattr(tokenizer, "chat_template", "") or ""))


def parser_name(marks: ThinkingMarks | None, template: str) -> str | None:
    """vLLM's name for the way in which thinking is marked."""
    if marks is None:
        return None
    if marks.start.startswith("<think:"):  # of Hunyuan, with a suffix
        return "hy_v4" if "v4" in marks.start else "hy_v3"
    # a template with a switch leaves the opening mark to the model, as Qwen3's does
    return PARSERS.get(marks.start, "qwen3" if "enable_thinking" in template else "deepseek_r1")


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
