"""vLLM's server for one agent: started on this machine, with as little of the card as it needs.

The card is shared with the trainings of the study, which come first: the server claims the memory that its
model is predicted to need, and never what is kept for them.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from math import ceil, floor
from pathlib import Path

from runners.engines.thinking import ThinkingMarks
from runners.engines.vllm.server_process import VllmLaunch, VllmServer
from runners.hardware import Hardware, choose_cards, describe_hardware
from runners.memory.prediction import GIB, predict, require_predictor
from runners.memory.vllm import CONTEXT_BYTES
from runners.memory.weights import read_subject
from runners.research.problem.tiers import TIERS
from tracker.errors import FieldError, ModelError, TrackerError, UnreachableError
from tracker.records import EngineSettings, Model
from tracker.records.studies import Training
from tracker.serialization import load_json
from tracker.settings import load_settings

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


class ModelServer(VllmServer):
    """A server under way for an agent."""

    @property
    def settings(self) -> EngineSettings:
        """Those of the engine that asks it."""
        return EngineSettings(
            engine="server",
            base_url=self.base_url,
            max_model_len=self.launch.settings.max_model_len,
            thinking=self.launch.settings.thinking,
            seed=self.launch.settings.seed,
        )


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
    launch = VllmLaunch(
        model,
        settings,
        is_cpu=not hardware.has_gpu,
        what="the agent's vLLM server",
        parser=_parser(model, settings),
        cards=cards,
    )
    server = ModelServer.start(launch, log_path)
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
