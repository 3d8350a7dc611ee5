"""Resolve the MODEL of a command to a pinned model that an engine can run.

A name is `demo`, a local folder or GGUF file, or on the Hub `org/name[@revision]` and, for a GGUF,
`org/name[:FILE-OR-QUANT][@revision]`. An engine whose models are loaded elsewhere resolves names
itself, without the Hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

from runners.engines import GGUF, SAFETENSORS, EngineSpec, engine_spec, engine_specs
from runners.models.checkpoint import folder_revision, quantization, read_checkpoint
from runners.models.consent import folder_needs_remote_code
from runners.models.demo import MODEL_ID as DEMO_ID
from runners.models.demo import demo_gguf, demo_model
from runners.models.gguf_files import gguf_model_id, is_gguf_path, local_gguf
from runners.models.gguf_hub import download_gguf, gguf_download_bytes, hub_gguf
from runners.models.gguf_names import GgufName, gguf_name
from runners.models.hub import download_bytes, download_model, hub_model
from tracker.errors import ModelError, TrackerError, UnknownNameError
from tracker.records import EngineSettings, Model
from tracker.settings import Settings

DEMO = "demo"
COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve_model(
    name: str, engine: EngineSettings, settings: Settings, *, known: Iterable[str] = ()
) -> Model:
    """Resolve `name` for the engine and pin it; reads metadata only. `known` names are suggested for a typo.

    Raises:
        ModelError: it cannot be loaded here: gated, pickles only, remote code, broken files, …
        TrackerError: there is no such model, folder or revision, or its server refuses.
        UnreachableError: its server is down, or the Hub is and the model is not in its cache.
    """
    spec = engine_spec(engine.engine)
    if spec.identity is not None:
        return cast(Model, spec.load(spec.identity)(name, engine, settings))
    _check_format(name, spec)
    if name == DEMO:
        return demo_gguf() if GGUF in spec.weights else demo_model(settings)
    if is_gguf_path(name):
        return local_gguf(Path(name).expanduser(), settings)
    folder = _named_folder(name)
    if folder is not None:
        return _folder_model(folder, settings, trust_remote_code=engine.trust_remote_code)
    on_hub = _hub_gguf_name(name, spec)
    if on_hub is not None:
        return hub_gguf(on_hub, known=known)
    if "/" not in name:
        error = UnknownNameError("model", name, known={DEMO, *known})
        error.hint = f"{error.hint}; a model is `org/name` on the Hub, a local folder, or `{DEMO}`"
        raise error
    return hub_model(name, trust_remote_code=engine.trust_remote_code, known=known)


def stored_model_id(name: str, *, engine: str) -> str:
    """The `model_id` under which results of the model `name` are stored; reads nothing but the name."""
    if not engine_spec(engine).loads_weights:
        return name
    if name == DEMO:
        return DEMO_ID
    if is_gguf_path(name):
        return gguf_model_id(Path(name))
    folder = _named_folder(name)
    on_hub = gguf_name(name) if folder is None else None
    if on_hub is not None:
        return f"{on_hub.repository}:{on_hub.file}" if on_hub.file else on_hub.repository
    return name.partition("@")[0] if folder is None else _folder_identity(folder.resolve())[0]


def weights_format(name: str) -> str:
    """The format of the weights of MODEL, by its name alone; the Hub is not asked."""
    if is_gguf_path(name):
        return GGUF
    return GGUF if _named_folder(name) is None and gguf_name(name) is not None else SAFETENSORS


def bytes_to_download(model: Model, engine: EngineSettings) -> int:
    """Bytes of the model to download before the engine can load it.

    Raises:
        UnreachableError: the Hub is needed and does not answer.
    """
    if not engine_spec(engine.engine).loads_weights:
        return 0
    return download_bytes(model) if model.file is None else gguf_download_bytes(model)


def fetch_model(model: Model, engine: EngineSettings) -> Model:
    """The model with its files on this machine, downloaded if needed; unchanged if the engine loads no files.

    Raises:
        ModelError: the download is broken or refused.
        UnreachableError: the Hub is needed and does not answer.
    """
    if model.path is not None or not engine_spec(engine.engine).loads_weights:
        return model
    return replace(model, path=str(download_model(model) if model.file is None else download_gguf(model)))


def _check_format(name: str, spec: EngineSpec) -> None:
    """Refuse an engine that cannot load the model's weights.

    Raises:
        TrackerError: it cannot.
    """
    wanted = weights_format(name)
    if wanted in spec.weights or ":" in spec.name or name == DEMO or _hub_gguf_name(name, spec):
        return
    takers = [other.name for other in engine_specs() if other.loads_weights and wanted in other.weights]
    hint = " or ".join(f"--engine {other}" for other in takers)
    raise TrackerError(f"engine `{spec.name}` does not load {wanted} weights", hint=hint)


def _hub_gguf_name(name: str, spec: EngineSpec) -> GgufName | None:
    """The GGUF on the Hub that MODEL means; any repository to an engine that loads nothing else."""
    if _named_folder(name) is not None:
        return None
    found = gguf_name(name)
    if found is None and spec.weights == (GGUF,) and "/" in name:
        repository, _, revision = name.partition("@")
        found = GgufName(repository, revision or None)
    return found


def _named_folder(name: str) -> Path | None:
    """The folder that `name` refers to; None if it is not a path."""
    folder = Path(name).expanduser()
    looks_like_a_path = name.startswith((".", "~", "/")) or name.endswith("/")
    return folder if looks_like_a_path or (folder / "config.json").is_file() else None


def _folder_model(folder: Path, settings: Settings, *, trust_remote_code: bool) -> Model:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise TrackerError(
            f"the model folder `{folder}` {what}", hint="a local model is a folder of safetensors files"
        )
    folder = folder.resolve()
    model_id, revision = _folder_identity(folder)
    try:
        checkpoint = read_checkpoint(folder, model_id)
    except ModelError as error:
        if (folder / "config.json").is_file():
            raise
        # the path is no model at all, so no failed run is recorded
        raise TrackerError(f"`{folder}` contains no model: {error}", hint=error.hint) from error
    needs_code = folder_needs_remote_code(folder, model_id, allowed=trust_remote_code)
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
    """`model_id`, and the commit if the folder has one."""
    return _snapshot_identity(folder) or (f"local/{folder.name}", None)


def _snapshot_identity(folder: Path) -> tuple[str, str] | None:
    """Repository and commit of a folder inside the Hub's cache: `models--org--name/snapshots/<commit>`.

    Any other folder is identified by its own content, not by `_name_or_path` in the config: a fine-tune has
    the name of its base model there.
    """
    repository = folder.parent.parent.name
    if folder.parent.name != "snapshots" or not repository.startswith("models--"):
        return None
    if not COMMIT.fullmatch(folder.name):
        return None
    return repository.removeprefix("models--").replace("--", "/"), folder.name
