"""Resolve MODEL on a server: the name it serves, pinned by a hash of the server's own description."""

from __future__ import annotations

import asyncio

from runners.engines.server.api import ServerApi
from tracker.records import EngineSettings, Model, fingerprint
from tracker.settings import Settings, plain_query


def served_model(name: str, engine: EngineSettings, settings: Settings) -> Model:
    """Find the model `name` on the server at `engine.base_url`, without the Hub.

    The revision is a hash of the server's address and of its description of itself, with the weights' digest
    where it tells one, so that another model under the same name is not mistaken for this one.

    Raises:
        TrackerError: the URL is invalid, the key is rejected, or no model of this name is served.
        UnreachableError: the server does not respond.
    """

    async def said() -> dict[str, str]:
        async with ServerApi(engine.base_url, api_key=settings.server_api_key) as api:
            served = await api.served_model(name)
            software = await api.software(served)
        said = {"name": served.name, "root": served.root, "version": software.version, "url": api.url}
        more = {"digest": software.digest, "query": plain_query(api.query)}
        return said | {name: value for name, value in more.items() if value}

    return Model(model_id=name, revision=f"server:{fingerprint(asyncio.run(said()))}")
