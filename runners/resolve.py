"""What MODEL on the command line means: something that can be loaded, pinned, with its refusals said early.

A name is `demo`, a local folder, or `org/name[@revision]` on the Hub; with `--engine server` it is a name
that the server knows, and no Hub is needed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path

from runners.checkpoint import folder_revision, quantization, read_checkpoint, refuse_remote_code
from runners.demo import MODEL_ID as DEMO_ID
from runners.demo import demo_model
from runners.engines.server_api import ServerApi
from runners.hub import download_model, hub_model
from tracker.errors import ModelError, TrackerError, UnknownNameError
from tracker.records import EngineSettings, Model, fingerprint
from tracker.settings import Settings

__all__ = ["download_model", "named_id", "resolve_model", "server_model"]

DEMO = "demo"
COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve_model(
    name: str,
    settings: Settings,
    *,
    trust_remote_code: bool = False,
    known: Iterable[str] = (),
    engine: EngineSettings | None = None,
) -> Model:
    """The model that `name` means to that engine. Nothing is downloaded but metadata; `known` are suggested.

    Raises:
        ModelError: it cannot be loaded here: gated, only pickles, remote code, broken files, …
        TrackerError: there is no such model, folder or revision.
        UnreachableError: the Hub is down and the model is not in its cache.
    """
    if engine is not None and engine.engine == "server":
        return server_model(name, engine.base_url, settings)
    if name == DEMO:
        return demo_model(settings)
    folder = _named_folder(name)
    if folder is not None:
        return _folder_model(folder, settings, trust_remote_code=trust_remote_code)
    if "/" not in name:
        error = UnknownNameError("model", name, known={DEMO, *known})
        error.hint = f"{error.hint}; a model is `org/name` on the Hub, a local folder, or `{DEMO}`"
        raise error
    return hub_model(name, trust_remote_code=trust_remote_code, known=known)


def named_id(name: str, *, engine: str) -> str:
    """The `model_id` under which the model that `name` means is kept; nothing is read but the name."""
    if engine == "server":
        return name
    if name == DEMO:
        return DEMO_ID
    folder = _named_folder(name)
    return name.partition("@")[0] if folder is None else _folder_identity(folder.resolve())[0]


def _named_folder(name: str) -> Path | None:
    """The folder that `name` means; None if it is no path."""
    folder = Path(name).expanduser()
    looks_like_a_path = name.startswith((".", "~", "/")) or name.endswith("/")
    return folder if looks_like_a_path or (folder / "config.json").is_file() else None


def server_model(name: str, base_url: str | None, settings: Settings) -> Model:
    """The model that a server calls `name`.

    The revision is a hash of what the server says about itself, so that another model under the same name is
    not taken for this one.

    Raises:
        TrackerError: the URL is none, the key is refused, or no model of this name is served.
        UnreachableError: the server does not answer.
    """

    async def said() -> dict[str, str]:
        async with ServerApi(base_url, api_key=settings.server_api_key) as api:
            served = await api.served_model(name)
            software = await api.software(served)
        return {"name": served.name, "root": served.root, "version": software.version}

    return Model(model_id=name, revision=f"server:{fingerprint(asyncio.run(said()))}")


def _folder_model(folder: Path, settings: Settings, *, trust_remote_code: bool) -> Model:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise TrackerError(f"{folder}: this folder {what}", hint="a local model is a folder of safetensors")
    folder = folder.resolve()
    model_id, revision = _folder_identity(folder)
    try:
        checkpoint = read_checkpoint(folder, model_id)
    except ModelError as error:
        if (folder / "config.json").is_file():
            raise
        # a path to something else, not a model that cannot be run: nothing to be kept
        raise TrackerError(f"{folder} holds no model: {error}", hint=error.hint) from error
    needs_code = refuse_remote_code(checkpoint.config, model_id, allowed=trust_remote_code)
    return Model(
        model_id=model_id,
        revision=revision or folder_revision(folder, settings),
        path=str(folder),
        quantization=quantization(checkpoint.config, [path.name for path in folder.iterdir()]),
        n_params=checkpoint.n_params,
        license=checkpoint.license,
        needs_remote_code=needs_code,
    )


def _folder_identity(folder: Path) -> tuple[str, str | None]:
    """`model_id`, and the commit where the folder has one."""
    return _snapshot_identity(folder) or (f"local/{folder.name}", None)


def _snapshot_identity(folder: Path) -> tuple[str, str] | None:
    """Repository and commit of a folder inside the Hub's cache: `models--org--name/snapshots/<commit>`.

    Anywhere else the identity is the folder's own. `_name_or_path` in the config is not it: a fine-tune
    carries the name of the model that it was made from.
    """
    repository = folder.parent.parent.name
    if folder.parent.name != "snapshots" or not repository.startswith("models--"):
        return None
    if not COMMIT.fullmatch(folder.name):
        return None
    return repository.removeprefix("models--").replace("--", "/"), folder.name
