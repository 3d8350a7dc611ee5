"""llama.cpp's server for a load generator, started as the engine starts it."""

from __future__ import annotations

from pathlib import Path

from runners.engines.llamacpp.builds import find_build
from runners.engines.llamacpp.file_facts import FileFacts
from runners.engines.llamacpp.plan import device_of, plan_launch
from runners.engines.llamacpp.server_process import LlamaServer
from runners.engines.llamacpp.spec import DRAFT_READER, SPEC
from runners.hardware import Gpu, describe_hardware
from tracker.records import EngineInfo, EngineSettings, Model
from tracker.settings import keep_server_key, load_settings


class ServedByLlama:
    """A server that answers; see `runners.engines.serving.RunningServer`."""

    def __init__(self, model: Model, settings: EngineSettings, *, log_path: Path) -> None:
        """Start it and wait until the model is loaded.

        Raises:
            TrackerError: llama.cpp is not installed.
            EngineError: the file is broken, or llama.cpp cannot run it here.
        """
        path = model.path or ""
        facts: FileFacts = SPEC.load(SPEC.reader or "")(path)
        build = find_build(load_settings())
        launch = plan_launch(path, settings, facts, build)
        if launch.draft_path is not None:
            SPEC.load(DRAFT_READER)(path, launch.draft_path)  # refuses one that does not fit the model
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log = log_path.open("w", encoding="utf-8", buffering=1)
        try:
            self._server = LlamaServer(launch, log=self._log)
        except BaseException:
            self._log.close()
            raise
        self.base_url, self.key = f"{self._server.base_url}/v1", self._server.key
        keep_server_key(self.base_url, self.key)
        self.served_name, self.pid = model.model_id, self._server.pid
        self.info = EngineInfo(
            engine=SPEC.name,
            engine_version=build.number,
            dtype=model.quantization or "unknown",
            device=device_of(self._server.said),
            max_model_len=launch.n_ctx // launch.n_parallel,
            quantization=model.quantization,
            versions={"llama.cpp": build.number},
        )
        self.cards: tuple[Gpu, ...] = () if self.info.device == "cpu" else describe_hardware().gpus

    def check(self) -> None:
        """Do nothing as long as it lives.

        Raises:
            EngineError: it has died; the reason is llama.cpp's.
        """
        self._server.check()

    def close(self) -> None:
        """End it; closing twice does nothing."""
        self._server.close()
        self._log.close()


def serve(model: Model, settings: EngineSettings, *, log_path: Path) -> ServedByLlama:
    """A server that answers.

    Raises:
        TrackerError: llama.cpp is not installed.
        EngineError: the file is broken, or llama.cpp cannot run it here.
    """
    return ServedByLlama(model, settings, log_path=log_path)
