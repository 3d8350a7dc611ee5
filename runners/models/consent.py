"""What loading a model may run or fetch besides its own weights, and whether the user agreed to it.

`--trust-remote-code` covers the Python files of that one repository at that one commit. What its files name
of other repositories (code, kernels, other weights) is refused in any case: nobody has pinned or read it.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from runners.models.repository_files import (
    CONFIG,
    MAX_TOKENIZER_CONFIG_BYTES,
    nested,
    own_file,
    read_config,
    read_object,
    shown,
)
from tracker.errors import ModelError

# Files in which a repository names Python classes of its own, beside config.json.
CLASS_FILES = (
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "image_processor_config.json",
    "video_preprocessor_config.json",
    "feature_extractor_config.json",
    "generation_config.json",
)
TOKENIZER_CLASSES = ("AutoTokenizer", "AutoProcessor")  # of the classes in those files that we load
ELSEWHERE = "--"  # in `auto_map`: between a repository and the class in it
CLASS_NAME = re.compile(r"[A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)+", re.ASCII)  # `module.Class`
TOKENIZER_NAME = re.compile(r"\"(\w+(?:Tokenizer|TokenizerFast|Backend))\"")
ATTENTION_KEYS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
ATTENTIONS = (
    "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention",
    "paged|eager", "paged|sdpa",
)  # fmt: skip
EXPERT_KEYS = ("experts_implementation", "_experts_implementation", "_experts_implementation_internal")
EXPERTS = ("eager", "batched_mm", "grouped_mm", "deepgemm", "sonicmoe")
OTHER_WEIGHTS = {  # keys that make a library load other weights than those that were checked
    "transformers_weights": "it names a weight file of its own choice",
    "speculators_config": "it is a draft for another model, which vLLM would load instead",
}
IN_TRANSFORMERS = "models/auto"  # where the names of its architectures are
HINT = "only files of its own repository are loaded; ask its publisher, or use another copy"


def needs_remote_code(config: Mapping[str, Any], model_id: str, *, allowed: bool) -> bool:
    """Whether loading a model of this config.json runs Python code of its repository.

    Raises:
        ModelError: it does and that is not allowed, or it names something of another repository.
    """
    refuse_other_repositories(config, CONFIG, model_id)
    if not config.get("auto_map") or is_known_to_transformers(str(config.get("model_type", ""))):
        return False
    return _agreed(model_id, allowed=allowed)


def folder_needs_remote_code(folder: Path, model_id: str, *, allowed: bool) -> bool:
    """The same for a folder, in which other files than config.json name classes too.

    Raises:
        ModelError: it does and that is not allowed, or a file names something of another repository.
    """
    config = read_config(folder, model_id)
    needs_code = needs_remote_code(config, model_id, allowed=allowed)
    for name in CLASS_FILES:
        path = own_file(folder, name, model_id)
        if path is None:
            continue
        document = read_object(path, model_id, max_bytes=MAX_TOKENIZER_CONFIG_BYTES)
        refuse_other_repositories(document, name, model_id)
        if names_own_tokenizer(document, config):
            needs_code = _agreed(model_id, allowed=allowed)
    if own_file(folder, "adapter_config.json", model_id) is not None:
        message = f"`{model_id}` has both whole weights and an adapter (`adapter_config.json`)"
        raise ModelError(message, reason="unsupported", hint="move the adapter's files out of the folder")
    return needs_code


def code_files(folder: Path) -> tuple[str, ...]:
    """Names of the Python files that come with a model, sorted."""
    return tuple(sorted(path.name for path in folder.glob("*.py") if path.is_file()))


def refuse_other_repositories(document: Mapping[str, Any], where: str, model_id: str) -> None:
    """Refuse classes, kernels and weights of other repositories, in a file or in any part of it.

    Raises:
        ModelError: it names one (reason `unsupported`), even if remote code is allowed.
    """
    for part in nested(document):
        for reference in _texts(part.get("auto_map")):
            if ELSEWHERE in reference:
                repository = shown(reference.partition(ELSEWHERE)[0])
                what = f"`auto_map` in `{where}` asks for code of another repository, `{repository}`"
                raise _refused(model_id, what)
            if not CLASS_NAME.fullmatch(reference):
                raise _refused(model_id, f"`auto_map` in `{where}` names `{shown(reference)}`, no class")
        for keys, known in ((ATTENTION_KEYS, ATTENTIONS), (EXPERT_KEYS, EXPERTS)):
            for key in keys:
                for value in _texts(part.get(key)):
                    if value not in known:
                        what = f"`{key}` in `{where}` asks for the kernel `{shown(value)}`"
                        raise _refused(model_id, what)
        for key, what in OTHER_WEIGHTS.items():
            if part.get(key):
                raise _refused(model_id, f"{what} (`{key}` in `{where}`)")
        if part.get("use_pretrained_backbone") is True:
            what = f"it takes a part of its weights from elsewhere (`use_pretrained_backbone` in `{where}`)"
            raise _refused(model_id, what)


def is_known_to_transformers(model_type: str) -> bool:
    """Whether the installed transformers has this architecture, and so needs no code of the repository."""
    return model_type in _known_architectures()


@cache
def _known_architectures() -> frozenset[str]:
    """The keys of `CONFIG_MAPPING_NAMES`; none without transformers.

    They are read from its source, since importing it takes a second and it must stay out of our process.
    """
    found = importlib.util.find_spec("transformers")
    if found is None or found.origin is None:
        return frozenset()
    folder = Path(found.origin).parent / IN_TRANSFORMERS
    names: set[str] = set()
    for name in ("auto_mappings.py", "configuration_auto.py"):
        path = folder / name
        if path.is_file():
            names |= _mapping_keys(path.read_text(encoding="utf-8"))
    return frozenset(names)


def _mapping_keys(source: str) -> set[str]:
    """The keys of every table named `CONFIG_MAPPING_NAMES` in the source of a module."""
    import ast  # here: only a model that brings code is looked up

    names: set[str] = set()
    for statement in ast.parse(source).body:
        if "CONFIG_MAPPING_NAMES" not in {
            node.id for node in ast.walk(statement) if isinstance(node, ast.Name)
        } or not isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Dict):
                pairs = [(key, value) for key, value in zip(node.keys, node.values, strict=True) if key]
            elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
                pairs = [(node.elts[0], node.elts[1])]
            else:
                continue
            names |= {
                key.value
                for key, value in pairs
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
                and isinstance(value, ast.Constant) and str(value.value).endswith("Config")
            }  # fmt: skip
    return names


def _is_known_tokenizer(name: Any) -> bool:
    """Whether transformers has the tokenizer of that name; without a name, its architecture says which."""
    return not name or str(name).removesuffix("Fast") in _known_tokenizers()


@cache
def _known_tokenizers() -> frozenset[str]:
    found = importlib.util.find_spec("transformers")
    path = Path(found.origin or "").parent / IN_TRANSFORMERS / "tokenization_auto.py" if found else None
    if path is None or not path.is_file():
        return frozenset()
    names = TOKENIZER_NAME.findall(path.read_text(encoding="utf-8"))
    return frozenset(name.removesuffix("Fast") for name in names)


def _agreed(model_id: str, *, allowed: bool) -> bool:
    if not allowed:
        message = f"`{model_id}` cannot be loaded without running Python code from its repository"
        hint = "review that code, then add `--trust-remote-code`"
        raise ModelError(message, reason="needs_remote_code", hint=hint)
    return True


def names_own_tokenizer(document: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a `tokenizer_config.json` names a tokenizer of the repository that transformers lacks.

    Old files have a list instead of a map.
    """
    auto_map = document.get("auto_map")
    is_named = auto_map
    if isinstance(auto_map, Mapping):
        is_named = any(auto_map.get(name) for name in TOKENIZER_CLASSES)
    is_known = is_known_to_transformers(str(config.get("model_type", "")))
    return bool(is_named) and not (is_known and _is_known_tokenizer(document.get("tokenizer_class")))


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, at any level."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one


def _refused(model_id: str, what: str) -> ModelError:
    return ModelError(f"`{model_id}` is refused: {what}", reason="unsupported", hint=HINT)
