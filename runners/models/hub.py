"""A model on the Hugging Face Hub: pin its commit, check that it can be loaded, then download it.

`HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_OFFLINE` mean what they mean to `huggingface_hub`, which
reads them. If the Hub cannot be reached, a complete snapshot in its cache is used.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, ModelInfo, constants, hf_hub_url
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.file_download import DryRunFileInfo, repo_folder_name
from huggingface_hub.hf_api import ExpandModelProperty_T
from huggingface_hub.utils import get_session

from runners.models.checkpoint import (
    LOADED,
    NOT_LOADED,
    quantization,
    read_checkpoint,
    refuse_large,
    refuse_unloadable,
)
from runners.models.consent import (
    folder_needs_remote_code,
    names_own_tokenizer,
    needs_remote_code,
    refuse_other_repositories,
)
from runners.models.hub_bytes import hub_bytes
from runners.models.hub_errors import hub_errors, retrying
from runners.models.repository_files import MAX_TOKENIZER_CONFIG_BYTES, check_config, parse_object, shown
from runners.models.text_generation import refuse_without_generation
from tracker.errors import TrackerError, UnreachableError
from tracker.private_home import shared_files
from tracker.records import Model
from tracker.records.parameter_counts import count_parameters, read_quantization
from tracker.serialization import write_atomically

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
COMMIT = re.compile(r"[0-9a-f]{6,64}")  # 40 digits, of newer repositories 64; a mirror may shorten them
TOKENIZER_CONFIG = "tokenizer_config.json"
DATA_SET_S = 5.0  # to find out whether data sets can be had
REQUEST_S = 20.0  # the library itself waits without limit
MARGIN_BYTES = 1 << 30  # left free for item files and logs
_log = logging.getLogger(__name__)


def hub_model(name: str, *, trust_remote_code: bool, known: Iterable[str] = ()) -> Model:
    """The model `org/name[@revision]`, pinned to a commit; reads metadata only.

    Raises:
        ModelError: it is gated, has no safetensors, or needs remote code.
        TrackerError: there is no such repository or revision; similar names are suggested.
        UnreachableError: the Hub is down and the model is not in its cache.
    """
    model_id, _, revision = name.partition("@")
    try:
        info = read_info(model_id, revision or None, known=known)
    except UnreachableError as error:
        cached = _cached_model(model_id, revision or None, trust_remote_code=trust_remote_code)
        if cached is None:
            hint = (
                "set HF_HUB_OFFLINE=0"
                if constants.HF_HUB_OFFLINE
                else "until then, only models in its cache can be used"
            )
            message = f"{error}, and `{name}` is not fully cached"
            raise UnreachableError(message, hint=hint) from error
        _log.warning("%s; using the cached commit %s of %s", error, cached.revision[:12], model_id)
        return cached
    model = _checked_model(info, trust_remote_code=trust_remote_code)
    if trust_remote_code and not model.needs_remote_code and _has_own_tokenizer(info, model):
        model = replace(model, needs_remote_code=True)
    remember_commit(model, revision or constants.DEFAULT_REVISION)
    return model


def has_data_set(name: str) -> bool:
    """Whether the Hub answers now and has this data set."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        HfApi().dataset_info(name, timeout=DATA_SET_S)
    except (OSError, httpx2.HTTPError, HfHubHTTPError):
        return False
    return True


def hub_answers() -> bool:
    """Whether the Hub answers a request that has nothing to do with one model."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        with get_session().stream(
            "GET", f"{constants.ENDPOINT}/api/models?limit=1", timeout=DATA_SET_S
        ) as response:
            return bool(response.is_success)
    except (OSError, httpx2.HTTPError, httpx2.InvalidURL):
        return False


def download_model(model: Model) -> Path:
    """Download the missing files of the model at its commit, without pickles; returns their folder.

    Raises:
        TrackerError: there is not enough disk space.
        ModelError: it is gated, or the downloaded files are broken.
        UnreachableError: the Hub is down and the files are not in its cache.
    """
    if model.path is not None:
        return Path(model.path)
    folder = _cached_folder(model.model_id, model.revision, needs_code=model.needs_remote_code)
    if folder is None:
        with hub_errors(model.model_id, model.revision), disk_errors(), shared_files():
            check_free_space(model, _planned_bytes(model))
            HfApi().snapshot_download(
                model.model_id,
                revision=model.revision,
                allow_patterns=_patterns(needs_code=model.needs_remote_code),
                ignore_patterns=list(NOT_LOADED),
            )
        folder = _cached_folder(model.model_id, model.revision, needs_code=model.needs_remote_code)
        if folder is None:
            raise UnreachableError(
                f"the download of `{model.model_id}` is incomplete", hint="repeat the command to resume it"
            )
    read_checkpoint(folder, model.model_id)
    folder_needs_remote_code(folder, model.model_id, allowed=model.needs_remote_code)
    return folder


def _checked_model(info: ModelInfo, *, trust_remote_code: bool) -> Model:
    """The model described by the Hub's metadata, checked to be loadable here."""
    assert info.sha is not None  # as `read_info` requires
    names = [sibling.rfilename for sibling in info.siblings or ()]
    refuse_unloadable(names, info.id, base_models=stated_parents(info))
    config = check_config(info.config if isinstance(info.config, dict) else {}, info.id)
    refuse_without_generation(config, info.id)
    needs_code = needs_remote_code(config, info.id, allowed=trust_remote_code)
    if info.gated:
        check_access(info.id, info.sha)
    return Model(
        model_id=info.id,
        revision=info.sha,
        quantization=quantization(config, names),
        n_params=_n_params(info, config),
        license=stated_license(info),
        needs_remote_code=needs_code,
    )


def _has_own_tokenizer(info: ModelInfo, model: Model) -> bool:
    """Whether its tokenizer is Python code of the repository; the Hub's metadata do not say."""
    if TOKENIZER_CONFIG not in [sibling.rfilename for sibling in info.siblings or ()]:
        return False
    raw, _ = hub_bytes(model, TOKENIZER_CONFIG, MAX_TOKENIZER_CONFIG_BYTES + 1)
    document = parse_object(raw, info.id, where=TOKENIZER_CONFIG, max_bytes=MAX_TOKENIZER_CONFIG_BYTES)
    refuse_other_repositories(document, TOKENIZER_CONFIG, info.id)
    return names_own_tokenizer(document, info.config or {})


def _n_params(info: ModelInfo, config: Mapping[str, Any]) -> int | None:
    """The number of parameters; None if several share a stored value and nothing says how many."""
    if not info.safetensors:
        return None
    counted = count_parameters(
        info.safetensors.parameters,
        total=info.safetensors.total,
        quantization=read_quantization(config, info.tags or ()),
        names=(info.id, *stated_parents(info)),
    )
    return None if counted.is_packed else counted.n_params


def stated_parents(info: ModelInfo) -> list[str]:
    """The models that the card names as its base."""
    if isinstance(info.base_models, dict):
        return [str(m["id"]) for m in info.base_models.get("models", ()) if isinstance(m, dict) and "id" in m]
    declared = info.card_data.get("base_model") if info.card_data else None
    return [declared] if isinstance(declared, str) else [str(name) for name in declared or ()]


def stated_license(info: ModelInfo) -> str | None:
    """The license that the card names."""
    declared = info.card_data.get("license") if info.card_data else None
    if isinstance(declared, str):
        return shown(declared)
    tags = (tag.partition(":")[2] for tag in info.tags or () if tag.startswith("license:"))
    return next((shown(tag) for tag in tags), None)


def read_info(model_id: str, revision: str | None, *, known: Iterable[str] = ()) -> ModelInfo:
    """What the Hub says of a repository at a revision.

    Raises:
        TrackerError: there is no such repository or revision; similar names are suggested.
        UnreachableError: the Hub is down, or its answer is not what the Hub's is.
    """
    for attempt in retrying():
        with attempt, hub_errors(model_id, revision, known=known):
            try:
                info = HfApi().model_info(model_id, revision=revision, expand=EXPAND, timeout=REQUEST_S)
            except (KeyError, TypeError, AttributeError) as error:  # the library takes any JSON as it is
                raise _unreadable(model_id) from error
            names = [info.id, *(sibling.rfilename for sibling in info.siblings or ())]
            if not all(isinstance(name, str) and name for name in names):
                raise _unreadable(model_id)
            if info.sha is None or COMMIT.fullmatch(str(info.sha)) is None:
                message = f"the Hub names no commit for `{model_id}`"
                raise UnreachableError(message, hint="check HF_ENDPOINT, or use another mirror")
            return info
    raise AssertionError("the last attempt returns or raises")


def _unreadable(model_id: str) -> UnreachableError:
    message = f"the Hub describes `{model_id}` in a form that cannot be read"
    return UnreachableError(message, hint="check HF_ENDPOINT, or use another mirror")


def check_access(model_id: str, revision: str, *, file: str = "config.json") -> None:
    """Check access with a HEAD request for a file: a gated model's metadata is public, its files are not.

    Raises:
        ModelError: it is gated.
    """
    url = hf_hub_url(model_id, file, revision=revision)
    for attempt in retrying():
        with attempt, hub_errors(model_id, revision):
            HfApi().get_hf_file_metadata(url=url, timeout=REQUEST_S)


def remember_commit(model: Model, revision: str) -> None:
    """Record the commit of `revision` in the Hub's cache, so that the name can be resolved offline later.

    A download of a pinned commit does not record it: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model.repository, repo_type="model")
    if revision != model.revision:
        with contextlib.suppress(OSError), shared_files():  # a read-only cache is still usable
            write_atomically(folder / "refs" / revision, model.revision.encode())


def _cached_model(model_id: str, revision: str | None, *, trust_remote_code: bool) -> Model | None:
    """The model if it is complete in the Hub's cache, else None."""
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
        needs_remote_code=folder_needs_remote_code(folder, model_id, allowed=trust_remote_code),
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
    # The library takes a folder with only `config.json` for complete if it has never listed the repository.
    return folder if any(folder.glob("*.safetensors")) else None


def _patterns(*, needs_code: bool) -> list[str]:
    return [*LOADED, "*.py"] if needs_code else list(LOADED)


def download_bytes(model: Model) -> int:
    """Bytes that `download_model` would download; cached files do not count.

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


def _planned(model: Model) -> list[DryRunFileInfo]:
    """The files of the model at its commit that an engine reads, with their sizes.

    Raises:
        ModelError: one beside the weights is too large.
    """
    planned = HfApi().snapshot_download(
        model.model_id,
        revision=model.revision,
        dry_run=True,
        allow_patterns=_patterns(needs_code=model.needs_remote_code),
        ignore_patterns=list(NOT_LOADED),
    )
    for file in planned:
        refuse_large(file.filename, file.file_size or 0, model.model_id)
    return list(planned)


def _planned_bytes(model: Model) -> int:
    return sum(file.file_size or 0 for file in _planned(model) if file.will_download)


def check_free_space(model: Model, n_bytes: int) -> None:
    """Check that the disk of the Hub's cache has room for `n_bytes` of the model.

    Raises:
        TrackerError: it has not.
    """
    wanted_bytes = n_bytes + MARGIN_BYTES
    place = Path(constants.HF_HUB_CACHE)
    while not place.exists():
        place = place.parent
    free_bytes = shutil.disk_usage(place).free
    if free_bytes < wanted_bytes:
        message = (
            f"`{model.model_id}` needs {wanted_bytes / 1e9:.1f} GB on the disk of `{place}`, "
            f"{free_bytes / 1e9:.1f} GB are free"
        )
        raise TrackerError(
            message, hint="`hf cache prune` frees space; HF_HOME moves the cache to another disk"
        )


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Turn an error of the disk of the Hub's cache into ours."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        message = f"the Hub's cache `{constants.HF_HUB_CACHE}` cannot be written: {error.strerror}"
        raise TrackerError(
            message, hint="`hf cache prune` frees space; HF_HOME moves the cache to another disk"
        ) from error
