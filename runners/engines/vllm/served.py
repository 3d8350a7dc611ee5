"""vLLM's server for a load generator: all of the card, as a bench would take it."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence
from pathlib import Path

from runners.engines.vllm.args import CPU
from runners.engines.vllm.errors import explain
from runners.engines.vllm.server_process import VllmLaunch, VllmServer
from runners.engines.vllm.spec import SPEC
from runners.hardware import Gpu, choose_cards, describe_hardware
from tracker.errors import EngineError, TrackerError
from tracker.http_client import MIB, AnswerLimits, fetched, parse_json
from tracker.records import EngineInfo, EngineSettings, Model

MODELS = AnswerLimits(max_bytes=MIB, silence_s=30.0, total_s=30.0)
DTYPE = re.compile(r"dtype=torch\.(\w+)")  # in the line with which vLLM 0.32.0 lists its configuration


class ServedByVllm(VllmServer):
    """A server under way; `info` is known once it is ready."""

    info: EngineInfo

    @property
    def served_name(self) -> str:
        """The model's name in requests."""
        return self.launch.model.model_id

    @property
    def cards(self) -> Sequence[Gpu]:
        """The cards that it uses."""
        return self.launch.cards

    def describe(self) -> None:
        """Fill in `info` from what the ready server says."""
        settings, cards = self.launch.settings, self.launch.cards
        several = f" × {len(cards)}" if len(cards) > 1 else ""
        login = {"authorization": f"Bearer {self.key}"}
        listed = parse_json(fetched(f"{self.base_url}/models", MODELS, headers=login).body)
        dtype = DTYPE.search(self.said)
        self.info = EngineInfo(
            engine=SPEC.name,
            engine_version=vllm_version(),
            dtype=dtype[1] if dtype else settings.dtype,
            device=f"{cards[0].name}{several}" if cards else CPU,
            max_model_len=int(listed["data"][0]["max_model_len"]),
            quantization=settings.quantization,
        )


def serve(model: Model, settings: EngineSettings, *, log_path: Path) -> ServedByVllm:
    """A server that answers.

    Raises:
        TrackerError: vLLM is not installed.
        EngineError: it could not load the model; the reason is vLLM's.
    """
    if not SPEC.is_installed:
        raise TrackerError("engine `vllm` is not installed", hint=SPEC.install_hint)
    hardware = describe_hardware()
    if settings.batch_invariant and not hardware.has_gpu:
        message = "vLLM has no batch-invariant mode on a CPU"
        raise EngineError(message, reason="unsupported", hint="leave out `--batch-invariant`")
    cards = choose_cards(hardware.gpus, settings.tensor_parallel_size)
    server = ServedByVllm.start(
        VllmLaunch(model, settings, is_cpu=not hardware.has_gpu, cards=cards), log_path
    )
    try:
        server.wait_until_ready()
        server.describe()
    except (LookupError, TypeError, ValueError) as error:
        server.close()
        raise explain(server.said, doing=f"vLLM's server describes itself oddly: {error}") from error
    except BaseException:
        server.close()
        raise
    return server


def vllm_version() -> str:
    """The version of vLLM, whatever its distribution is called."""
    names = importlib.metadata.packages_distributions().get("vllm", [])
    return importlib.metadata.version(names[0]) if names else "unknown"
