"""Read what a repository says about its model: its JSON files, the headers of its weights, its model card.

Strangers wrote these files, so each reader has a limit of bytes and depth, takes linear time, checks types
and ranges, and gives a record or a `ModelError` with one sentence. Two equal keys are refused in a header, as
the format asks; elsewhere the last one counts, as for the engines. A link must not lead out of its folder.
Not covered: files that only an engine reads, such as `tokenizer.json`; its worker has limits of its own.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracker.errors import ModelError, printable_text

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
LFS_POINTER = b"version https://git-lfs"
HUB_FOLDER = "models--"  # how a repository's folder in the Hub's cache begins

MAX_CONFIG_BYTES = 16_000_000  # the longest list which layers are quantized has one million
MAX_TOKENIZER_CONFIG_BYTES = 32_000_000  # with a description of each added token
MAX_INDEX_BYTES = 64_000_000  # of DeepSeek-V3, with 92,000 tensors: 9 million
MAX_HEADER_BYTES = 32_000_000  # of one file; a tensor takes about 110 bytes
MAX_HEADER_OBJECTS = 1_000_000  # objects and lists in a header: three per tensor
MAX_CARD_BYTES = 64_000  # of a model card, from its beginning
MAX_DEPTH = 64  # nested objects and lists
MAX_DIGITS = 40  # of an integer; tokenizers write 1e30 in full
MAX_NAME_BYTES = 255  # of a file, on every file system
MAX_FILES = 2_000  # weight files of one model
MAX_DIMENSIONS = 16
MAX_SIDE = 2**48  # of a tensor
MAX_LAYERS = 10_000
FEW_LAYERS = 100  # layers may share their tensors
MAX_COUNT = 2**40  # any other number that memory depends on

DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64,
    "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
# Numbers in a config.json that memory depends on, under all their names; see `runners.memory.architecture`.
LAYER_COUNTS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "num_nextn_predict_layers",
    "num_kv_shared_layers", "max_window_layers", "attn_layer_period", "attn_layer_offset",
    "full_attention_interval", "no_rope_layer_interval", "layer_group_size",
)  # fmt: skip
COUNTS = (
    "hidden_size", "n_embd", "d_model", "n_embed", "num_attention_heads", "n_head", "n_heads",
    "num_heads", "decoder_attention_heads", "num_key_value_heads", "n_head_kv", "num_kv_heads",
    "multi_query_group_num", "num_attention_groups", "head_dim", "kv_channels", "attention_head_dim",
    "hidden_size_per_head", "intermediate_size", "n_inner", "ffn_dim", "d_ff", "ffn_hidden_size",
    "d_inner", "max_position_embeddings", "n_positions", "max_seq_len", "seq_length",
    "max_sequence_length", "n_ctx", "moe_intermediate_size", "expert_ffn_hidden_size",
    "num_experts_per_tok", "experts_per_token", "top_k_experts", "moe_topk", "num_experts_per_token",
    "moe_top_k", "num_query_heads", "num_attention_heads_per_layer", "num_key_value_heads_per_layer", "d_kv",
    "sliding_window_size", "interleaved_sliding_window", "swa_window_size", "attention_window_size",
    "max_target_positions", "max_seq_length", "seq_len", "original_max_position_embeddings",
    "vocab_size", "sliding_window", "attention_chunk_size", "index_head_dim", "qk_rope_head_dim",
    "qk_nope_head_dim", "kv_lora_rank", "v_head_dim", "global_head_dim", "num_global_key_value_heads",
    "swa_head_dim", "swa_v_head_dim", "swa_num_key_value_heads", "kv_n_heads", "conv_dim",
    "conv_L_cache", "linear_value_head_dim", "linear_num_key_heads", "linear_key_head_dim",
    "linear_num_value_heads", "linear_conv_kernel_dim", "linear_num_heads", "linear_head_dim",
    "short_conv_kernel_size", "mamba_d_state", "ssm_state_size", "state_size", "mamba_d_conv",
    "conv_kernel", "mamba_num_heads", "mamba_n_heads", "n_mamba_heads", "mamba_d_ssm", "mamba_d_head",
    "mamba_headdim", "mamba_n_groups", "n_groups", "mamba_ngroups", "padded_vocab_size", "moe_k",
    "num_swa_attention_heads", "num_swa_key_value_heads", "cla_share_factor",
)  # fmt: skip
# What no engine can do without; any other odd value may be one that it never reads.
ESSENTIAL = (
    *LAYER_COUNTS[:5], "hidden_size", "n_embd", "d_model", "n_embed", "num_attention_heads", "n_head",
    "n_heads", "num_heads", "decoder_attention_heads", "vocab_size",
)  # fmt: skip
OBJECTS = (
    "quantization_config", "text_config", "llm_config", "language_config", "thinker_config", "attn_config",
    "ffn_config", "linear_attn_config",
)  # fmt: skip
TEXTS = ("model_type", "quant_method", "dtype", "torch_dtype")
LISTS = ("architectures", "layer_types", "layers_block_type", "hybrid_layer_types")
LISTED_LAYERS = (
    "layer_types", "layers_block_type", "hybrid_layer_types", "attn_type_list", "attn_layer_indices",
    "full_attn_idxs", "full_attn_layers", "hybrid_override_pattern", "layer_pattern",
    "sliding_window_pattern", "_sliding_window_pattern",  # a number, or letters such as `LLLG`
    "block_configs", "hybrid_layer_pattern", "no_rope_layers", "window_attn_skip_freq",
)  # fmt: skip

FRONT_MATTER = "---"
LICENSE_LINE = re.compile(r"license:\s{0,20}[\"']?([\w.+-]{1,100})")
SHOWN = 60  # characters of a stranger's value in a message

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One entry of a safetensors header: `shape` in elements, `begin` and `end` in bytes of the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def n_values(self) -> int:
        """Number of stored elements."""
        return math.prod(self.shape)


class _ImpossibleError(ValueError):
    """What is wrong with a file, without its name."""


# --- finding files -----------------------------------------------------------------------------------------


def own_file(folder: Path, name: str, model_id: str) -> Path | None:
    """The file `name` directly in `folder`; None if there is none.

    Raises:
        ModelError: the name is no name of a file in a folder, or the file is a link to somewhere else.
    """
    check_file_name(name, model_id)
    path = folder / name
    if not path.is_file():
        return None
    check_inside(path, folder, model_id)
    return path


def check_inside(path: Path, folder: Path, model_id: str) -> None:
    """Check that a file of a folder is no link to a file elsewhere.

    Raises:
        ModelError: it is.
    """
    root = folder.resolve()
    if root.parent.name == "snapshots" and root.parent.parent.name.startswith(HUB_FOLDER):
        root = root.parent.parent  # the Hub's cache keeps the content of files beside its snapshots
    if not path.resolve().is_relative_to(root):
        what = f"`{shown(path.name)}` is a link to a file outside the folder"
        raise broken(model_id, what, hint="copy the file into the folder")


def check_file_name(name: str, model_id: str) -> None:
    """Check that the name is one of a file directly in the repository.

    Raises:
        ModelError: it leads elsewhere, or no file can have it.
    """
    n_bytes = len(name.encode(errors="surrogatepass"))
    is_bad = name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable()
    if is_bad or n_bytes > MAX_NAME_BYTES:
        raise broken(model_id, f"it names a file `{shown(name)}`, which cannot be in its folder")


def weight_files(folder: Path, model_id: str) -> tuple[Path, ...]:
    """The weight files of a folder, by name: those of its index, else the single one.

    Raises:
        ModelError: a file is missing, lies elsewhere, or the index cannot be read.
    """
    index = own_file(folder, INDEX, model_id)
    names = (SINGLE,) if index is None else indexed_files(read_index(index, model_id), model_id)
    paths = [own_file(folder, name, model_id) for name in names]
    missing = [name for name, path in zip(names, paths, strict=True) if path is None]
    if missing:
        what = f"{len(missing)} of {len(names)} weight files are missing, such as `{shown(missing[0])}`"
        raise broken(model_id, what, reason="missing_weights" if index is None else "broken_weights")
    return tuple(path for path in paths if path is not None)


def read_index(path: Path, model_id: str) -> JsonObject:
    """The index of the weight files, with their limit of bytes."""
    return read_object(path, model_id, max_bytes=MAX_INDEX_BYTES)


def indexed_files(index: Mapping[str, Any], model_id: str) -> tuple[str, ...]:
    """The names of the weight files in an index, sorted.

    Raises:
        ModelError: it lists none, too many, or something that is no name of a file.
    """
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise broken(model_id, f"`{INDEX}` lists no files")
    wrong = next((value for value in weight_map.values() if not isinstance(value, str)), None)
    if wrong is not None or None in weight_map.values():
        raise broken(model_id, f"`{INDEX}` has `{shown(wrong)}` where the name of a file belongs")
    names = sorted(set(weight_map.values()))
    if len(names) > MAX_FILES:
        raise broken(model_id, f"`{INDEX}` lists {len(names):,} files, more than {MAX_FILES:,}")
    for name in names:
        check_file_name(name, model_id)
        if not name.endswith(".safetensors"):
            raise broken(model_id, f"`{INDEX}` lists `{shown(name)}`, which is no safetensors file")
    return tuple(names)


# --- JSON --------------------------------------------------------------------------------------------------


def read_object(path: Path, model_id: str, *, max_bytes: int = MAX_CONFIG_BYTES) -> JsonObject:
    """The JSON object in a file, whatever its keys mean.

    Raises:
        ModelError: it is no JSON object, too large, or nested too deeply.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except OSError as error:
        raise broken(model_id, f"`{path.name}` cannot be read: {error.strerror}") from error
    return parse_object(raw, model_id, where=path.name, max_bytes=max_bytes)


def parse_object(raw: bytes, model_id: str, *, where: str, max_bytes: int = MAX_CONFIG_BYTES) -> JsonObject:
    """The JSON object in `raw`.

    Raises:
        ModelError: it is no JSON object, too large, or nested too deeply.
    """
    try:
        document = _parsed(raw, max_bytes=max_bytes, parse_int=_integer)
    except _ImpossibleError as error:
        raise broken(model_id, f"`{where}` cannot be read: {shown(error, 200)}") from error
    if not isinstance(document, dict):
        raise broken(model_id, f"`{where}` is not a JSON object")
    return document


def _parsed(raw: bytes, *, max_bytes: int, **options: Any) -> Any:
    """The JSON document in `raw`.

    Raises:
        _ImpossibleError: it is none, or beyond a limit.
    """
    if len(raw) > max_bytes:
        raise _ImpossibleError(f"it has more than {max_bytes:,} bytes")
    try:
        document = json.loads(raw.decode(), **options)
        _check_values(document)
    except UnicodeDecodeError as error:
        raise _ImpossibleError("it is not in UTF-8") from error
    except RecursionError as error:
        raise _ImpossibleError(f"it is nested more than {MAX_DEPTH} levels deep") from error
    except ValueError as error:
        raise _ImpossibleError(str(error)) from error
    return document


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _ImpossibleError(f"a number of {len(digits):,} digits")
    return int(digits)


def _no_number(text: str) -> float:
    raise _ImpossibleError(f"`{text[:SHOWN]}` where an integer belongs")


def _distinct(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _ImpossibleError("two entries have the same name")
    return found


def _check_values(document: Any) -> None:
    """Refuse too many levels, and text that is no Unicode (half of a surrogate pair)."""
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _ImpossibleError(f"it is nested more than {MAX_DEPTH} levels deep")
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                for key in value:
                    _check_text(key)
                values: Sequence[Any] = list(value.values())
            else:
                values = value if isinstance(value, list) else (value,)
            for one in values:
                if isinstance(one, str):
                    _check_text(one)
                elif isinstance(one, dict | list):
                    below.append(one)
        level = below


def _check_text(text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _ImpossibleError(f"`{printable_text(text)[:SHOWN]}` is no valid text") from error


def nested(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The object and every object inside it, in no particular order."""
    left: list[Any] = [document]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            yield value
            left += [one for one in value.values() if isinstance(one, Mapping | list | tuple)]
        else:
            left += [one for one in value if isinstance(one, Mapping | list | tuple)]


# --- config.json -------------------------------------------------------------------------------------------


def read_config(folder: Path, model_id: str) -> JsonObject:
    """The folder's config.json, with the types and ranges of `check_config`.

    Raises:
        ModelError: it is missing, cannot be read, or says something impossible.
    """
    path = own_file(folder, CONFIG, model_id)
    if path is None:
        raise broken(model_id, f"`{CONFIG}` is missing")
    return check_config(read_object(path, model_id), model_id)


def check_config(config: Mapping[str, Any], model_id: str) -> JsonObject:
    """The config after checking every number, text and object that we use, also in its parts.

    Raises:
        ModelError: a value has the wrong type, or is out of range (reason `broken_weights`).
    """
    for part in nested(config):
        for name in (*LAYER_COUNTS, *COUNTS):
            if part.get(name) is not None:
                _check_count(part[name], name, model_id)
        for name in OBJECTS:
            if part.get(name) is not None and not isinstance(part[name], Mapping):
                raise impossible(model_id, name, part[name], "an object")
        for name in TEXTS:
            is_text = isinstance(part.get(name), str | None)
            if not is_text and not (name == "dtype" and isinstance(part[name], Mapping)):  # one for each part
                raise impossible(model_id, name, part[name], "text")
        for name in LISTS:
            if part.get(name) is not None and not isinstance(part[name], list | tuple):
                raise impossible(model_id, name, part[name], "a list")
        for name in LISTED_LAYERS:
            value = part.get(name)
            if isinstance(value, list | tuple | str) and len(value) > MAX_LAYERS:
                raise impossible(model_id, name, f"{len(value):,} entries", f"at most {MAX_LAYERS:,}")
    return dict(config)


def _check_count(value: Any, name: str, model_id: str) -> None:
    """A number, or one for each layer; some files say `"auto"`, others false for none.

    No number may be beyond what a machine can hold; whether it is one at all is asked of the essential ones.
    """
    most = MAX_LAYERS if name in LAYER_COUNTS else MAX_COUNT
    if value is False or value == "auto":
        return
    if isinstance(value, Mapping):
        return  # of a part that uses this name for something else
    for one in value if isinstance(value, list) else (value,):
        if one is None:
            continue
        is_number = isinstance(one, int | float) and not isinstance(one, bool)
        is_number = is_number and not (isinstance(one, float) and math.isnan(one))
        is_wrong = not is_number or one < -1  # -1: none, in some families
        if (is_wrong and name in ESSENTIAL) or (is_number and one > most):
            raise impossible(model_id, name, one, f"a number up to {most:,}")


def check_layers(config: Mapping[str, Any], n_tensors: int, model_id: str) -> None:
    """Refuse a config of far more layers than there are tensors: an engine would make them all first.

    Raises:
        ModelError: it has (reason `broken_weights`).
    """
    for part in nested(config):
        for name in LAYER_COUNTS[:5]:
            n_layers = part.get(name)
            if isinstance(n_layers, int) and n_layers > max(n_tensors, FEW_LAYERS):
                what = f"`{CONFIG}` has {n_layers:,} layers, but there are {n_tensors:,} tensors"
                raise broken(model_id, what)


def impossible(model_id: str, name: str, value: Any, expected: str) -> ModelError:
    """The error for a value in config.json that cannot be."""
    message = f"`{model_id}` cannot be loaded: `{name}` in `{CONFIG}` is `{shown(value)}`, not {expected}"
    return ModelError(message, reason="broken_weights", hint="the publisher must fix the file")


# --- safetensors headers -----------------------------------------------------------------------------------


def read_header(path: Path, model_id: str) -> tuple[StoredTensor, ...]:
    """The tensors of one weight file whose size agrees with its header.

    Raises:
        ModelError: the file is empty, cut off, a pointer of Git LFS, or its header is impossible.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(len(LFS_POINTER))
            length = header_length(start, size, model_id, where=path.name)
            file.seek(8)
            raw = file.read(length)
    except OSError as error:
        raise broken(model_id, f"`{path.name}` cannot be read: {error.strerror}") from error
    return parse_header(raw, size, model_id, where=path.name)


def header_length(start: bytes, size: int, model_id: str, *, where: str) -> int:
    """Bytes of the header of a weight file of `size` bytes, from the beginning of the file.

    Raises:
        ModelError: it cannot be the beginning of a weight file of this size.
    """
    if start.startswith(LFS_POINTER):
        what = f"`{where}` is a Git LFS pointer, not the file itself"
        raise broken(model_id, what, hint="run `git lfs pull`")
    length = int.from_bytes(start[:8], "little") if len(start) >= 8 else 0
    if not 0 < length <= MAX_HEADER_BYTES or 8 + length > size:
        cause = "is empty" if size == 0 else "has no complete safetensors header"
        raise broken(model_id, f"`{where}` {cause}")
    return length


def parse_header(raw: bytes, size: int, model_id: str, *, where: str) -> tuple[StoredTensor, ...]:
    """The tensors in a header; `size` is that of the file, in bytes.

    Raises:
        ModelError: an entry is impossible, two overlap, or the file is shorter than they need.
    """
    try:
        if raw.count(b"{") + raw.count(b"[") > MAX_HEADER_OBJECTS:
            raise _ImpossibleError(f"it has more than {MAX_HEADER_OBJECTS:,} parts")
        strict = {"parse_int": _integer, "parse_float": _no_number, "parse_constant": _no_number}
        document = _parsed(raw, max_bytes=MAX_HEADER_BYTES, object_pairs_hook=_distinct, **strict)
        if not isinstance(document, dict):
            raise _ImpossibleError("it is not a JSON object")
        tensors = tuple(_entry(name, entry) for name, entry in document.items() if name != "__metadata__")
        _check_order(tensors)
    except _ImpossibleError as error:
        what = f"`{where}` has no readable safetensors header: {shown(error, 200)}"
        raise broken(model_id, what) from error
    needed = 8 + len(raw) + max((one.end for one in tensors), default=0)
    if size < needed:
        raise broken(model_id, f"`{where}` is truncated: {size} of {needed} bytes")
    return tensors


def _entry(name: str, entry: Any) -> StoredTensor:
    where = f"tensor `{shown(name)}`"
    if not isinstance(entry, dict):
        raise _ImpossibleError(f"{where} is no object")
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str):
        raise _ImpossibleError(f"{where} has no data type")
    if not isinstance(shape, list) or not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise _ImpossibleError(f"{where} has the shape `{shown(shape)}`")
    is_pair = isinstance(offsets, list) and _are_sizes(offsets) and len(offsets) == 2
    if not isinstance(offsets, list) or not is_pair or offsets[1] < offsets[0]:
        raise _ImpossibleError(f"{where} has the offsets `{shown(offsets)}`")
    found = StoredTensor(name, dtype, tuple(shape), offsets[0], offsets[1])
    if found.n_values > MAX_SIDE:
        raise _ImpossibleError(f"{where} has the shape `{shown(shape)}`")
    bits = DTYPE_BITS.get(dtype)
    if bits is not None and found.n_values * bits != 8 * (found.end - found.begin):
        n_bytes = found.end - found.begin
        raise _ImpossibleError(f"{where} of type {dtype} and shape {shown(shape)} has {n_bytes:,} bytes")
    return found


def _are_sizes(values: Sequence[Any]) -> bool:
    return all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= MAX_SIDE for n in values)


def _check_order(tensors: Sequence[StoredTensor]) -> None:
    end, before = 0, ""
    for one in sorted(tensors, key=lambda one: (one.begin, one.end)):
        if one.begin < end:
            raise _ImpossibleError(f"tensors `{shown(before)}` and `{shown(one.name)}` overlap")
        end, before = one.end, one.name


# --- the model card ----------------------------------------------------------------------------------------


def read_license(folder: Path, model_id: str) -> str | None:
    """The `license` in the front matter of the folder's model card, in its first 64 kB; None if unknown."""
    path = own_file(folder, "README.md", model_id)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CARD_BYTES).decode(errors="replace")
    except OSError:
        return None
    lines = iter(text.removeprefix("\ufeff").splitlines())
    if next(lines, "").rstrip() != FRONT_MATTER:
        return None
    found: str | None = None
    for line in lines:
        if line.startswith(FRONT_MATTER):
            return found
        if found is None and (match := LICENSE_LINE.match(line)):
            found = match.group(1)
    return None  # the front matter has no end


# --- messages ----------------------------------------------------------------------------------------------


def broken(model_id: str, what: str, *, hint: str = "", reason: str = "broken_weights") -> ModelError:
    """The error for files that are damaged, or that cannot be what they say."""
    return ModelError(
        f"`{model_id}` is broken: {what}", reason=reason, hint=hint or "copy or download it again"
    )


def shown(value: Any, most: int = SHOWN) -> str:
    """The beginning of a stranger's value, on one line."""
    text = str(value) if isinstance(value, str | Exception) else _short(value)
    text = printable_text(text[: 4 * most])
    return text if len(text) <= most else text[:most] + "…"


def _short(value: Any) -> str:
    """The value as text, without writing out a large one."""
    if isinstance(value, Mapping | list | tuple) and len(value) > MAX_DIMENSIONS:
        return f"{len(value):,} entries"
    if isinstance(value, Mapping | list | tuple):
        inner = value.values() if isinstance(value, Mapping) else value
        if any(isinstance(one, Mapping | list | tuple) for one in inner):
            return f"{len(value)} entries"
    return repr(value)
