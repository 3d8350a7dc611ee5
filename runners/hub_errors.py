"""What goes wrong with the Hub, in our words: each error of its library becomes one of ours, once.

The library's texts are not repeated, since a URL may be signed. Only what may pass is tried again.
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
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from runners.retries import announce_retries
from tracker.errors import ModelError, TrackerError, TransientError, UnknownNameError, UnreachableError

ATTEMPTS = 4
RETRY_S = 90.0  # all attempts together, and the longest wait that the Hub may ask for
SERVER_ERROR = 500  # from here on the fault is the server's


@contextlib.contextmanager
def hub_errors(model_id: str, revision: str | None, *, known: Iterable[str] = ()) -> Iterator[None]:
    """Turn what the library raises about `model_id` into our errors."""
    try:
        yield
    # HfHubHTTPError and the download's own errors are OSErrors; a body that is no JSON is a ValueError
    except (httpx2.TransportError, OSError, ValueError) as error:
        found = _translated(error, model_id, revision, known)
        if found is None:
            raise
        raise found from error


def retrying() -> Iterator[stamina.Attempt]:
    """A bounded number of attempts, as far apart as the Hub asks for."""
    announce_retries()
    return iter(stamina.retry_context(on=_wait_s, attempts=ATTEMPTS, timeout=RETRY_S))


def _wait_s(error: Exception) -> bool | float:
    """Whether to try again, or after how many seconds if the Hub said so."""
    if not isinstance(error, TransientError):
        return False
    asked_s = _asked_wait_s(error.__cause__)
    return True if asked_s is None else asked_s <= RETRY_S and asked_s


def _asked_wait_s(error: BaseException | None) -> float | None:
    """The seconds that a 429 or 503 asks to wait for."""
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
    """Our error for one of the library's; None if it is not about the Hub."""
    found: TrackerError | None = None
    match error:
        case GatedRepoError():
            message = f"`{model_id}` is gated: its publisher must give you access first"
            hint = f"ask for it at {constants.ENDPOINT}/{model_id}, then log in with `hf auth login`"
            found = ModelError(message, reason="gated", hint=hint)
        case DisabledRepoError():
            message = f"the Hub has disabled access to `{model_id}`"
            found = ModelError(message, reason="missing_weights", hint="choose another copy of this model")
        case RevisionNotFoundError():
            found = UnknownNameError(f"revision of `{model_id}`", revision or "", known=_revisions(model_id))
        case RepositoryNotFoundError():
            found = _unknown(model_id, known)
        case HFValidationError():
            found = TrackerError(f"`{model_id}` cannot be the name of a model", hint="a name is `org/name`")
        case HfHubHTTPError():
            found = _http_error(model_id, error)
        case DryRunError() | LocalEntryNotFoundError():  # how a download says that it got no answer
            cause = error.__cause__
            found = _translated(cause, model_id, revision, known) if cause else None
            found = found or UnreachableError(f"{constants.ENDPOINT} cannot be reached")
        case OfflineModeIsEnabled():
            found = UnreachableError("the Hub is not asked because HF_HUB_OFFLINE is set")
        case httpx2.ConnectError():
            found = UnreachableError(f"{constants.ENDPOINT} cannot be reached")
        case httpx2.TransportError():
            found = TransientError(f"{constants.ENDPOINT} does not answer ({type(error).__name__})")
        case ValueError():
            found = UnreachableError(f"{constants.ENDPOINT} answers with something that is no JSON")
    return found


def _http_error(model_id: str, error: HfHubHTTPError) -> TrackerError:
    status = error.response.status_code
    if status in (401, 403):
        message = f"the Hub refuses the access token for `{model_id}`"
        return TrackerError(message, hint="make a new one with `hf auth login`, or unset HF_TOKEN")
    if status == 429:
        asked_s = _asked_wait_s(error)
        hint = f"try again in {asked_s or 300:.0f} s, or log in for a higher limit"
        return TransientError("the Hub's rate limit is reached", hint=hint)
    if status >= SERVER_ERROR:
        return TransientError(f"{constants.ENDPOINT} is down (HTTP {status})", hint="try again later")
    return UnreachableError(f"{constants.ENDPOINT} answers HTTP {status} about `{model_id}`")


def _unknown(model_id: str, known: Iterable[str]) -> UnknownNameError:
    error = UnknownNameError("model", model_id, known={*known, *_hub_names(model_id)})
    error.hint = f"{error.hint or 'a name is `org/name`'} (a private one needs `hf auth login`)"
    return error


def _hub_names(model_id: str) -> list[str]:
    """Models of the same publisher, else of a similar name; none if the Hub cannot be asked."""
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
