"""The digest sent to people through `apprise`, which is an extra: Slack, e-mail, ntfy and the rest."""

from __future__ import annotations

import importlib
from typing import Any

from tracker.errors import TrackerError, UnreachableError


def check_address(address: str) -> None:
    """Refuse an address that `apprise` does not know, before a night of measuring.

    Raises:
        TrackerError: the extra is missing, or the address is none; it is not repeated, for it holds a secret.
    """
    if not _apprise().Apprise().add(address):
        raise TrackerError("`--notify`: apprise does not know this address", hint="such as ntfy://my-topic")


def send(address: str, *, title: str, body: str) -> None:
    """Send one message.

    Raises:
        UnreachableError: it did not arrive.
    """
    apprise = _apprise()
    sender = apprise.Apprise()
    sender.add(address)
    if not sender.notify(title=title, body=body, body_format="markdown"):
        raise UnreachableError(
            "the digest was written, and could not be sent", hint="check the `--notify` address"
        )


def _apprise() -> Any:
    try:
        return importlib.import_module("apprise")
    except ImportError as error:
        raise TrackerError(
            "`--notify` needs apprise", hint="pip install 'open-weight-tracker[notify]'"
        ) from error
