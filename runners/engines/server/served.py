"""A server that runs already, for a load generator."""

from __future__ import annotations

import asyncio
from pathlib import Path

from runners.engines.server.api import ServedModel, ServerApi, Software
from runners.engines.server.spec import SPEC
from runners.hardware import Gpu
from tracker.errors import TrackerError
from tracker.records import EngineInfo, EngineSettings, Model
from tracker.settings import load_settings, server_login


class ServedElsewhere:
    """The server at `--base-url`; see `runners.engines.serving.RunningServer`."""

    pid = None
    cards: tuple[Gpu, ...] = ()

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        """Find the model on it.

        Raises:
            TrackerError: the URL is invalid, the key is rejected, or the server has no such model.
            UnreachableError: it does not answer.
        """
        api = ServerApi(settings.base_url, api_key=load_settings().server_api_key)
        self.base_url = api.url
        if api.query:
            message = "the speed of a server whose address has a query cannot be measured"
            raise TrackerError(message, hint="the load generator sends none; use an address without `?`")
        self.key = server_login(api.url).partition(":")[2] or load_settings().server_api_key
        served, software = asyncio.run(_described(api, model.model_id))
        self.served_name = served.name
        self.info = EngineInfo(
            engine=SPEC.name,
            engine_version=software.version or "unknown",
            dtype="unknown",
            device="server",
            max_model_len=settings.max_model_len or served.max_model_len or software.max_model_len or 0,
            versions={"served_model": served.name, "served_root": served.root},
        )

    def check(self) -> None:
        """Nothing: requests that it does not answer are counted by the load generator."""

    def close(self) -> None:
        """Nothing: it is not ours."""


async def _described(api: ServerApi, name: str) -> tuple[ServedModel, Software]:
    async with api:
        served = await api.served_model(name)
        return served, await api.software(served)


def serve(model: Model, settings: EngineSettings, *, log_path: Path) -> ServedElsewhere:
    """The server at the address that was given; nothing is started, and nothing logged.

    Raises:
        TrackerError: the URL is invalid, the key is rejected, or the server has no such model.
        UnreachableError: it does not answer.
    """
    del log_path
    return ServedElsewhere(model, settings)
