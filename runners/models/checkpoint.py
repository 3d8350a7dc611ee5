"""A folder of safetensors: whether it is complete and safe to load, and what identifies it.

Only headers are parsed; torch is not needed. Not covered: whether the numbers inside make sense.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.models.repository_files import (
    CONFIG,
    INDEX,
    SINGLE,
    broken,
    check_inside,
    check_layers,
    read_config,
    read_header,
    read_license,
    shown,
    weight_files,
)
from runners.models.text_generation import refuse_without_generation
from tracker.errors import ModelError, TrackerError
from tracker.records.parameter_counts import count_parameters, read_quantization
from tracker.serialization import dump_json, load_json, write_atomically
from tracker.settings import Settings

# The files that engines read: they are downloaded, and they identify a local folder. Only top-level files:
# subfolders such as `original/` hold the same weights in another format.
LOADED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
NOT_LOADED = ("*/*", "consolidated*.safetensors", "adapter_*", "training_args.*", "trainer_state.json")
MAX_BESIDE_BYTES = 100_000_000  # of a file that is no weight file; the largest tokenizer takes 35 MB
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# What transformers reads from folders below; of a repository on the Hub they are not downloaded.
LOADED_BELOW = ("additional_chat_templates/*.jinja", "custom_generate/*")
HASHES_FILE = "file-hashes.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Metadata read from the files of one model."""

    config: Mapping[str, Any]
    n_params: int | None  # None: several share a stored value, and nothing says how many
    license: str | None = None


@dataclass(frozen=True, slots=True)
class FileHash:
    """The sha256 of a file and the state of the file when it was computed."""

    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str


def refuse_unloadable(names: Collection[str], model_id: str, *, base_models: Sequence[str] = ()) -> None:
    """Raise if these files cannot be loaded as a model.

    Raises:
        ModelError: only pickles, only GGUF, only an adapter, or no weights at all.
    """
    top = {name for name in names if "/" not in name}
    base = f"its base model is `{base_models[0]}`" if base_models else ""
    if INDEX in top or SINGLE in top:
        if CONFIG in top:
            return
        message = f"`{model_id}` has no `config.json`, so its architecture is unknown"
        raise ModelError(message, reason="unsupported", hint="use a repository in the transformers format")
    if "adapter_config.json" in top:
        message = f"`{model_id}` is an adapter without its base model"
        raise ModelError(message, reason="unsupported", hint=base or "merge it into its base model first")
    if any(name.endswith(".safetensors") for name in top):
        message = f"`{model_id}` has safetensors files, but neither `{SINGLE}` nor `{INDEX}`"
        raise ModelError(message, reason="unsupported", hint="save it again with `save_pretrained`")
    if any(name.endswith(PICKLES) for name in top):
        message = f"`{model_id}` has only pickled weights, which can run arbitrary code when loaded"
        hint = "look for a safetensors copy, or convert it on an isolated machine"
        raise ModelError(message, reason="pickle_weights", hint=hint)
    if any(name.endswith(".gguf") for name in names):
        server = "serve it with llama.cpp or Ollama and use `--engine server --base-url URL`"
        message = f"`{model_id}` has only GGUF weights"
        raise ModelError(message, reason="unsupported", hint=f"{base}; or {server}" if base else server)
    message = f"`{model_id}` has no weights"
    raise ModelError(
        message, reason="missing_weights", hint=base or "a model needs safetensors files at its top level"
    )


def refuse_large(name: str, n_bytes: int, model_id: str) -> None:
    """Refuse a file beside the weights that no tokenizer and no configuration can need.

    Raises:
        ModelError: it has more than `MAX_BESIDE_BYTES` (reason `broken_weights`).
    """
    if not name.endswith(".safetensors") and n_bytes > MAX_BESIDE_BYTES:
        what = f"`{shown(name)}` has {n_bytes / 1e6:,.0f} MB, more than {MAX_BESIDE_BYTES / 1e6:,.0f} MB"
        raise broken(model_id, what)


def quantization(config: Mapping[str, Any], names: Collection[str] = ()) -> str | None:
    """The method with which the published weights were quantized, such as `fp8` or `awq`."""
    declared = config.get("quantization_config")
    if isinstance(declared, Mapping):
        method = shown(str(declared.get("quant_method") or "unknown"))
        bits = declared.get("bits")
        return f"{method}-{bits}bit" if isinstance(bits, int) else method
    # NVIDIA's ModelOpt writes a separate file and may leave `config.json` unchanged
    return "modelopt" if "hf_quant_config.json" in names else None


def read_checkpoint(folder: Path, model_id: str) -> Checkpoint:
    """Read the folder's metadata after checking every weight file against its header.

    Raises:
        ModelError: it cannot be loaded, or a file is missing, empty, cut off or impossible.
    """
    names = [path.name for path in folder.iterdir() if path.is_file()]
    refuse_unloadable(names, model_id)
    for path in loaded_files(folder):
        check_inside(path, folder, model_id)
        refuse_large(path.name, path.stat().st_size, model_id)
    config = read_config(folder, model_id)
    refuse_without_generation(config, model_id)
    tensors = [one for path in weight_files(folder, model_id) for one in read_header(path, model_id)]
    check_layers(config, len(tensors), model_id)
    by_dtype: Counter[str] = Counter()
    for tensor in tensors:
        by_dtype[tensor.dtype] += tensor.n_values
    counted = count_parameters(
        by_dtype, total=by_dtype.total(), quantization=read_quantization(config), names=(model_id,)
    )
    n_params = None if counted.is_packed else counted.n_params
    return Checkpoint(config, n_params, read_license(folder, model_id))


def loaded_files(folder: Path) -> Iterator[Path]:
    """The files of a folder that an engine may read: those directly in it by name, then those below."""
    for path in sorted(folder.iterdir()):
        wanted = any(fnmatch.fnmatch(path.name, pattern) for pattern in (*LOADED, "*.py"))
        if wanted and path.is_file() and not any(fnmatch.fnmatch(path.name, p) for p in NOT_LOADED):
            yield path
    for pattern in LOADED_BELOW:
        yield from sorted(path for path in folder.glob(pattern) if path.is_file())


def folder_revision(folder: Path, settings: Settings) -> str:
    """`sha256:…` over the name and content of every file that an engine may read.

    All of the content is hashed, since a sample would miss an edit of a few layers: about 1 GB/s, once.
    Hashes are cached for as long as size, mtime and ctime stay the same.
    """
    folder = folder.resolve()
    digest = hashlib.sha256()
    for path, sha256 in content_hashes(loaded_files(folder), settings).items():
        inside = path.relative_to(folder).as_posix()
        digest.update(f"{inside} {sha256}\n".encode(errors="surrogateescape"))
    return f"sha256:{digest.hexdigest()}"


def content_hashes(paths: Iterable[Path], settings: Settings) -> dict[Path, str]:
    """The sha256 of each file, in order; computed again only if its size, mtime or ctime has changed."""
    cache_path = settings.home / HASHES_FILE
    try:
        known = load_json(dict[str, FileHash], cache_path.read_bytes(), where=str(cache_path))
    except (OSError, TrackerError):
        known = {}  # it is only a cache
    found = {str(path): _file_hash(path, known.get(str(path))) for path in paths}
    if any(known.get(name) != file_hash for name, file_hash in found.items()):
        kept = {name: file_hash for name, file_hash in known.items() if Path(name).is_file()}
        with contextlib.suppress(OSError):  # with a read-only home, the next call hashes again
            write_atomically(cache_path, dump_json(kept | found))
    return {Path(name): file_hash.sha256 for name, file_hash in found.items()}


def _file_hash(path: Path, known: FileHash | None) -> FileHash:
    status = path.stat()
    state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if known is not None and (known.size, known.mtime_ns, known.ctime_ns) == state:
        return known
    with path.open("rb") as file:
        return FileHash(*state, hashlib.file_digest(file, "sha256").hexdigest())
