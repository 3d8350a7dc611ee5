"""The spec of the server engine."""

from __future__ import annotations

from runners.engines import EngineSpec

SPEC = EngineSpec(
    name="server",
    place="runners.engines.server.engine:ServerEngine",
    settings=("base_url", "concurrency", "max_model_len", "server_option", "thinking", "seed"),
    sampling=("presence_penalty", "frequency_penalty"),  # others are not of the API: servers may ignore them
    needs={"base_url": "http://127.0.0.1:8000/v1"},
    identity="runners.engines.server.identity:served_model",
    server="runners.engines.server.served:serve",
)
