"""A model on the Hugging Face Hub: pinned to a commit, judged before anything is downloaded, then fetched.

`HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_OFFLINE` mean what they mean to `huggingface_hub`, which
reads them. Without the Hub, a snapshot that lies whole in its cache is used.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from huggingface_hub import HfApi, ModelInfo, constants, hf_hub_url
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RevisionResolutionError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.hf_api import ExpandModelProperty_T

from runners.checkpoint import (
    LOADED,
    NOT_LOADED,
    quantization,
    read_checkpoint,
    refuse_remote_code,
    refuse_unloadable,
)
from runners.hub_errors import hub_errors, retrying
from tracker.codec import write_atomically
from tracker.errors import TrackerError, UnreachableError
from tracker.records import Model

EXPAND: list[ExpandModelProperty_T] = [
    "baseModels",
    "cardData",
    "config",
    "disabled",
    "gated",
    "safetensors",
    "sha",
    "siblings",
    "tags",
]
REQUEST_S = 20.0  # the library itself would wait without end
MARGIN_BYTES = 1 << 30  # left free beside the download, for item files and logs
_log = logging.getLogger(__name__)


def hub_model(name: str, *, trust_remote_code: bool, known: Iterable[str] = ()) -> Model:
    """The model `org/name[@revision]`, pinned to a commit; only metadata is read.

    Raises:
        ModelError: it is gated, has no safetensors, or wants to run its own code.
        TrackerError: there is no such repository or revision; near names are suggested.
        UnreachableError: the Hub is down and the model is not in its cache.
    """
    model_id, _, revision = name.partition("@")
    try:
        info = _info(model_id, revision or None, known=known)
    except UnreachableError as error:
        cached = _cached_model(model_id, revision or None, trust_remote_code=trust_remote_code)
        if cached is None:
            hint = (
                "set HF_HUB_OFFLINE=0"
                if constants.HF_HUB_OFFLINE
                else "only models in its cache can be used now"
            )
            message = f"{error}, and `{name}` is not whole in its cache"
            raise UnreachableError(message, hint=hint) from error
        _log.warning("%s; using the cached commit %s of %s", error, cached.revision[:12], model_id)
        return cached
    model = _judged(info, trust_remote_code=trust_remote_code)
    _remember_commit(model, revision or constants.DEFAULT_REVISION)
    return model


def download_model(model: Model) -> Path:
    """The folder with the model's files at its commit, downloaded if need be: safetensors and tokenizer only.

    Raises:
        TrackerError: the disk has no room for it.
        ModelError: it is gated, or what arrived is broken.
        UnreachableError: the Hub is down and the files are not in its cache.
    """
    if model.path is not None:
        return Path(model.path)
    folder = _cached_folder(model.model_id, model.revision, needs_code=model.needs_remote_code)
    if folder is None:
        with hub_errors(model.model_id, model.revision), _disk_errors():
            _check_free_space(model)
            HfApi().snapshot_download(
                model.model_id,
                revision=model.revision,
                allow_patterns=_patterns(needs_code=model.needs_remote_code),
                ignore_patterns=list(NOT_LOADED),
            )
        folder = _cached_folder(model.model_id, model.revision, needs_code=model.needs_remote_code)
        if folder is None:
            raise UnreachableError(f"`{model.model_id}` did not arrive whole", hint="repeat the command")
    read_checkpoint(folder, model.model_id)
    return folder


def _judged(info: ModelInfo, *, trust_remote_code: bool) -> Model:
    """The model that the Hub describes, if it can be loaded here."""
    if not info.sha:
        raise UnreachableError(f"the Hub does not say which commit `{info.id}` is at")
    names = [sibling.rfilename for sibling in info.siblings or ()]
    config = info.config or {}
    refuse_unloadable(names, info.id, base_models=_base_models(info))
    needs_code = refuse_remote_code(config, info.id, allowed=trust_remote_code)
    if info.gated:
        _check_access(info.id, info.sha)
    return Model(
        model_id=info.id,
        revision=info.sha,
        quantization=quantization(config, names),
        n_params=info.safetensors.total if info.safetensors else None,
        license=_license(info),
        needs_remote_code=needs_code,
    )


def _base_models(info: ModelInfo) -> list[str]:
    if isinstance(info.base_models, dict):
        return [str(m["id"]) for m in info.base_models.get("models", ()) if isinstance(m, dict) and "id" in m]
    declared = info.card_data.get("base_model") if info.card_data else None
    return [declared] if isinstance(declared, str) else [str(name) for name in declared or ()]


def _license(info: ModelInfo) -> str | None:
    declared = info.card_data.get("license") if info.card_data else None
    if isinstance(declared, str):
        return declared
    return next((tag.partition(":")[2] for tag in info.tags or () if tag.startswith("license:")), None)


def _info(model_id: str, revision: str | None, *, known: Iterable[str]) -> ModelInfo:
    for attempt in retrying():
        with attempt, hub_errors(model_id, revision, known=known):
            return HfApi().model_info(model_id, revision=revision, expand=EXPAND, timeout=REQUEST_S)
    raise AssertionError("the last attempt returns or raises")


def _check_access(model_id: str, revision: str) -> None:
    """Metadata of a gated model is public and its files are not, so ask for one of them, without its body."""
    url = hf_hub_url(model_id, "config.json", revision=revision)
    for attempt in retrying():
        with attempt, hub_errors(model_id, revision):
            HfApi().get_hf_file_metadata(url=url, timeout=REQUEST_S)


def _remember_commit(model: Model, revision: str) -> None:
    """Note in the Hub's cache which commit `revision` is, so that the name can be resolved offline later.

    A download of a pinned commit does not write this note: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model.model_id, repo_type="model")
    if revision != model.revision:
        with contextlib.suppress(OSError):  # a read-only cache is still of use
            write_atomically(folder / "refs" / revision, model.revision.encode())


def _cached_model(model_id: str, revision: str | None, *, trust_remote_code: bool) -> Model | None:
    """The model as it lies whole in the Hub's cache, or None."""
    try:
        commit = HfApi().resolve_revision(model_id, revision=revision, local_files_only=True).resolved
    except (RevisionResolutionError, HFValidationError):
        return None
    folder = _cached_folder(model_id, commit, needs_code=trust_remote_code)
    if folder is None:
        return None
    checkpoint = read_checkpoint(folder, model_id)
    return Model(
        model_id=model_id,
        revision=commit,
        quantization=quantization(checkpoint.config, [path.name for path in folder.iterdir()]),
        n_params=checkpoint.n_params,
        license=checkpoint.license,
        needs_remote_code=refuse_remote_code(checkpoint.config, model_id, allowed=trust_remote_code),
    )


def _cached_folder(model_id: str, commit: str, *, needs_code: bool) -> Path | None:
    try:
        found = HfApi().snapshot_download(
            model_id,
            revision=commit,
            local_files_only=True,
            allow_patterns=_patterns(needs_code=needs_code),
            ignore_patterns=list(NOT_LOADED),
        )
    except LocalEntryNotFoundError:
        return None
    folder = Path(found)
    # The library takes a folder with only `config.json` for the whole if it has never listed the repository.
    return folder if any(folder.glob("*.safetensors")) else None


def _patterns(*, needs_code: bool) -> list[str]:
    return [*LOADED, "*.py"] if needs_code else list(LOADED)


def download_bytes(model: Model) -> int:
    """How much `download_model` would download: nothing of what lies in the cache.

    Raises:
        ModelError: it is gated.
        UnreachableError: the Hub is down.
    """
    if model.path is not None or _cached_folder(
        model.model_id, model.revision, needs_code=model.needs_remote_code
    ):
        return 0
    with hub_errors(model.model_id, model.revision):
        return _planned_bytes(model)


def _planned_bytes(model: Model) -> int:
    planned = HfApi().snapshot_download(
        model.model_id,
        revision=model.revision,
        dry_run=True,
        allow_patterns=_patterns(needs_code=model.needs_remote_code),
        ignore_patterns=list(NOT_LOADED),
    )
    return sum(file.file_size or 0 for file in planned if file.will_download)


def _check_free_space(model: Model) -> None:
    wanted_bytes = _planned_bytes(model) + MARGIN_BYTES
    place = Path(constants.HF_HUB_CACHE)
    while not place.exists():
        place = place.parent
    free_bytes = shutil.disk_usage(place).free
    if free_bytes < wanted_bytes:
        message = (
            f"`{model.model_id}` needs {wanted_bytes / 1e9:.1f} GB on {place}, "
            f"{free_bytes / 1e9:.1f} GB are free"
        )
        raise TrackerError(
            message, hint="`hf cache prune` frees space; HF_HOME moves the cache to another disk"
        )


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        message = f"the Hub's cache {constants.HF_HUB_CACHE} cannot be written: {error.strerror}"
        raise TrackerError(
            message, hint="`hf cache prune` frees space; HF_HOME moves it to another disk"
        ) from error
