"""A folder of safetensors: whether it is whole and may be loaded, and what identifies it.

Only headers are parsed; torch is not needed. Not covered: whether the numbers inside make sense.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import importlib.util
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracker.codec import dump_json, load_json, write_atomically
from tracker.errors import ModelError, TrackerError
from tracker.settings import Settings

# What engines read, and so what is downloaded and what identifies a local folder. Only files at the top:
# folders such as `original/` hold the same weights once more in another format.
LOADED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
NOT_LOADED = ("*/*", "consolidated*.safetensors", "adapter_*", "training_args.*", "trainer_state.json")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format itself
LFS_POINTER = b"version https://git-lfs"
HASHES_FILE = "file-hashes.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the files of one model say."""

    config: Mapping[str, Any]
    n_params: int
    license: str | None = None


@dataclass(frozen=True, slots=True)
class FileHash:
    """A sha256 and the state of the file that it was taken from."""

    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str


def refuse_unloadable(names: Collection[str], model_id: str, *, base_models: Sequence[str] = ()) -> None:
    """Say why these files cannot be loaded as a model, if they cannot.

    Raises:
        ModelError: only pickles, only GGUF, only an adapter, or no weights at all.
    """
    top = {name for name in names if "/" not in name}
    base = f"the model it was made from is `{base_models[0]}`" if base_models else ""
    if INDEX in top or SINGLE in top:
        if "config.json" in top:
            return
        message = f"`{model_id}` has no `config.json`, so no engine knows its architecture"
        raise ModelError(message, reason="unsupported", hint="take the repository in the transformers format")
    if "adapter_config.json" in top:
        message = f"`{model_id}` is only an adapter, not a whole model"
        raise ModelError(message, reason="unsupported", hint=base or "merge it into its base model first")
    if any(name.endswith(".safetensors") for name in top):
        message = f"`{model_id}` has safetensors, but neither `{SINGLE}` nor `{INDEX}`"
        raise ModelError(message, reason="unsupported", hint="write it again with `save_pretrained`")
    if any(name.endswith(PICKLES) for name in top):
        message = f"`{model_id}` has its weights only as pickles, which can run any code when they are loaded"
        hint = "look for a copy in safetensors, or convert it on a machine that may be lost"
        raise ModelError(message, reason="pickle_weights", hint=hint)
    if any(name.endswith(".gguf") for name in names):
        server = "serve it with llama.cpp or Ollama and use `--engine server --base-url URL`"
        message = f"`{model_id}` has its weights only as GGUF"
        raise ModelError(message, reason="unsupported", hint=f"{base}; or {server}" if base else server)
    message = f"`{model_id}` has no weights"
    raise ModelError(
        message, reason="missing_weights", hint=base or "a model needs safetensors at its top level"
    )


def quantization(config: Mapping[str, Any], names: Collection[str] = ()) -> str | None:
    """The method by which the weights were quantized before they were published, such as `fp8` or `awq`."""
    declared = config.get("quantization_config")
    if isinstance(declared, Mapping):
        method = str(declared.get("quant_method") or "unknown")
        bits = declared.get("bits")
        return f"{method}-{bits}bit" if isinstance(bits, int) else method
    # NVIDIA's ModelOpt writes a file of its own and may leave `config.json` as it was
    return "modelopt" if "hf_quant_config.json" in names else None


def refuse_remote_code(config: Mapping[str, Any], model_id: str, *, allowed: bool) -> bool:
    """Whether loading runs code that comes with the weights.

    Raises:
        ModelError: it does, and that was not allowed for this model.
    """
    auto_map = config.get("auto_map")
    if not auto_map or _known_to_transformers(str(config.get("model_type", ""))):
        return False
    if not allowed:
        message = f"`{model_id}` can only be loaded by running Python code that comes with it"
        hint = "read that code, then repeat the command with `--trust-remote-code`"
        raise ModelError(message, reason="needs_remote_code", hint=hint)
    return True


def _known_to_transformers(model_type: str) -> bool:
    """Whether the installed transformers brings this architecture itself, and so ignores `auto_map`."""
    found = importlib.util.find_spec("transformers")
    if found is None or found.origin is None or not model_type:
        return False
    return (Path(found.origin).parent / "models" / model_type.replace("-", "_").lower()).is_dir()


def read_checkpoint(folder: Path, model_id: str) -> Checkpoint:
    """What the folder holds, after checking every weight file against its header.

    Raises:
        ModelError: it cannot be loaded, or a file is missing, empty or cut off.
    """
    names = [path.name for path in folder.iterdir() if path.is_file()]
    refuse_unloadable(names, model_id)
    config = _read_json(folder / "config.json", model_id)
    if INDEX in names:
        weight_map = _read_json(folder / INDEX, model_id).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise _broken(model_id, f"`{INDEX}` names no files")
        shards = sorted({str(name) for name in weight_map.values()})
    else:
        shards = [SINGLE]
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise _broken(
            model_id, f"{len(missing)} of {len(shards)} weight files are missing, first `{missing[0]}`"
        )
    n_params = sum(_checked_params(folder / name, model_id) for name in shards)
    return Checkpoint(config=config, n_params=n_params, license=_license(folder / "README.md"))


def _checked_params(path: Path, model_id: str) -> int:
    """The number of weights in one file whose size agrees with its header."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(LFS_POINTER))
        if start == LFS_POINTER:
            raise _broken(
                model_id, f"`{path.name}` is a Git LFS pointer, not the file", hint="run `git lfs pull`"
            )
        length = int.from_bytes(start[:8], "little") if len(start) >= 8 else 0
        if not 0 < length <= MAX_HEADER_BYTES or 8 + length > size:
            cause = "is empty" if size == 0 else "has no whole safetensors header"
            raise _broken(model_id, f"`{path.name}` {cause}")
        file.seek(8)
        raw = file.read(length)
    try:
        header = json.loads(raw)
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        end = max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
        n_params = sum(math.prod(int(n) for n in entry["shape"]) for entry in tensors)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise _broken(model_id, f"`{path.name}` has no readable safetensors header") from error
    if size < 8 + length + end:
        raise _broken(model_id, f"`{path.name}` is cut off: {size} of {8 + length + end} bytes are there")
    return n_params


def _read_json(path: Path, model_id: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _broken(model_id, f"`{path.name}` cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise _broken(model_id, f"`{path.name}` is no JSON object")
    return document


def _broken(model_id: str, what: str, *, hint: str = "") -> ModelError:
    hint = hint or "copy or download it again"
    return ModelError(f"`{model_id}` is broken: {what}", reason="broken_weights", hint=hint)


def _license(readme: Path) -> str | None:
    """The `license` of the model card's front matter."""
    if not readme.is_file():
        return None
    card = re.match(
        r"\ufeff?---\s*\n(.*?)\n---", readme.read_text(encoding="utf-8", errors="replace"), re.DOTALL
    )
    found = re.search(r"^license:\s*[\"']?([\w.+-]+)", card.group(1), re.MULTILINE) if card else None
    return found.group(1) if found else None


def loaded_files(folder: Path) -> Iterator[Path]:
    """The files of a folder that an engine may read, by name."""
    for path in sorted(folder.iterdir()):
        wanted = any(fnmatch.fnmatch(path.name, pattern) for pattern in (*LOADED, "*.py"))
        if wanted and path.is_file() and not any(fnmatch.fnmatch(path.name, p) for p in NOT_LOADED):
            yield path


def folder_revision(folder: Path, settings: Settings) -> str:
    """`sha256:…` over name and content of every file that an engine may read.

    The content is hashed whole: a sample would not see an edit of a few layers. About 1 GB/s, once; then the
    hash is remembered for as long as size, mtime and ctime stay.
    """
    cache_path = settings.home / HASHES_FILE
    try:
        known = load_json(dict[str, FileHash], cache_path.read_bytes(), where=str(cache_path))
    except (OSError, TrackerError):
        known = {}  # it is only a cache
    found = {str(path): _file_hash(path, known.get(str(path))) for path in loaded_files(folder.resolve())}
    if any(known.get(name) != file_hash for name, file_hash in found.items()):
        kept = {name: file_hash for name, file_hash in known.items() if Path(name).is_file()}
        with contextlib.suppress(OSError):  # a read-only home only costs the next call its time
            write_atomically(cache_path, dump_json(kept | found))
    digest = hashlib.sha256()
    for name, file_hash in found.items():
        digest.update(f"{Path(name).name} {file_hash.sha256}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _file_hash(path: Path, known: FileHash | None) -> FileHash:
    status = path.stat()
    state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if known is not None and (known.size, known.mtime_ns, known.ctime_ns) == state:
        return known
    with path.open("rb") as file:
        return FileHash(*state, hashlib.file_digest(file, "sha256").hexdigest())
