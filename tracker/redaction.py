"""Mask this user's secrets in text: errors, logs, reasons of runs and ingests, and what others say to us.

Secrets are what `tracker.settings.secret_words` finds, and what `keep_secret` was told. Each is masked in the
forms in which programs repeat it: as it is, percent-encoded, in base64, escaped in JSON. User and password
of every address are masked, whoever's they are.
Not covered: a secret that was changed (split, reversed, encrypted) by whoever repeats it; one of fewer than
six characters outside of an address.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, quote_plus

MASK = "***"
# Keys that manuals name for servers that check none; they also stand in texts that are no secret.
PLACEHOLDERS = frozenset(
    {"dummy-key", "lm-studio", "no-key", "no-key-required", "none", "not-needed", "ollama"}
)
MIN_SENT_CHARS = 8  # of a sent secret that is looked for in an answer
MIN_CHARS = 6  # a shorter word, such as `none`, also stands in texts that are no secret
USER_INFO = re.compile(r"(?<=://)[^\s/?#@\"'`<>]+@")
# Names in a query whose values are no secrets and tell a reader of a log what was asked for.
PLAIN_NAMES = frozenset({
    "author", "base_model", "config", "cursor", "dataset", "date", "direction", "expand", "expand[]",
    "filter", "format", "from", "full", "language", "limit", "offset", "order", "page", "page_size",
    "per_page", "pipeline_tag", "recursive", "revision", "search", "since", "sort", "split", "until",
})  # fmt: skip
_told: set[str] = set()  # secrets that stand in no variable, such as a password in `--base-url`


def keep_secret(*words: str) -> None:
    """Mask these words from now on, in this process."""
    _told.update(word for word in words if _is_secret(word))


def masked(text: str) -> str:
    """The text with `***` in place of every known secret, and of user and password in any address."""
    return USER_INFO.sub(f"{MASK}@", _without(_known_secrets(), text))


def without_known_secrets(text: str) -> str:
    """The text with `***` in place of known secrets that no honest text contains: for answers of models.

    A key that is a word or a number, such as `secret` or `123456`, is left: masking it could change a score.
    """
    return _without(frozenset(word for word in _known_secrets() if not may_be_an_answer(word)), text)


def _known_secrets() -> frozenset[str]:
    from tracker.settings import secret_words  # it imports this module's callers

    return frozenset(_told | secret_words())


def _without(secrets: frozenset[str], text: str) -> str:
    pattern = _pattern(secrets)
    return text if pattern is None else pattern.sub(MASK, text)


def may_be_an_answer(word: str) -> bool:
    """Whether an honest text may contain the word: it is short, or only letters, or only digits."""
    return len(word) < MIN_SENT_CHARS or word.isalpha() or word.isdigit()


def repeats(body: bytes, sent: str) -> bool:
    """Whether the body of an answer contains a secret that was sent, in any form of it."""
    if len(sent) < MIN_SENT_CHARS or not _is_secret(sent):
        return False
    return any(len(form) >= MIN_SENT_CHARS and form.encode() in body for form in set(_forms(sent)))


def print_masked_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an unexpected error as Python does, without secrets; for `sys.excepthook`."""
    sys.stderr.write(masked("".join(traceback.format_exception(kind, error, trace))))


def mask_file(path: Path) -> None:
    """Mask the secrets in a text file, such as the log of a process of others; nothing if it has none."""
    try:
        text = path.read_text(errors="surrogateescape")
        clean = masked(text)
        if clean != text:
            path.write_text(clean, errors="surrogateescape")
    except OSError:  # gone, or on a full disk: then nobody can read it either
        return


def _is_secret(word: str) -> bool:
    return len(word) >= MIN_CHARS and word.casefold() not in PLACEHOLDERS


@functools.lru_cache(maxsize=8)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    """What matches any form of any of the secrets, the longest first."""
    forms = {form for secret in filter(_is_secret, secrets) for form in _forms(secret)}
    forms = {form for form in forms if len(form) >= MIN_CHARS}
    if not forms:
        return None
    longest_first = sorted(forms, key=lambda form: (-len(form), form))
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)


def _forms(secret: str) -> Iterator[str]:
    """The secret as programs repeat it."""
    yield secret
    yield quote(secret)
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield quote(quote(secret, safe=""), safe="")
    yield html.escape(secret)
    for escaped in (
        json.dumps(secret),
        json.dumps(secret, ensure_ascii=False),
        json.dumps(json.dumps(secret)),
    ):
        yield escaped.strip('"\\')
    yield repr(secret)[1:-1]
    for word in (secret, f":{secret}", f"{secret}:"):
        raw = word.encode()
        # the last letters depend on what follows in the text
        whole = base64.b64encode(raw[: len(raw) // 3 * 3]).decode()
        for encoded in (base64.b64encode(raw).decode(), whole):
            yield encoded
            yield encoded.rstrip("=")
            yield quote(encoded, safe="")
            yield encoded.translate(str.maketrans("+/", "-_"))
    yield secret.encode().hex()
