"""How many parameters a checkpoint has when a quantized one stores several of them in one value.

A 4-bit checkpoint keeps eight weights in each 32-bit integer. The Hub counts what is stored for some of them
and the weights for others, so where a name states the size, a count must agree with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
PACKED = ("I32", "U32", "I8", "U8")  # of quantized checkpoints: they may hold several weights in one value
AGREES = (0.75, 1.5)  # of the size in the name: embeddings make small models larger than their names
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([bm])(?![A-Za-z])", re.IGNORECASE)
_BITS_TAG = re.compile(r"^(\d{1,3})-bit$", re.ASCII)
FOUR_BITS = ("mxfp4", "nvfp4")
METHODS = (
    "aqlm", "auto-round", "awq", "bitsandbytes", "compressed-tensors", "fp8", "gptq", "hqq", "modelopt",
    "quanto", "torchao",
)  # fmt: skip
MOST_PARAMS = 1e15  # a name that says more says something else
UNITS = {"b": 1e9, "m": 1e6}


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """The parameters of a checkpoint; if `is_packed`, `n_params` is only what is stored, a lower bound."""

    n_params: int | None
    is_packed: bool
    weights_bytes: int | None


@dataclass(frozen=True, slots=True)
class Quantization:
    """How weights are quantized, as far as it is known."""

    is_quantized: bool = False
    bits: int | None = None  # of a quantized weight


def count_parameters(
    by_dtype: Mapping[str, int],
    *,
    total: int | None,
    quantization: Quantization,
    names: Iterable[str] = (),
) -> ParameterCount:
    """Count the parameters of a checkpoint with so many stored values of each safetensors dtype.

    `total`: of the values, as the listing says; without it the count is unknown. `names`: of the repository
    and its parents, for the size in them. Integers that are not quantized weights are masks or positions.
    """
    stored_bytes = sum(n * BYTES.get(dtype, 1) for dtype, n in by_dtype.items()) or None
    is_packed = quantization.is_quantized and any(dtype in by_dtype for dtype in PACKED)
    if total is None or not is_packed:
        return ParameterCount(total, False, stored_bytes)
    named, bits = named_size(names), quantization.bits
    unpacked = max(total, round(sum(n * _per_value(dtype, bits) for dtype, n in by_dtype.items())))
    if named is None:
        return ParameterCount(unpacked, bits is None, stored_bytes)
    n_params = min(total, unpacked, key=lambda n: abs(math.log(max(n, 1) / named)))
    if not AGREES[0] * named <= n_params <= AGREES[1] * named:
        return ParameterCount(total, True, stored_bytes)
    if n_params == total:  # the listing counts the weights, not the values: the bytes follow from the bits
        stored_bytes = sum(_packed_bytes(dtype, n, bits) for dtype, n in by_dtype.items())
    return ParameterCount(n_params, False, stored_bytes)


def read_quantization(config: Mapping[str, Any], tags: Iterable[str] = ()) -> Quantization:
    """What the `quantization_config` of a model's configuration says, else the Hub's tags.

    The Hub writes its tags, such as `awq` and `4-bit`, from that configuration.
    """
    declared = config.get("quantization_config")
    settings = declared if isinstance(declared, Mapping) else {}
    words = [*tags, str(settings.get("quant_method") or "").casefold()]
    from_tags = {int(found[1]) for word in words if (found := _BITS_TAG.match(word))}
    bits = _declared_bits(settings)
    if bits is None and any(word in FOUR_BITS for word in words):
        bits = 4
    is_quantized = bool(settings or from_tags or bits) or any(word in METHODS for word in words)
    if bits is None and len(from_tags) == 1:
        bits = from_tags.pop()
    return Quantization(is_quantized, bits)


def _declared_bits(settings: Mapping[str, Any]) -> int | None:
    """The bits in a `quantization_config`, under the name that its method gives them."""
    groups = settings.get("config_groups")
    weights = [
        group.get("weights") for group in _mappings(groups.values() if isinstance(groups, Mapping) else ())
    ]
    stated = [settings.get(name) for name in ("bits", "w_bit", "weight_bits")]
    stated += [each.get("num_bits") for each in _mappings(weights)]
    stated += [
        4 if settings.get("load_in_4bit") is True else 8 if settings.get("load_in_8bit") is True else None
    ]
    return next((each for each in stated if isinstance(each, int) and each > 0), None)


def _mappings(values: Iterable[Any]) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)]


def named_size(names: Iterable[str]) -> float | None:
    """The number of parameters in the first name that has one: 27e9 for `Qwen/Qwen3.8-27B-INT4-AWQ`."""
    for name in names:
        found = _SIZE.search(name.rpartition("/")[2])
        size = float(found[1]) * UNITS[found[2].casefold()] if found else 0.0
        if 0.0 < size < MOST_PARAMS:
            return size
    return None


def _per_value(dtype: str, bits: int | None) -> float:
    """Weights in one stored value; 1 if their bits are not known."""
    return max(8 * BYTES.get(dtype, 1) / bits, 1.0) if dtype in PACKED and bits else 1.0


def _packed_bytes(dtype: str, n: int, bits: int | None) -> int:
    width = BYTES.get(dtype, 1)
    return round(n * bits / 8) if dtype in PACKED and bits and bits < 8 * width else n * width
