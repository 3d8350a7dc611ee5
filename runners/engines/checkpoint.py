"""A checkpoint on this machine's device, or one clear reason why not.

safetensors only, the pinned revision only, remote code only where it was asked for, and nothing that the
checkpoint does not hold: a missing tensor would otherwise be filled with random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from runners.engines.encoding import Tokenizer
from tracker.errors import EngineError, UnknownNameError
from tracker.records import EngineSettings, Model

DTYPES = {
    "float32": torch.float32,
    "float": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "half": torch.float16,
}
N_NAMED = 3  # tensors named in a message about missing ones
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")  # CUDA and MPS; CPU; Windows


def choose_device() -> torch.device:
    """The card if there is one, Apple's GPU, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """What a person calls it: `cpu`, `NVIDIA H100 80GB HBM3 × 2`."""
    if device.type != "cuda":
        return str(device.type)
    n_devices = torch.cuda.device_count()
    name = str(torch.cuda.get_device_name(0))
    return name if n_devices == 1 else f"{name} × {n_devices}"


def free_bytes(device: torch.device) -> int:
    """Memory that nobody uses on the device: the card's, or the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)


def choose_dtype(name: str, device: torch.device) -> torch.dtype | str:
    """The asked-for type; for `auto` the checkpoint's own on a GPU, float32 on a CPU.

    Raises:
        UnknownNameError: there is no such type.
    """
    if name == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    if name not in DTYPES:
        raise UnknownNameError("dtype", name, known=["auto", *DTYPES])
    return DTYPES[name]


def load_tokenizer(model: Model, settings: EngineSettings) -> Tokenizer:
    """The model's tokenizer.

    Raises:
        EngineError: it is missing or cannot be read.
    """
    with _load_errors(model, otherwise="missing_weights"):  # what it says of a missing file varies
        return transformers.AutoTokenizer.from_pretrained(**_where(model, settings))


def load_weights(model: Model, settings: EngineSettings, device: torch.device) -> Any:
    """The model without gradients, all of it on `device` (or spread over all cards).

    Raises:
        EngineError: reason `missing_weights`, `broken_weights`, `pickle_weights`, `gated`,
            `needs_remote_code`, `unsupported`, `does_not_fit` or `out_of_memory`.
    """
    if settings.quantization:
        raise EngineError(
            f"the transformers engine does not quantize to `{settings.quantization}` while loading",
            reason="unsupported",
            hint="use `--engine vllm`, or a checkpoint that is published quantized",
        )
    _refuse_pickle(model)
    with _load_errors(model):
        weights, loading = transformers.AutoModelForCausalLM.from_pretrained(
            **_where(model, settings),
            dtype=choose_dtype(settings.dtype, device),
            device_map="auto" if device.type == "cuda" else device.type,
            use_safetensors=True,
            output_loading_info=True,
        )
    _refuse_incomplete(model, loading["missing_keys"])
    _refuse_offloaded(model, weights)
    return weights.eval().requires_grad_(False)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether less at once may help."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        sign in str(error).lower() for sign in OUT_OF_MEMORY
    )


def _where(model: Model, settings: EngineSettings) -> dict[str, Any]:
    remote = {"trust_remote_code": settings.trust_remote_code}
    if model.path is not None:
        return {"pretrained_model_name_or_path": model.path, "local_files_only": True} | remote
    return {"pretrained_model_name_or_path": model.model_id, "revision": model.revision} | remote


def _refuse_pickle(model: Model) -> None:
    if model.path is None or any(Path(model.path).glob("*.safetensors")):
        return
    if any(Path(model.path).glob("*.bin")) or any(Path(model.path).glob("*.pt*")):
        raise EngineError(
            f"{model.model_id}: its weights are pickle files, which can run code when they are read",
            reason="pickle_weights",
            hint="look for a revision of the model with safetensors",
        )


def _refuse_incomplete(model: Model, missing: Any) -> None:
    if missing:
        names = sorted(missing)
        shown = ", ".join(names[:N_NAMED]) + (", …" if len(names) > N_NAMED else "")
        raise EngineError(
            f"{model.model_id}: {len(names)} tensors are not in the checkpoint: {shown}",
            reason="broken_weights",
            hint="download it again; the files do not belong to this configuration",
        )


def _refuse_offloaded(model: Model, weights: Any) -> None:
    places = {str(place) for place in (getattr(weights, "hf_device_map", None) or {}).values()}
    if torch.cuda.is_available() and places & {"cpu", "disk"}:
        raise EngineError(
            f"{model.model_id} does not fit on the card: parts of it would run from the CPU or the disk",
            reason="does_not_fit",
            hint="`tracker fit` names settings that would",
        )


@contextmanager
def _load_errors(model: Model, *, otherwise: str = "unsupported") -> Iterator[None]:
    """What the libraries raise while loading, as our one error with its reason."""
    try:
        yield
    except SafetensorError as error:
        raise EngineError(
            f"{model.model_id}: a weights file is broken: {error}",
            reason="broken_weights",
            hint="download it again",
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, StrictDataclassError) as error:
        reason, hint = _reason(error, otherwise=otherwise)
        raise EngineError(f"{model.model_id}: {_first_line(error)}", reason=reason, hint=hint) from error


def _reason(error: Exception, *, otherwise: str) -> tuple[str, str]:
    text = str(error).lower()
    if isinstance(error, RuntimeError) and is_out_of_memory(error):
        return "out_of_memory", "`tracker fit` names settings that would fit"
    if "trust_remote_code" in text:
        return "needs_remote_code", "`--trust-remote-code` runs the model's own code; read it first"
    if "gated" in text or "401" in text:
        return "gated", "accept its licence on the Hub, then set HF_TOKEN"
    if "size mismatch" in text or "mismatched" in text:
        return "broken_weights", "the files do not belong to this configuration"
    if isinstance(error, OSError) or otherwise == "missing_weights":
        return "missing_weights", "download it again; a file of it is not there"
    return "unsupported", "see which versions of transformers know this architecture"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
