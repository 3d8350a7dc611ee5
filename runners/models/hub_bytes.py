"""Parts of a file on the Hub, with a limit of bytes and of time, whatever the server sends."""

from __future__ import annotations

import re
import time

from huggingface_hub import hf_hub_url
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from runners.models.hub_errors import hub_errors
from tracker.errors import UnreachableError
from tracker.records import Model

SILENCE_S = 20.0  # between two parts of an answer
WHOLE_S = 300.0  # for one answer
EMPTY = 416  # HTTP status of a range in an empty file
CONTENT_RANGE = re.compile(r"bytes (\d{1,20})-\d{1,20}/(\d{1,20})")


def hub_bytes(model: Model, name: str, n_bytes: int, *, start: int = 0) -> tuple[bytes, int]:
    """`n_bytes` from `start` on of a file of the model's commit, or what it has of them, and the file's size.

    Raises:
        RemoteEntryNotFoundError: the repository has no such file.
        ModelError: the repository is gated.
        UnreachableError: the Hub is down, or its answer takes too long.
    """
    url = hf_hub_url(model.repository, name, revision=model.revision)
    wanted = f"bytes={start}-{start + n_bytes - 1}"
    headers = build_hf_headers() | {"Range": wanted, "Accept-Encoding": "identity"}
    ends_at_s = time.monotonic() + WHOLE_S
    with (
        hub_errors(model.repository, model.revision, is_missing_raised=True),
        get_session().stream("GET", url, headers=headers, timeout=SILENCE_S) as response,
    ):
        if response.status_code == EMPTY:
            return b"", 0
        if response.is_error:
            response.read()
        hf_raise_for_status(response)
        whole = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if start and (whole is None or int(whole[1]) != start):
            raise UnreachableError(f"the server of `{model.repository}` sends no parts of `{name}`")
        found = bytearray()
        for part in response.iter_bytes():
            found += part
            if len(found) >= n_bytes:
                break
            if time.monotonic() > ends_at_s:
                raise UnreachableError(f"`{name}` of `{model.model_id}` did not arrive in {WHOLE_S:.0f} s")
        length = response.headers.get("Content-Length", "")
        size = int(whole[2]) if whole else int(length) if re.fullmatch(r"\d{1,20}", length) else len(found)
        return bytes(found[:n_bytes]), size
