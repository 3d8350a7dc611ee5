"""A GGUF file on the Hub: which file a name means, its header by ranges, and its download.

The `model_id` is `org/name:LABEL`, so that every file of a repository is a model of its own; the revision is
the repository's commit. If the Hub cannot be reached, files in its cache are used.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from glob import escape
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.file_download import repo_folder_name

from runners.models.gguf import GgufHeader, read_split, split_names
from runners.models.gguf_doubts import gguf_doubts
from runners.models.gguf_files import gguf_parts, read_gguf_files
from runners.models.gguf_files import stated_license as license_in_file
from runners.models.gguf_names import GgufFile, GgufName, choose_gguf, gguf_models, quant_label
from runners.models.gguf_parent import fetch_parent_tokenizer
from runners.models.hub import (
    check_access,
    check_free_space,
    disk_errors,
    read_info,
    remember_commit,
    stated_license,
    stated_parents,
)
from runners.models.hub_bytes import hub_bytes
from runners.models.hub_errors import hub_errors
from runners.models.repository_files import broken
from tracker.errors import UnreachableError
from tracker.private_home import shared_files
from tracker.records import Model

FIRST_BYTES = 2**20  # of a file: most of a header without its vocabulary
AT_ONCE = 4  # parts of a split file whose headers are read together
_log = logging.getLogger(__name__)


class HubFile:
    """A file of a repository, read by ranges; see `runners.models.gguf.ByteSource`."""

    def __init__(self, model: Model, name: str) -> None:
        """Read the beginning, which also tells the size.

        Raises:
            ModelError: the repository is gated, or has no such file.
            UnreachableError: the Hub is down.
        """
        self.name, self._model = name, model
        try:
            self._start, self.size = hub_bytes(model, name, FIRST_BYTES)
        except RemoteEntryNotFoundError as error:
            what = f"`{name}` is missing"
            raise broken(model.model_id, what, reason="missing_weights") from error

    def read(self, start: int, n_bytes: int) -> bytes:
        """`n_bytes` from `start` on; fewer at the end of the file."""
        if start + n_bytes <= len(self._start) or start + n_bytes > self.size <= len(self._start):
            return self._start[start : start + n_bytes]
        if start < len(self._start):
            begin = self._start[start:]
            return begin + self.read(len(self._start), n_bytes - len(begin))
        return hub_bytes(self._model, self.name, min(n_bytes, self.size - start), start=start)[0]


def hub_gguf(name: GgufName, *, known: Iterable[str] = ()) -> Model:
    """The model that `name` means, pinned to a commit; reads metadata and the header of its first file.

    Raises:
        ModelError: it is gated, broken, or the repository has no GGUF.
        TrackerError: there is no such repository, revision or file; similar names are suggested.
        UnreachableError: the Hub is down and the file is not in its cache.
    """
    try:
        info = read_info(name.repository, name.revision, known=known)
    except UnreachableError as error:
        cached = _cached_model(name)
        if cached is None:
            raise UnreachableError(f"{error}, and `{name.repository}` is not fully cached") from error
        _log.warning("%s; using the cached commit %s of %s", error, cached.revision[:12], cached.model_id)
        return cached
    assert info.sha is not None  # as `read_info` requires
    models = gguf_models(sibling.rfilename for sibling in info.siblings or ())
    chosen = choose_gguf(models, name.file, info.id)
    _tell_choice(info.id, chosen, models, asked=name.file)
    if info.gated:
        check_access(info.id, info.sha, file=chosen.first)
    pinned = _pinned(info.id, info.sha, chosen)
    header = hub_header(pinned)
    for doubt in gguf_doubts(info.id, header, stated_parents(info)):
        _log.warning("%s", doubt)
    model = replace(
        pinned,
        quantization=quant_label(chosen.first) or header.quantization,
        n_params=header.n_params,
        license=stated_license(info) or license_in_file(header),
    )
    remember_commit(model, name.revision or constants.DEFAULT_REVISION)
    return model


def hub_header(model: Model) -> GgufHeader:
    """The header of a GGUF on the Hub over all parts, by ranges; kept for the next call.

    Raises:
        ModelError: it is broken, gated or not known here.
        UnreachableError: the Hub is down.
    """
    assert model.file is not None
    return _header(model.model_id, model.revision, model.file)


def gguf_header(model: Model) -> GgufHeader:
    """The header of a GGUF model: from its files if they are here, else from the Hub.

    Raises:
        ModelError: it is broken, gated or not known here.
        UnreachableError: the Hub is needed and does not answer.
    """
    if model.path is None:
        cached = _cached_path(model)
        return hub_header(model) if cached is None else _local_header(cached, model.model_id)
    return _local_header(Path(model.path), model.model_id)


def is_gguf(model: Model) -> bool:
    """Whether the weights of the model are a GGUF file."""
    return model.file is not None or (model.path or "").lower().endswith(".gguf")


def gguf_download_bytes(model: Model) -> int:
    """Bytes of the model's parts to download; cached files do not count.

    Raises:
        ModelError: it is gated.
        UnreachableError: the Hub is down.
    """
    if model.path is not None or _cached_path(model) is not None:
        return 0
    with hub_errors(model.repository, model.revision):
        return _planned_bytes(model)


def download_gguf(model: Model) -> Path:
    """Download the missing parts of the model at its commit; returns the path of the first.

    Raises:
        TrackerError: there is not enough disk space.
        ModelError: it is gated, or the downloaded files are broken.
        UnreachableError: the Hub is down and the files are not in its cache.
    """
    path = _cached_path(model)
    if path is None:
        with hub_errors(model.repository, model.revision), disk_errors(), shared_files():
            check_free_space(model, _planned_bytes(model))
            HfApi().snapshot_download(
                model.repository, revision=model.revision, allow_patterns=_patterns(model)
            )
        path = _cached_path(model)
        if path is None:
            message = f"the download of `{model.model_id}` is incomplete"
            raise UnreachableError(message, hint="repeat the command to resume it")
    fetch_parent_tokenizer(_local_header(path, model.model_id))
    return path


@functools.lru_cache(maxsize=8)
def _header(model_id: str, revision: str, file: str) -> GgufHeader:
    model = Model(model_id, revision, file=file)
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        sources = list(pool.map(lambda name: HubFile(model, name), split_names(file, model_id)))
    return read_split(sources, model_id)


def _local_header(path: Path, model_id: str) -> GgufHeader:
    return read_gguf_files(gguf_parts(path, model_id), model_id)


def _pinned(repository: str, commit: str, chosen: GgufFile) -> Model:
    return Model(f"{repository}:{chosen.label}", commit, file=chosen.first)


def _tell_choice(
    repository: str, chosen: GgufFile, models: tuple[GgufFile, ...], *, asked: str | None
) -> None:
    """Say which file was taken where the name leaves it open."""
    if asked is None and len(models) > 1:
        _log.warning(
            "%s has %d GGUF models; taking %s (Q4_K_M, else the first; `%s:QUANT` names another)",
            repository, len(models), chosen.label, repository,
        )  # fmt: skip


def _cached_model(name: GgufName) -> Model | None:
    """The model if all of its parts are in the Hub's cache, else None."""
    try:
        found = HfApi().resolve_revision(name.repository, revision=name.revision, local_files_only=True)
    except (RevisionResolutionError, HFValidationError):
        return None
    place = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name.repository, repo_type="model")
    folder = place / "snapshots" / found.resolved
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*.gguf")]
    models = tuple(one for one in gguf_models(files) if all((folder / part).is_file() for part in one.parts))
    if not models:
        return None
    chosen = choose_gguf(models, name.file, name.repository)
    pinned = _pinned(name.repository, found.resolved, chosen)
    header = _local_header(folder / chosen.first, pinned.model_id)
    return replace(
        pinned,
        quantization=quant_label(chosen.first) or header.quantization,
        n_params=header.n_params,
        license=license_in_file(header),
    )


def _cached_path(model: Model) -> Path | None:
    """The first part in the Hub's cache, if all of them are there."""
    assert model.file is not None
    try:
        folder = Path(
            HfApi().snapshot_download(
                model.repository,
                revision=model.revision,
                local_files_only=True,
                allow_patterns=_patterns(model),
            )
        )
    except LocalEntryNotFoundError:
        return None
    parts = split_names(model.file, model.model_id)
    return folder / model.file if all((folder / part).is_file() for part in parts) else None


def _patterns(model: Model) -> list[str]:
    return [escape(part) for part in split_names(model.file or "", model.model_id)]


def _planned_bytes(model: Model) -> int:
    planned = HfApi().snapshot_download(
        model.repository, revision=model.revision, dry_run=True, allow_patterns=_patterns(model)
    )
    return sum(file.file_size or 0 for file in planned if file.will_download)
