"""Translate errors of the Hub's library into ours.

The library's messages are not repeated, since a URL in them may be signed. Only transient errors are retried.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator

import httpx2
import stamina
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    DisabledRepoError,
    DryRunError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tracker.errors import ModelError, TrackerError, TransientError, UnknownNameError, UnreachableError
from tracker.logs import announce_retries

ATTEMPTS = 4
RETRY_S = 90.0  # all attempts together, and the longest wait that the Hub may ask for
SERVER_ERROR = 500  # from here on the server is at fault


@contextlib.contextmanager
def hub_errors(
    model_id: str, revision: str | None, *, known: Iterable[str] = (), is_missing_raised: bool = False
) -> Iterator[None]:
    """Turn what the library raises about `model_id` into our errors.

    `is_missing_raised`: `RemoteEntryNotFoundError`, for a file that is not in the repository, is left alone.
    """
    try:
        yield
    # HfHubHTTPError and download errors are OSErrors; a body that is not JSON is a ValueError
    except (httpx2.TransportError, OSError, ValueError) as error:
        found = _translated(error, model_id, revision, known)
        if found is None or (is_missing_raised and isinstance(error, RemoteEntryNotFoundError)):
            raise
        raise found from error


def retrying() -> Iterator[stamina.Attempt]:
    """A bounded number of attempts, spaced as the Hub requests."""
    announce_retries()
    return iter(stamina.retry_context(on=_wait_s, attempts=ATTEMPTS, timeout=RETRY_S))


def _wait_s(error: Exception) -> bool | float:
    """Whether to retry, or the seconds to wait if the Hub says how long."""
    if not isinstance(error, TransientError):
        return False
    asked_s = _asked_wait_s(error.__cause__)
    return True if asked_s is None else asked_s <= RETRY_S and asked_s


def _asked_wait_s(error: BaseException | None) -> float | None:
    """Seconds to wait according to the headers of a 429 or 503."""
    if not isinstance(error, HfHubHTTPError):
        return None
    window = re.search(r"r=0;t=(\d+)", error.response.headers.get("RateLimit", ""))
    retry_after = error.response.headers.get("Retry-After", "")
    if window:
        return float(window.group(1)) + 1.0
    return float(retry_after) if retry_after.isdigit() else None


def _translated(
    error: BaseException, model_id: str, revision: str | None, known: Iterable[str]
) -> TrackerError | None:
    """Our error for one of the library's; None if it is unrelated to the Hub."""
    found: TrackerError | None = None
    match error:
        case GatedRepoError():
            message = f"`{model_id}` is gated: its publisher must grant you access"
            hint = f"request access at {constants.ENDPOINT}/{model_id}, then log in with `hf auth login`"
            found = ModelError(message, reason="gated", hint=hint)
        case DisabledRepoError():
            message = f"the Hub has disabled access to `{model_id}`"
            found = ModelError(message, reason="missing_weights", hint="use another copy of this model")
        case RevisionNotFoundError():
            found = UnknownNameError(f"revision of `{model_id}`", revision or "", known=_revisions(model_id))
        case RepositoryNotFoundError():
            found = _unknown(model_id, known)
        case RemoteEntryNotFoundError():
            message = f"`{model_id}` lacks a file that is needed to load it"
            found = ModelError(message, reason="missing_weights", hint="use another copy of this model")
        case HFValidationError():
            found = TrackerError(f"`{model_id}` is not a valid model name", hint="use `org/name`")
        case HfHubHTTPError():
            found = _http_error(model_id, error)
        case DryRunError() | LocalEntryNotFoundError():  # raised by a download that got no answer
            cause = error.__cause__
            found = _translated(cause, model_id, revision, known) if cause else None
            found = found or UnreachableError(f"{constants.ENDPOINT} cannot be reached")
        case OfflineModeIsEnabled():
            found = UnreachableError("the Hub is disabled because HF_HUB_OFFLINE is set")
        case httpx2.ConnectError():
            found = UnreachableError(f"{constants.ENDPOINT} cannot be reached")
        case httpx2.TransportError():
            found = TransientError(f"{constants.ENDPOINT} does not respond ({type(error).__name__})")
        case ValueError():
            found = UnreachableError(f"{constants.ENDPOINT} did not return JSON")
    return found


def _http_error(model_id: str, error: HfHubHTTPError) -> TrackerError:
    status = error.response.status_code
    if status in (401, 403):
        message = f"the Hub rejected the access token for `{model_id}`"
        return TrackerError(message, hint="log in again with `hf auth login`, or unset HF_TOKEN")
    if status == 429:
        asked_s = _asked_wait_s(error)
        hint = f"try again in {asked_s or 300:.0f} s, or log in for a higher limit"
        return TransientError("the Hub's rate limit was reached", hint=hint)
    if status >= SERVER_ERROR:
        return TransientError(f"{constants.ENDPOINT} is down (HTTP {status})", hint="try again later")
    return UnreachableError(f"{constants.ENDPOINT} returned HTTP {status} for `{model_id}`")


def _unknown(model_id: str, known: Iterable[str]) -> UnknownNameError:
    names = {*known, *_hub_names(model_id)}
    error = UnknownNameError("model", model_id, known=names - {model_id})
    error.hint = f"{error.hint if names else 'use `org/name`'} (a private model needs `hf auth login`)"
    if model_id in names:
        error.hint = (
            "the Hub had it before: it was deleted, renamed, or made private, which needs `hf auth login`;"
            " HF_HUB_OFFLINE=1 takes the copy in its cache"
        )
    return error


def _hub_names(model_id: str) -> list[str]:
    """Models of the same publisher, else with a similar name; none if the Hub cannot be reached."""
    author, _, name = model_id.partition("/")
    stem = re.split(r"[-_.]", name)[0]
    found: list[str] = []
    with contextlib.suppress(HfHubHTTPError, httpx2.TransportError, OfflineModeIsEnabled, ValueError):
        found = [info.id for info in HfApi().list_models(author=author, sort="downloads", limit=300)]
        found = found or [info.id for info in HfApi().list_models(search=stem, sort="downloads", limit=100)]
    return difflib.get_close_matches(model_id, found, n=3, cutoff=0.5) or found[:5]


def _revisions(model_id: str) -> list[str]:
    with contextlib.suppress(HfHubHTTPError, httpx2.TransportError, ValueError):
        refs = HfApi().list_repo_refs(model_id)
        return [ref.name for ref in (*refs.branches, *refs.tags)]
    return []
