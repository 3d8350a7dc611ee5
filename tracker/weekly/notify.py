"""Send the digest through `apprise`, an optional extra: Slack, email, ntfy and others."""

from __future__ import annotations

import importlib
from typing import Any

from tracker.errors import TrackerError, UnreachableError
from tracker.installation import install_command
from tracker.redaction import keep_secret, may_be_an_answer
from tracker.settings import address_secrets


def check_address(address: str) -> None:
    """Refuse an address that `apprise` does not accept, before hours of measuring.

    Raises:
        TrackerError: the extra is missing, or the address is invalid; as a secret, it is not repeated.
    """
    _keep_secret(address)
    if not _apprise().Apprise().add(address):
        raise TrackerError("apprise does not accept the `--notify` address", hint="example: ntfy://my-topic")


def send(address: str, *, title: str, body: str) -> None:
    """Send one message.

    Raises:
        UnreachableError: it could not be delivered.
    """
    _keep_secret(address)
    apprise = _apprise()
    sender = apprise.Apprise()
    sender.add(address)
    if not sender.notify(title=title, body=body, body_format="markdown"):
        raise UnreachableError(
            "the digest was written but could not be sent", hint="check the `--notify` address"
        )


def _apprise() -> Any:
    try:
        return importlib.import_module("apprise")
    except ImportError as error:
        raise TrackerError("`--notify` needs apprise", hint=install_command("notify")) from error


def _keep_secret(address: str) -> None:
    """Mask the address and what may be a key in it: not its host, nor words and numbers, such as a topic."""
    parts = address.partition("://")[2].split("/")[1:]
    keep_secret(address, *address_secrets(address), *(part for part in parts if not may_be_an_answer(part)))
