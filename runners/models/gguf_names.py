"""Names of GGUF files on the Hub: `org/name:FILE-OR-QUANT`, and which of a repository's files that means.

Pure: nothing is asked. Without a file the rule is that of llama.cpp's `-hf`: `Q4_K_M`, else the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from runners.models.gguf import SPLIT_NAME, split_names
from runners.models.repository_files import MAX_FILES, shown
from tracker.errors import ModelError, TrackerError, UnknownNameError

SUFFIX = ".gguf"
DEFAULT_QUANT = "Q4_K_M"
NAME = re.compile(
    r"(?P<repository>[^/:@\s]+/[^/:@\s]+)(?:@(?P<revision>[^:@\s]+))?"
    r"(?::(?P<file>[^:@\s]+)(?:@(?P<later>[^:@\s]+))?)?"
)
# The label at the end of a file's name, as llama.cpp, unsloth and bartowski write it.
LABEL = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:IQ[1-8]_[A-Z]+|Q[1-8]_(?:K(?:_(?:XXL|XL|[SML]))?|[01])|TQ[12]_0|MXFP4(?:_MOE)?"
    r"|NVFP4|BF16|F16|FP16|F32|FP32))$",
    re.IGNORECASE,
)
NOT_MODELS = re.compile(
    r"mmproj|imatrix|(?:^|[-._/])(?:vocab|lora|adapter|projector|clip)(?:[-._]|$)", re.IGNORECASE
)
FILE = re.compile(r"(?!.*\.\.)[\w+=,()\[\]-][\w.+=,()\[\]-]*(?:/[\w+=,()\[\]-][\w.+=,()\[\]-]*){0,3}")
MAX_SHOWN = 12  # files in a hint


@dataclass(frozen=True, slots=True)
class GgufName:
    """A MODEL that means a GGUF on the Hub."""

    repository: str
    revision: str | None = None  # branch, tag or commit; None: the newest
    file: str | None = None  # name of a file, or a label such as `Q4_K_M`


@dataclass(frozen=True, slots=True)
class GgufFile:
    """One model in a repository: its parts in order, and the label that tells it from the others."""

    parts: tuple[str, ...]
    label: str  # such as `Q4_K_M`; its name where that has none, or another file has the same

    @property
    def first(self) -> str:
        """The file that llama.cpp is given."""
        return self.parts[0]


def gguf_name(name: str) -> GgufName | None:
    """What MODEL means if it is a GGUF on the Hub by its name alone; None if it is something else.

    A name with a file or a quantization is one, and a repository with `gguf` in its own name.

    Raises:
        TrackerError: it has two revisions.
    """
    found = NAME.fullmatch(name)
    if found is None or (
        found["file"] is None and "gguf" not in found["repository"].partition("/")[2].lower()
    ):
        return None
    if found["revision"] and found["later"]:
        raise TrackerError(f"`{shown(name, 200)}` has two revisions", hint="`org/name:Q4_K_M@REVISION`")
    return GgufName(found["repository"], found["revision"] or found["later"], found["file"])


def quant_label(file: str) -> str | None:
    """The quantization in the name of a file, such as `Q4_K_M` or `UD-Q4_K_XL`; None if it has none."""
    split = SPLIT_NAME.fullmatch(file)
    stem = split["stem"] if split else file.removesuffix(SUFFIX)
    found = LABEL.search(stem)
    return found[1].upper() if found else None


def gguf_models(files: Iterable[str]) -> tuple[GgufFile, ...]:
    """The models among a repository's files, by name: no projectors, and a split file once."""
    firsts = []
    for file in sorted(files):
        split = SPLIT_NAME.fullmatch(file)
        is_first = split is None or int(split["part"]) == 1
        if (
            FILE.fullmatch(file)
            and file.lower().endswith(SUFFIX)
            and is_first
            and not NOT_MODELS.search(file)
        ):
            firsts.append(file)
    labels = [quant_label(file) for file in firsts]
    return tuple(
        GgufFile(split_names(file), label if label and labels.count(label) == 1 else _stem(file))
        for file, label in zip(firsts[:MAX_FILES], labels, strict=False)
    )


def choose_gguf(models: tuple[GgufFile, ...], asked: str | None, repository: str) -> GgufFile:
    """The model that `asked` means: a file's name, or its quantization; None: `Q4_K_M`, else the first.

    Raises:
        UnknownNameError: there is no such file; those with a similar name are suggested.
        TrackerError: several files have this quantization.
        ModelError: the repository has no GGUF that is a model (reason `missing_weights`).
    """
    if not models:
        message = f"`{repository}` has no GGUF file that is a model"
        raise ModelError(message, reason="missing_weights", hint="use a repository with `.gguf` files")
    if asked is None:
        return next((one for one in models if quant_label(one.first) == DEFAULT_QUANT), models[0])
    wanted = asked.casefold()
    found = [one for one in models if wanted in _names(one)]
    found = found or [one for one in models if (quant_label(one.first) or "").casefold() == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        hint = " or ".join(f"`{repository}:{shown(one.label)}`" for one in found[:MAX_SHOWN])
        raise TrackerError(f"several files of `{repository}` are `{shown(asked)}`", hint=hint)
    error = UnknownNameError(f"GGUF file of `{repository}`", asked, known=[one.label for one in models])
    labels = ", ".join(shown(one.label) for one in models[:MAX_SHOWN])
    error.hint = error.hint or f"it has {labels}{', …' if len(models) > MAX_SHOWN else ''}"
    raise error


def _names(one: GgufFile) -> set[str]:
    """Every way to write this file, in small letters."""
    names = {one.label, _stem(one.first), *one.parts, *(part.rpartition("/")[2] for part in one.parts)}
    return {name.casefold() for name in names}


def _stem(file: str) -> str:
    name = file.rpartition("/")[2]
    split = SPLIT_NAME.fullmatch(name)
    return split["stem"] if split else name[: -len(SUFFIX)]
