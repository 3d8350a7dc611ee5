"""Who made a quantized copy: its developer, an account known for quantizing, or somebody else."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

# Accounts of the Hub that publish quantized copies of many developers' models. Entered on 2026-11-30 from
# what llama.cpp's README, vLLM's documentation and the model cards of these accounts say of themselves.
QUANTIZERS = {
    "bartowski": "GGUF",
    "cyankiwi": "AWQ",
    "ggml-org": "GGUF, by llama.cpp's developers",
    "gaunernst": "INT4 of quantization-aware training",
    "lmstudio-community": "GGUF and MLX, by LM Studio",
    "mlx-community": "MLX",
    "mradermacher": "GGUF",
    "nvidia": "FP8 and NVFP4, by NVIDIA",
    "QuantTrio": "AWQ and GPTQ",
    "RedHatAI": "FP8, INT8 and INT4, by Red Hat",
    "TheBloke": "GGUF, AWQ and GPTQ until 2024",
    "unsloth": "GGUF and bitsandbytes, by Unsloth",
}
_KNOWN = {name.casefold(): name for name in QUANTIZERS}


class Maker(StrEnum):
    """Who made a copy."""

    FIRST_PARTY = "first_party"  # the developer of the model itself
    KNOWN_QUANTIZER = "known_quantizer"
    OTHER = "other"


def maker_of(copy_id: str, base_models: Iterable[str] = ()) -> Maker:
    """Who made the repository `copy_id`, a copy of one of `base_models`."""
    owner = copy_id.partition("/")[0].casefold()
    if owner in {parent.partition("/")[0].casefold() for parent in base_models}:
        return Maker.FIRST_PARTY
    return Maker.KNOWN_QUANTIZER if owner in _KNOWN else Maker.OTHER
