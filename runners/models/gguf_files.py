"""A GGUF file on this machine as a model: its parts, its identity, and what its header says.

The revision is the sha256 of the content, for a split file over all parts, so that a renamed file stays the
same model and a changed one does not.
"""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path

from runners.models.checkpoint import content_hashes
from runners.models.gguf import SPLIT_NAME, GgufHeader, LocalFile, read_split, split_names
from runners.models.repository_files import broken, shown
from tracker.errors import TrackerError
from tracker.records import Model
from tracker.settings import Settings

SUFFIX = ".gguf"
MAX_LICENSE = 100  # characters


def is_gguf_path(name: str) -> bool:
    """Whether MODEL is the path of a GGUF file on this machine."""
    if not name.lower().endswith(SUFFIX):
        return False
    return name.startswith((".", "~", "/")) or Path(name).is_file() or ":" not in name


def gguf_model_id(path: Path) -> str:
    """The `model_id` of a local file: `local/` and its name without the number of the part."""
    found = SPLIT_NAME.fullmatch(path.name)
    return f"local/{found['stem'] if found else path.name[: -len(SUFFIX)]}"


def local_gguf(path: Path, settings: Settings) -> Model:
    """The model in a GGUF file; `path` of the model is that of its first part.

    Raises:
        ModelError: it is broken or of an unknown type, or a part is missing.
        TrackerError: there is no such file.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is no regular file" if path.exists() else "does not exist"
        if path.is_symlink() and not path.exists():
            what = "is a link to a file that does not exist"
        raise TrackerError(f"the model file `{path}` {what}", hint=_near_files(path))
    model_id = gguf_model_id(path)
    parts = gguf_parts(path, model_id)
    header = read_gguf_files(parts, model_id)
    hashes = content_hashes(parts, settings)
    digest = hashes[parts[0]] if len(parts) == 1 else _combined(hashes)
    return Model(
        model_id=model_id,
        revision=f"sha256:{digest}",
        path=str(parts[0]),
        quantization=header.quantization,
        n_params=header.n_params,
        license=stated_license(header),
    )


def _near_files(path: Path) -> str:
    """GGUF files beside the missing one with a similar name, or how one on the Hub is named."""
    folder = path if path.is_dir() else path.parent
    found = folder.glob(f"*{SUFFIX}") if folder.is_dir() else ()
    names = sorted(one.name for one in found if one.is_file())
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5) or names[:3]
    if near:
        return "there is " + " or ".join(f"`{folder / shown(name)}`" for name in near)
    return "a GGUF on the Hub is `org/name:FILE` or `org/name:Q4_K_M`"


def gguf_parts(path: Path, model_id: str) -> tuple[Path, ...]:
    """All parts of a split file in order; only the file itself if it is not split.

    Raises:
        ModelError: a part is missing.
    """
    folder = path.absolute().parent.resolve()
    parts = [folder / name for name in split_names(path.name, model_id)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        what = f"{len(missing)} of {len(parts)} parts are missing, such as `{shown(missing[0])}`"
        raise broken(model_id, what, reason="missing_weights", hint="put all parts into one folder")
    return tuple(parts)


def read_gguf_files(parts: tuple[Path, ...], model_id: str) -> GgufHeader:
    """The header over all parts.

    Raises:
        ModelError: one cannot be read, is broken, or does not belong to the others.
    """
    try:
        return read_split([LocalFile(part) for part in parts], model_id)
    except OSError as error:
        raise broken(model_id, f"`{parts[0].name}` cannot be read: {error.strerror}") from error


def stated_license(header: GgufHeader) -> str | None:
    """The license that the file names."""
    stated = header.values.get("general.license")
    return shown(stated, MAX_LICENSE) if isinstance(stated, str) and stated else None


def _combined(hashes: dict[Path, str]) -> str:
    """One digest over the parts in order, whatever they are called."""
    return hashlib.sha256("".join(f"{sha256}\n" for sha256 in hashes.values()).encode()).hexdigest()
