"""The wire to an OpenAI-compatible server: URLs, the key, errors in our words, bounded retries.

Known to work this way: vLLM, SGLang, llama.cpp, Ollama, LM Studio. Each tells its version at another place.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import httpx2
import stamina

from runners.retries import announce_retries
from tracker.errors import EngineError, TrackerError, TransientError, UnknownNameError, UnreachableError

CONNECT_S = 10.0
SILENCE_S = 600.0  # a full server may let a request wait this long before its first token
ATTEMPTS = 5  # with waits of 0.1 to 5 s between them
RETRY_S = 60.0  # all attempts together, and the longest wait that a server may ask for
TRANSIENT = (429, 502, 503, 504)
MISSING = (404, 405, 501)
MAX_WORDS = 300  # characters of a server's own message that are repeated
EXAMPLE_URL = "http://127.0.0.1:8000/v1"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as `/v1/models` lists it."""

    name: str
    root: str = ""  # what the server loaded under this name, where told
    owned_by: str = ""
    max_model_len: int | None = None


@dataclass(frozen=True, slots=True)
class Software:
    """What the server says about itself; empty where it says nothing."""

    version: str = ""  # "vllm 0.32.0"
    chat_template_hash: str | None = None
    max_model_len: int | None = None


class ServerApi:
    """An open connection to one server; an async context manager."""

    def __init__(self, base_url: str | None, *, api_key: str = "") -> None:
        """Nothing is sent yet.

        Raises:
            TrackerError: the URL is none.
        """
        self.url = _api_url(base_url)
        self.name = _shown(self.url)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx2.Limits(max_connections=None)
        timeout = httpx2.Timeout(SILENCE_S, connect=CONNECT_S)
        self._client = httpx2.AsyncClient(
            headers=headers, limits=limits, timeout=timeout, verify=_certificates()
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            UnreachableError: the server is down, busy or answers with no JSON, also after the retries.
            EngineError: it refuses the request.
        """
        async for attempt in retrying():
            with attempt, self._errors():
                response = await self._client.post(self.url + path, json=body)
                response.raise_for_status()
                return _object(response.text)
        raise AssertionError("the last attempt returns or raises")

    async def events(self, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The events of one streamed answer. Not retried here: a part may have been used already.

        Raises:
            UnreachableError: the server is down, busy, or broke off.
            EngineError: it refuses the request.
        """
        with self._errors():
            async with self._client.sse(self.url + path, method="POST", json=body) as source:
                if not source.response.is_success:
                    await source.response.aread()
                    source.response.raise_for_status()
                async for event in source:
                    if event.data == "[DONE]":
                        return
                    yield _object(event.data)

    async def served_model(self, name: str) -> ServedModel:
        """The model that this server calls `name`; case, an organization and `:latest` make no difference.

        Raises:
            TrackerError: it serves none of this name, or several that only differ in the organization.
            UnreachableError: the server is down or serves none.
        """
        listed = await self._get(self.url + "/models")
        entries = listed.get("data") if listed else None
        if entries is None:
            _log.warning("%s lists no models; it is asked for `%s` as it stands", self.name, name)
            return ServedModel(name)
        models = [_served(entry) for entry in entries if isinstance(entry, dict) and entry.get("id")]
        if not models:
            raise UnreachableError(
                f"the server at {self.name} has no model loaded", hint="load one, then repeat"
            )
        if (found := _named(models, name)) is not None:
            return found
        if len(models) == 1:
            only = models[0].name
            message = f"the server at {self.name} serves `{only}`, not `{name}`"
            raise TrackerError(message, hint=f"to measure what it serves, use that name: `{only}`")
        raise UnknownNameError(f"model on {self.name}", name, known=[model.name for model in models])

    async def software(self, served: ServedModel) -> Software:
        """Name and version of the server, from the first of the known places that tells them."""
        root = self.url.removesuffix("/v1")
        if version := (await self._get(f"{root}/version") or {}).get("version"):
            return Software(version=f"{served.owned_by or 'server'} {version}")
        if build := (props := await self._get(f"{root}/props") or {}).get("build_info"):
            template = str(props.get("chat_template") or "")
            return Software(
                version=f"llama.cpp {build}",
                chat_template_hash=hashlib.sha256(template.encode()).hexdigest()[:16] if template else None,
                max_model_len=(props.get("default_generation_settings") or {}).get("n_ctx"),
            )
        if version := (await self._get(f"{root}/api/version") or {}).get("version"):
            return Software(version=f"ollama {version}")
        return Software(version=served.owned_by)

    async def _get(self, url: str) -> dict[str, Any] | None:
        """The JSON object at `url`; None if the server has no such place or something else is there."""
        async for attempt in retrying():
            with attempt, self._errors():
                response = await self._client.get(url, timeout=CONNECT_S)
                is_json = "json" in response.headers.get("content-type", "")
                if response.status_code in MISSING or (response.is_success and not is_json):
                    return None
                response.raise_for_status()
                return _object(response.text)
        raise AssertionError("the last attempt returns or raises")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what can happen to a connection into our errors."""
        try:
            yield
        except httpx2.HTTPStatusError as error:
            raise self._refusal(error.response) from error
        except httpx2.ConnectError as error:
            hint = f"is it running? `--base-url` names it, such as {EXAMPLE_URL}"
            raise TransientError(f"the server at {self.name} cannot be reached", hint=hint) from error
        except httpx2.TimeoutException as error:
            raise UnreachableError(f"the server at {self.name} has stopped answering") from error
        except httpx2.TransportError as error:
            message = f"the server at {self.name} closed the connection in the middle of an answer"
            raise TransientError(message, hint="see its log; repeating the command resumes") from error
        except ValueError as error:
            hint = f"`--base-url` names an OpenAI-compatible server, such as {EXAMPLE_URL}"
            raise UnreachableError(f"the server at {self.name} answers with no JSON", hint=hint) from error

    def _refusal(self, response: httpx2.Response) -> TrackerError:
        """What the status means. The server's words are not repeated where a key could be in them."""
        status = response.status_code
        if status in (401, 403):
            hint = "set TRACKER_SERVER_API_KEY to its key"
            return TrackerError(f"the server at {self.name} wants a valid key (HTTP {status})", hint=hint)
        if status in TRANSIENT:
            return TransientError(
                f"the server at {self.name} is busy or down (HTTP {status})", hint="try again later"
            )
        reason = "engine_died" if response.is_server_error else "unsupported"
        message = f"the server at {self.name} refuses (HTTP {status}): {_words(response.text)}"
        return EngineError(message, reason=reason, hint="see the server's log")


def retrying() -> AsyncIterator[stamina.Attempt]:
    """A bounded number of attempts for what may pass, as far apart as the server asks for."""
    announce_retries()
    return aiter(stamina.retry_context(on=_wait_s, attempts=ATTEMPTS, timeout=RETRY_S))


def _wait_s(error: Exception) -> bool | float:
    """Whether to try again, or after how many seconds if the server said so."""
    if not isinstance(error, TransientError):
        return False
    cause = error.__cause__
    asked = cause.response.headers.get("Retry-After", "") if isinstance(cause, httpx2.HTTPStatusError) else ""
    return float(asked) <= RETRY_S and float(asked) if asked.isdigit() else True


@functools.cache
def _certificates() -> ssl.SSLContext:
    """The certificates that are trusted; reading them takes longer than a request."""
    return httpx2.create_ssl_context()


def _api_url(base_url: str | None) -> str:
    """The URL under which `/models` and `/completions` are: `/v1` is added to a bare host."""
    parts = urlsplit((base_url or "").strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        message = f"`{base_url}` is no URL of a server" if base_url else "`--engine server` needs a URL"
        raise TrackerError(message, hint=f"--base-url {EXAMPLE_URL}")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or "/v1", "", ""))


def _shown(url: str) -> str:
    """The URL without a password that may stand in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _served(entry: dict[str, Any]) -> ServedModel:
    """One entry of `/v1/models`: vLLM tells `max_model_len` and `root`, the others less."""
    length = entry.get("max_model_len")
    return ServedModel(
        name=str(entry["id"]),
        root=str(entry.get("root") or ""),
        owned_by=str(entry.get("owned_by") or ""),
        max_model_len=length if isinstance(length, int) else None,
    )


def _named(models: Sequence[ServedModel], name: str) -> ServedModel | None:
    """The model of this name, an equal name before one with or without an organization.

    Only the tag `:latest` is left out: `:7b` and `:0.5b` are different models.
    """
    wanted = _bare(name)
    for model in models:
        if _bare(model.name) == wanted:
            return model
    # `org/name` and `other/name` are different models: one of the two has to name no organization
    alike = [
        m for m in models if _bare(m.name).endswith(f"/{wanted}") or wanted.endswith(f"/{_bare(m.name)}")
    ]
    return alike[0] if len(alike) == 1 else None


def _bare(name: str) -> str:
    return name.lower().removesuffix(":latest")


def _object(text: str) -> dict[str, Any]:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("a JSON object belongs here")
    return document


def _words(text: str) -> str:
    """The server's own message, from OpenAI's error object or as it stands."""
    try:
        document = json.loads(text)
        error = document.get("error", document)
        words = str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        words = text
    return " ".join(words.split())[:MAX_WORDS]
