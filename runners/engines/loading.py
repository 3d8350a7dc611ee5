"""Load a checkpoint onto this machine's device, or raise one clear error.

Only safetensors, only the pinned revision, remote code only if allowed, and only complete checkpoints:
missing tensors would otherwise be initialized randomly.
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

from runners.engines import runs_remote_code
from runners.engines.chat import choose_template, try_template
from runners.engines.encoding import Tokenizer, try_tokenizer
from runners.step_limits import MIB, limited_step
from tracker.errors import EngineError, UnknownNameError
from tracker.records import EngineSettings, Model
from tracker.wording import counted

TOKENIZER_S = 300.0  # of computing time; the largest take ten seconds, to convert one takes a minute
LOAD_BYTES = 256 * MIB  # memory to load a tokenizer, modules included: 52 MB measured for a small one
TIMES_ITS_FILES = 24  # and more by the bytes of its files; 24 measured for one of 18 MB
LARGE_TOKENIZER_BYTES = 32 * MIB
TOKENIZER_FILES = ("token*", "vocab*", "merges*", "special_tokens*", "added_tokens*", "*.model", "*.tiktoken")
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
    """Name of the device for people: `cpu`, `NVIDIA H100 80GB HBM3 × 2`."""
    if device.type != "cuda":
        return str(device.type)
    n_devices = torch.cuda.device_count()
    name = str(torch.cuda.get_device_name(0))
    return name if n_devices == 1 else f"{name} × {n_devices}"


def free_bytes(device: torch.device) -> int:
    """Free memory of the device: the card's, or the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)


def choose_dtype(name: str, device: torch.device) -> torch.dtype | str:
    """The requested type; for `auto` the checkpoint's own on a GPU, float32 on a CPU.

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
        EngineError: it is missing, cannot be read, or needs too much time or memory.
    """
    limits = limited_step(
        "loading the tokenizer",
        cpu_s=TOKENIZER_S,
        extra_bytes=LOAD_BYTES + TIMES_ITS_FILES * _tokenizer_bytes(model),
    )
    with limits, _load_errors(model, otherwise="missing_weights"):  # its errors for a missing file vary
        tokenizer = transformers.AutoTokenizer.from_pretrained(**_where(model, settings))
    choose_template(tokenizer, settings.chat_template)
    try_tokenizer(tokenizer)
    try_template(tokenizer)
    return tokenizer


def load_weights(model: Model, settings: EngineSettings, device: torch.device) -> Any:
    """Load the model without gradients onto `device` (or across all cards).

    Raises:
        EngineError: reason `missing_weights`, `broken_weights`, `pickle_weights`, `gated`,
            `needs_remote_code`, `unsupported`, `does_not_fit` or `out_of_memory`.
    """
    if settings.quantization:
        raise EngineError(
            f"the transformers engine cannot quantize to `{settings.quantization}` while loading",
            reason="unsupported",
            hint="use `--engine vllm` or a published quantized checkpoint",
        )
    _refuse_pickle(model)
    with _load_errors(model):
        weights, loading = transformers.AutoModelForCausalLM.from_pretrained(
            **_where(model, settings),
            dtype=choose_dtype(settings.dtype, device),
            device_map="auto" if device.type == "cuda" else device.type,
            use_safetensors=True,
            config=_config(model, settings),
            output_loading_info=True,
        )
    _refuse_incomplete(model, loading["missing_keys"])
    _refuse_offloaded(model, weights)
    return weights.eval().requires_grad_(False)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the error means out of memory, so that a smaller batch may help."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        sign in str(error).lower() for sign in OUT_OF_MEMORY
    )


def _where(model: Model, settings: EngineSettings) -> dict[str, Any]:
    remote = {"trust_remote_code": runs_remote_code(model, settings)}
    if model.path is not None:
        return {"pretrained_model_name_or_path": model.path, "local_files_only": True} | remote
    return {"pretrained_model_name_or_path": model.model_id, "revision": model.revision} | remote


def _config(model: Model, settings: EngineSettings) -> Any:
    """The model's configuration, with the library's own choice of kernels whatever config.json asks for."""
    config = transformers.AutoConfig.from_pretrained(**_where(model, settings))
    config._attn_implementation = None  # a setter that also reaches the parts of the model
    config._experts_implementation = None
    return config


def _tokenizer_bytes(model: Model) -> int:
    """Bytes of the files from which a tokenizer is made; of a large one where only the library finds them."""
    if model.path is None:
        return LARGE_TOKENIZER_BYTES
    paths = {path for pattern in TOKENIZER_FILES for path in Path(model.path).glob(pattern)}
    return sum(path.stat().st_size for path in paths if path.is_file())


def _refuse_pickle(model: Model) -> None:
    if model.path is None or any(Path(model.path).glob("*.safetensors")):
        return
    if any(Path(model.path).glob("*.bin")) or any(Path(model.path).glob("*.pt*")):
        raise EngineError(
            f"`{model.model_id}` has only pickled weights, which can run arbitrary code when loaded",
            reason="pickle_weights",
            hint="look for a safetensors copy or revision",
        )


def _refuse_incomplete(model: Model, missing: Any) -> None:
    if missing:
        names = sorted(missing)
        shown = ", ".join(names[:N_NAMED]) + (", …" if len(names) > N_NAMED else "")
        raise EngineError(
            f"the checkpoint of `{model.model_id}` lacks {counted(len(names), 'tensor')}: {shown}",
            reason="broken_weights",
            hint="download it again; its weights do not match its `config.json`",
        )


def _refuse_offloaded(model: Model, weights: Any) -> None:
    places = {str(place) for place in (getattr(weights, "hf_device_map", None) or {}).values()}
    if torch.cuda.is_available() and places & {"cpu", "disk"}:
        raise EngineError(
            f"`{model.model_id}` does not fit on the GPU: parts would be offloaded to the CPU or the disk",
            reason="does_not_fit",
            hint="`tracker fit` shows settings that fit",
        )


@contextmanager
def _load_errors(model: Model, *, otherwise: str = "unsupported") -> Iterator[None]:
    """Turn the libraries' loading errors into an `EngineError` with its reason."""
    try:
        yield
    except SafetensorError as error:
        raise EngineError(
            f"a weight file of `{model.model_id}` is broken: {error}",
            reason="broken_weights",
            hint="download it again",
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, StrictDataclassError) as error:
        reason, hint = _reason(error, otherwise=otherwise)
        if isinstance(error, RecursionError):
            reason, hint = "broken_weights", "a file is nested too deeply; use another copy of this model"
        raise EngineError(
            f"`{model.model_id}` cannot be loaded: {_first_line(error)}", reason=reason, hint=hint
        ) from error


def _reason(error: Exception, *, otherwise: str) -> tuple[str, str]:
    text = str(error).lower()
    if isinstance(error, RuntimeError) and is_out_of_memory(error):
        return "out_of_memory", "`tracker fit` names settings that would fit"
    if "trust_remote_code" in text:
        return "needs_remote_code", "review the model's code, then add `--trust-remote-code`"
    if "gated" in text or "401" in text:
        return "gated", "accept its license on the Hub, then log in with `hf auth login`"
    if "size mismatch" in text or "mismatched" in text:
        return "broken_weights", "download it again; its weights do not match its `config.json`"
    if isinstance(error, OSError) or otherwise == "missing_weights":
        return "missing_weights", "download it again; a file is missing"
    return "unsupported", "check which versions of transformers support this architecture"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
