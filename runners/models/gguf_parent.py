"""Whether a GGUF has the vocabulary and the chat template of the model that it was made from.

Read are the tokenizer files of the parent in the Hub's cache; `fetch_parent_tokenizer` puts them there. A
file that names no parent, or whose parent's tokenizer is not here, is not compared.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from runners.models.gguf import GgufHeader
from runners.models.hub_errors import hub_errors
from runners.models.repository_files import shown
from tracker.errors import TrackerError
from tracker.private_home import shared_files

TOKENIZER, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
FILES = [TOKENIZER, CONFIG, TEMPLATE]
MAX_BYTES = 2**26  # of one of these files; the largest known has 33 MB
FILLER = re.compile(r"\[PAD\d+\]|<unused\d+>|<\|?dummy[\w|]*>|<\|reserved[\w|]*\|>")  # no token of the model
_log = logging.getLogger(__name__)


def fetch_parent_tokenizer(header: GgufHeader) -> None:
    """Download the tokenizer files of the parent, a few MB; without them nothing is compared."""
    for parent in header.base_models[:1]:
        try:
            with hub_errors(parent, None), shared_files():
                planned = HfApi().snapshot_download(parent, allow_patterns=FILES, dry_run=True)
                if any((file.file_size or 0) > MAX_BYTES for file in planned):  # the file may name any
                    _log.info("the tokenizer of %s is too large to compare", shown(parent))
                    return
                HfApi().snapshot_download(parent, allow_patterns=FILES)
        except TrackerError as error:
            _log.info("the tokenizer of %s cannot be read, so it is not compared: %s", shown(parent), error)


def parent_differences(
    base_models: Sequence[str], tokens: Sequence[bytes], templates: Mapping[str, str]
) -> tuple[str, ...]:
    """Sentences on what differs from the parent; none if all is equal or nothing can be compared.

    `templates` are the chat templates of the file by name.
    """
    folder = _cached(base_models[0]) if base_models else None
    if folder is None:
        return ()
    parent = shown(base_models[0])
    found = []
    if (theirs := _vocabulary(_json(folder / TOKENIZER))) and (said := _other_tokens(tokens, theirs)):
        found.append(f"the tokenizer is not that of `{parent}`: {said}")
    template, ours = _template(folder), templates.get("default")
    if template is not None and ours is not None and template.strip() != ours.strip():
        found.append(f"the chat template in the file is not that of `{parent}`; prompts are as the file says")
    elif template is not None and ours is None:
        found.append(f"the file has no chat template, `{parent}` has one")
    return tuple(found)


def _cached(repository: str) -> Path | None:
    try:
        return Path(HfApi().snapshot_download(repository, local_files_only=True, allow_patterns=FILES))
    except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError):
        return None


def _other_tokens(ours: Sequence[bytes], theirs: Mapping[int, str]) -> str | None:
    """How many tokens differ, with the first; fillers of empty rows do not count."""
    texts = [token.decode(errors="replace") for token in ours]
    ends = range(max(len(texts), max(theirs, default=-1) + 1))
    pairs = [(n, texts[n] if n < len(texts) else None, theirs.get(n)) for n in ends]
    other = [
        (n, here, there)
        for n, here, there in pairs
        if here != there and not (there is None and here is not None and FILLER.fullmatch(here))
    ]
    if not other:
        return None
    n, here, there = other[0]
    names = ["none" if one is None else f"`{shown(one)}`" for one in (here, there)]
    return f"{len(other):,} of {len(pairs):,} tokens differ, the first is {n:,}: {names[0]}, there {names[1]}"


def _vocabulary(tokenizer: Any) -> dict[int, str]:
    """The tokens of a `tokenizer.json` by number; empty if it has another layout."""
    if not isinstance(tokenizer, dict):
        return {}
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        found = {n: token for token, n in vocabulary.items() if isinstance(n, int)}
    elif isinstance(vocabulary, list):
        found = {n: row[0] for n, row in enumerate(vocabulary) if isinstance(row, list) and row}
    else:
        return {}
    added = tokenizer.get("added_tokens")
    for row in added if isinstance(added, list) else ():
        if isinstance(row, dict) and isinstance(row.get("id"), int) and isinstance(row.get("content"), str):
            found[row["id"]] = row["content"]
    return {n: token for n, token in found.items() if isinstance(token, str)}


def _template(folder: Path) -> str | None:
    """The parent's usual chat template."""
    path = folder / TEMPLATE
    if path.is_file() and path.stat().st_size <= MAX_BYTES:
        return path.read_text(encoding="utf-8", errors="replace")
    config = _json(folder / CONFIG)
    template = config.get("chat_template") if isinstance(config, dict) else None
    if isinstance(template, list):
        named = {row.get("name"): row.get("template") for row in template if isinstance(row, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _json(path: Path) -> Any:
    """The document in the file; None if it is missing, too large or broken: it is another's."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
