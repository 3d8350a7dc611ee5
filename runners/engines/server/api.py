"""HTTP client of an OpenAI-compatible server: URLs, the key, our errors, bounded retries.

Known to work: vLLM, SGLang, llama.cpp, Ollama, LM Studio. Each reports its version at a different URL.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import httpx2
import stamina

from runners.engines import RequestRefusedError
from tracker.addresses import shown
from tracker.errors import EngineError, NotServedError, TrackerError, TransientError, UnreachableError
from tracker.http_client import (
    MIB,
    AnswerLimits,
    AnswerTooLargeError,
    AnswerTooSlowError,
    HttpAnswer,
    HttpClient,
    parse_json,
)
from tracker.logs import announce_retries
from tracker.redaction import keep_secret, masked, without_known_secrets
from tracker.serialization import writable_text
from tracker.settings import address_secrets, server_login, server_query, without_login

SILENCE_S = 600.0  # a busy server may queue a request this long before its first token
TOKEN_S = 2.0  # per requested token at most: half a token a second is slow even for a large model on a CPU
TOKEN_BYTES = 4096  # per requested token at most; vLLM's event of one token with its usage has 400
STREAM_BYTES = 2 * MIB  # more than that for a whole stream, for thinking that a server sends unasked
# Who the server is: vLLM's list of one model has 1 kB, llama.cpp's properties with a long template 100 kB.
ABOUT = AnswerLimits(max_bytes=8 * MIB, silence_s=10.0, total_s=30.0)
# One answer as a whole: log-probabilities of 128,000 tokens of a prompt have about 30 MB.
WHOLE = AnswerLimits(max_bytes=64 * MIB, silence_s=SILENCE_S, total_s=2 * SILENCE_S)
MAX_NAME = 500  # characters of a name or version that a server reports
MAX_CONTEXT = 2**31  # tokens; a longer context is not plausible
ATTEMPTS = 5  # with waits of 0.1 to 5 s between them
RETRY_S = 60.0  # all attempts together, without the waits that a server requests
# The longest wait that a server may request; free tiers say 61 s or two minutes. Two of these together are
# shorter than the time without progress after which a worker counts as hung.
LONGEST_WAIT_S = 240.0
TRANSIENT = (408, 409, 425, 429, 502, 503, 504)
UNAUTHORIZED = 401
FORBIDDEN = 403  # no access, or only for this request, such as by a content filter
KEY_HINT = "set TRACKER_SERVER_API_KEY to the server's key"
OF_THIS_REQUEST = (400, 413, 422)  # too long, filtered, malformed; the others concern every request
MISSING = (404, 405, 501)
SERVER_ERROR = 500  # from here on the server is at fault
MAX_WORDS = 300  # characters of a server's own message in ours
DONE_MARK = b"[DONE]"  # the last event of a stream
DONE: Mapping[str, Any] = {}  # the same as an event of ours
EXAMPLE_URL = "http://127.0.0.1:8000/v1"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model listed by `/v1/models`."""

    name: str
    root: str = ""  # the model loaded under this name, if reported
    owned_by: str = ""
    max_model_len: int | None = None


@dataclass(frozen=True, slots=True)
class Software:
    """The server's description of itself; empty fields are not reported."""

    version: str = ""  # "vllm 0.32.0"
    chat_template_hash: str | None = None
    max_model_len: int | None = None
    digest: str = ""  # of the weights, where a server tells one


class ServerApi:
    """An open connection to one server; an async context manager."""

    def __init__(self, base_url: str | None, *, api_key: str = "") -> None:
        """Prepare the client; nothing is sent yet.

        Raises:
            TrackerError: the URL is missing or invalid.
        """
        self.url, login = _api_url(base_url)
        self.name = shown(self.url)
        self.query = server_query(self.url)
        user, _, password = (login or server_login(self.url)).partition(":")
        headers = {}
        if password and not user:
            headers = {"authorization": f"Bearer {password}"}
        elif api_key:
            headers = {"authorization": f"Bearer {api_key}"}
        elif user:
            encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers = {"authorization": f"Basic {encoded}"}
        keep_secret(api_key, f"{user}:{password}", password or user, *address_secrets(f"?{self.query}"))
        self._client = HttpClient(headers=headers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send one request and return its answer.

        Raises:
            UnreachableError: the server is down, busy or does not return JSON, even after the retries.
            EngineError: it rejects the request.
        """
        with finally_failed():
            async for attempt in retrying():
                with attempt, self._errors():
                    answer = await self._client.post(self._address(path), body, WHOLE)
                    self._check(answer)
                    return _object(answer.body)
        raise AssertionError("the last attempt returns or raises")

    async def events(self, path: str, body: dict[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the events of one answer, `DONE` at the end if the server marks it.

        Not retried, since a part may have been used already. A server that does not stream gives one event.

        Raises:
            UnreachableError: the server is down, busy, or closed the connection.
            EngineError: it rejects the request.
        """
        asked = body.get("max_tokens") or body.get("max_completion_tokens")
        n_tokens = max(1, asked) if isinstance(asked, int) else 1
        limits = AnswerLimits(
            max_bytes=STREAM_BYTES + TOKEN_BYTES * n_tokens,
            silence_s=SILENCE_S,
            total_s=SILENCE_S + TOKEN_S * n_tokens,
        )
        with self._errors():
            async with self._client.events(
                self._address(path), body, limits, is_finished=_is_finished
            ) as stream:
                if not 200 <= stream.status < 300:
                    self._check(await stream.whole())
                kind = stream.headers.get("content-type", "")
                if "event-stream" not in kind:
                    for event in whole_events((await stream.whole()).body):
                        yield event
                    return
                async with contextlib.aclosing(stream.data()) as pieces:
                    async for piece in pieces:
                        for event in _events_in(piece):
                            yield event
                            if event is DONE:
                                return
                if stream.document:
                    for event in whole_events(stream.document):
                        yield event

    async def described(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`, with which a server describes itself; empty if it has none there.

        Raises:
            UnreachableError: the server is down.
            TrackerError: the key is rejected.
        """
        found = await self._get(self.url + path)
        return found if isinstance(found, dict) else {}

    async def served_model(self, name: str) -> ServedModel:
        """Find the model `name` on the server, ignoring case, a missing organization and the tag `:latest`.

        Raises:
            NotServedError: it serves no such model, or several that differ only in the organization.
            UnreachableError: the server is down or serves no model.
        """
        try:
            listed = await self._get(self.url + "/models")
        except (RequestRefusedError, FailedServerError) as error:
            _log.warning("the list of models cannot be read: %s", error)
            listed = None
        entries = listed.get("data") if isinstance(listed, dict) else listed
        if entries is None:
            _log.warning(
                "the server at %s does not list its models, so `%s` is requested under this name",
                self.name,
                name,
            )
            return ServedModel(name)
        listed_models = entries if isinstance(entries, list) else [entries]
        models = [model for model in map(_served, listed_models) if model.name]
        if not models:
            raise UnreachableError(
                f"the server at {self.name} has no model loaded", hint="load one, then repeat the command"
            )
        if (found := _named(models, name)) is not None:
            return found
        raise NotServedError(self.name, name, known=[model.name for model in models])

    async def software(self, served: ServedModel) -> Software:
        """Name and version of the server, from the first known URL that reports them."""
        root = self.url.removesuffix("/v1")
        said = await self._try(f"{root}/version")
        if version := _word(said.get("version") if isinstance(said, dict) else said):
            return Software(version=f"{served.owned_by or 'server'} {version}")
        found = await self._try(f"{root}/props")
        if build := _word((props := found if isinstance(found, dict) else {}).get("build_info")):
            template = str(props.get("chat_template") or "")
            defaults = props.get("default_generation_settings")
            return Software(
                version=f"llama.cpp {build}",
                chat_template_hash=_hash(template) if template else None,
                max_model_len=_context(defaults.get("n_ctx") if isinstance(defaults, dict) else None),
            )
        said = await self._try(f"{root}/api/version")
        if version := _word(said.get("version") if isinstance(said, dict) else None):
            digest = _digest(await self._try(f"{root}/api/tags"), served.name)
            return Software(version=f"ollama {version}", digest=digest)
        return Software(version=served.owned_by)

    async def _try(self, url: str) -> Any:
        """The JSON at an address that a server need not have; None for whatever else it answers."""
        try:
            return await self._get(url)
        except TrackerError as error:
            _log.info("%s tells nothing: %s", shown(url), error)
            return None

    async def _get(self, url: str) -> Any:
        """The JSON at `url`; None if there is no such resource or it is not JSON."""
        async for attempt in retrying():
            with attempt, self._errors():
                answer = await self._client.get(self._with_query(url), ABOUT)
                is_json = "json" in answer.headers.get("content-type", "")
                if answer.status in MISSING or (200 <= answer.status < 300 and not is_json):
                    return None
                self._check(answer)
                try:
                    return parse_json(answer.body)
                except ValueError as error:
                    hint = (
                        f"`--base-url` must be the URL of an OpenAI-compatible server, such as {EXAMPLE_URL}"
                    )
                    raise UnreachableError(
                        f"the server at {self.name} did not return JSON", hint=hint
                    ) from error
        raise AssertionError("the last attempt returns or raises")

    def _address(self, path: str) -> str:
        return self._with_query(self.url + path)

    def _with_query(self, url: str) -> str:
        """An address of this server as it is asked; the query may hold a key and stands in no message."""
        return f"{url}?{self.query}" if self.query else url

    def _check(self, answer: HttpAnswer) -> None:
        if not 200 <= answer.status < 300:
            raise self._refusal(answer)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn connection errors into ours."""
        try:
            yield
        except (AnswerTooLargeError, AnswerTooSlowError) as error:
            raise UnreachableError(str(error), hint="check its log, or use another server") from error
        except httpx2.ConnectError as error:
            hint = f"check that it is running and that `--base-url` is right, such as {EXAMPLE_URL}"
            if "SSL" in str(error):
                hint = "check its certificate, or use `http://` in `--base-url` if it has none"
            raise TransientError(f"the server at {self.name} cannot be reached", hint=hint) from error
        except httpx2.TimeoutException as error:
            raise UnreachableError(f"the server at {self.name} stopped responding") from error
        except httpx2.DecodingError as error:
            message = f"the server at {self.name} sent an answer that cannot be decompressed"
            raise MalformedAnswerError(message, hint="check its log, or the proxy before it") from error
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            hint = f"example: --base-url {EXAMPLE_URL}"
            raise TrackerError(f"`{self.name}` is not a server URL", hint=hint) from error
        except httpx2.HTTPError as error:
            message = f"the server at {self.name} closed the connection in the middle of an answer"
            raise TransientError(message, hint="check its log, then repeat the command to resume") from error
        except ValueError as error:
            hint = f"`--base-url` must be the URL of an OpenAI-compatible server, such as {EXAMPLE_URL}"
            raise MalformedAnswerError(f"the server at {self.name} did not return JSON", hint=hint) from error

    def _refusal(self, answer: HttpAnswer) -> TrackerError:
        """Our error for an HTTP status; the server's message is omitted if it is about a key."""
        status = answer.status
        if status == UNAUTHORIZED:
            return TrackerError(
                f"the server at {self.name} requires a valid API key (HTTP {status})", hint=KEY_HINT
            )
        if status == FORBIDDEN:
            message = f"the server at {self.name} forbids the request (HTTP {status}): {_words(answer.body)}"
            return ForbiddenError(message, hint=KEY_HINT)
        if status in TRANSIENT:
            message = f"the server at {self.name} is busy or down (HTTP {status})"
            return BusyServerError(message, wait_s=requested_wait_s(answer.headers))
        message = f"the server at {self.name} rejected the request (HTTP {status}): {_words(answer.body)}"
        if status >= SERVER_ERROR:
            return FailedServerError(message, hint="check the server's log")
        if status in OF_THIS_REQUEST:
            refused = RequestRefusedError(message, reason="unsupported", hint="check the server's log")
            refused.body = answer.body
            return refused
        return EngineError(message, reason="unsupported", hint="check the server's log and `--base-url`")


class ForbiddenError(TrackerError):
    """The server forbids a request, perhaps this one alone; it ends a run if no request is answered."""


class MalformedAnswerError(TransientError):
    """An answer that is not what the API promises; the next one may be."""


class FailedServerError(TransientError):
    """The server failed while answering (HTTP 500); several in a row end the run."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)

    def final(self) -> EngineError:
        """The error once it is not retried any more."""
        return EngineError(str(self), reason="engine_died", hint=self.hint)


class BusyServerError(TransientError):
    """The server is busy or down; `wait_s` is the wait that it requests."""

    def __init__(self, message: str, *, wait_s: float | None) -> None:
        is_long = wait_s is not None and wait_s > LONGEST_WAIT_S
        super().__init__(message, hint=f"try again in {wait_s:.0f} s" if is_long else "try again later")
        self.wait_s = wait_s


def requested_wait_s(headers: Mapping[str, str]) -> float | None:
    """The seconds in `Retry-After`, or to its date on the server's own clock; None if there is none."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value, flags=re.ASCII):
        return float(value)
    try:
        then, now = (parsedate_to_datetime(text) for text in (value, headers.get("date", "")))
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


@contextlib.contextmanager
def finally_failed() -> Iterator[None]:
    """Turn the last of several failures of the server into an `EngineError`."""
    try:
        yield
    except FailedServerError as error:
        raise error.final() from error


def _is_finished(body: bytes) -> bool:
    """Whether a document is a whole answer: it says why each of its choices ended."""
    try:
        choices = _object(body).get("choices")
    except ValueError:
        return False
    return (
        isinstance(choices, list)
        and bool(choices)
        and all(isinstance(one, dict) and one.get("finish_reason") for one in choices)
    )


def _events_in(piece: bytes) -> Iterator[Mapping[str, Any]]:
    """The event in the data of one; several where a server does not put an empty line between them.

    Raises:
        ValueError: it is no JSON object.
    """
    if not piece.strip():  # sent to keep the connection open
        return
    try:
        found = [_one_event(piece)]
    except ValueError:
        if b"\n" not in piece:
            raise
        found = [_one_event(line) for line in piece.splitlines() if line.strip()]
    yield from found


def _one_event(data: bytes) -> Mapping[str, Any]:
    return DONE if data.strip().strip(b'"').upper() == DONE_MARK else _object(data)


def whole_events(body: bytes) -> Iterator[Mapping[str, Any]]:
    """The events of an answer that was not sent as a stream of events: one document, or one on each line.

    Raises:
        ValueError: it is neither.
    """
    try:
        yield _event_of(_object(body))
    except ValueError:
        lines = [line.removeprefix(b"data:").strip() for line in body.splitlines()]
        documents = [line for line in lines if line and not line.startswith((b":", b"event:", b"id:"))]
        if not documents:
            raise
        for line in documents:
            if line != DONE_MARK:
                yield _event_of(_object(line))
    yield DONE


def _event_of(document: dict[str, Any]) -> dict[str, Any]:
    """A whole answer as one event of a stream."""
    choices = document.get("choices")
    if not isinstance(choices, list):
        return document
    parts = [
        choice | {"delta": choice.get("delta") or choice.get("message") or {}}
        for choice in choices
        if isinstance(choice, dict)
    ]
    return document | {"choices": parts}


def _digest(tags: Any, name: str) -> str:
    """The digest of a model in Ollama's list."""
    models = tags.get("models") if isinstance(tags, dict) else None
    for model in models if isinstance(models, list) else []:
        if isinstance(model, dict) and _bare(_word(model.get("name"))) == _bare(name):
            return _word(model.get("digest"))
    return ""


def retrying() -> AsyncIterator[stamina.Attempt]:
    """A bounded number of attempts for transient errors, spaced as the server requests."""
    announce_retries()
    timeout_s = RETRY_S + LONGEST_WAIT_S
    return aiter(stamina.retry_context(on=wait_before_retry, attempts=ATTEMPTS, timeout=timeout_s))


def wait_before_retry(error: Exception) -> bool | float:
    """Whether to retry, or the seconds to wait if the server says how long."""
    if not isinstance(error, TransientError):
        return False
    asked_s = error.wait_s if isinstance(error, BusyServerError) else None
    return True if asked_s is None else asked_s <= LONGEST_WAIT_S and asked_s


def _api_url(base_url: str | None) -> tuple[str, str]:
    """The base URL of `/models` and `/completions`, and its `user:password`; a bare host gets `/v1`."""
    given = (base_url or "").strip()
    try:
        parts = urlsplit(given)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        message = f"`{shown(given)}` is not a server URL" if given else "`--engine server` needs a URL"
        is_host = re.fullmatch(r"[\w.-]+(:\d+)?(/[\w./-]*)?", given, flags=re.ASCII)
        raise TrackerError(message, hint=f"--base-url {f'http://{given}' if is_host else EXAMPLE_URL}")
    user = parts.netloc.rpartition("@")[0]
    url = without_login(given)
    return (url.rstrip("/") if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/v1"), unquote(user)


def _served(entry: Any) -> ServedModel:
    """Parse one entry of `/v1/models`; only vLLM reports `max_model_len` and `root`.

    Some servers list the names alone, or under another key. Without any name it is empty.
    """
    if not isinstance(entry, dict):
        return ServedModel(_word(entry) if isinstance(entry, str) else "")
    return ServedModel(
        name=next(filter(None, (_word(entry.get(key)) for key in ("id", "name", "model"))), ""),
        root=_word(entry.get("root")),
        owned_by=_word(entry.get("owned_by")),
        max_model_len=_context(entry.get("max_model_len")),
    )


def _word(value: Any) -> str:
    """A name or a version as text of a plausible length; empty for anything but text or a number."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return ""
    return without_known_secrets(writable_text(str(value)))[:MAX_NAME]


def _context(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and 0 < value < MAX_CONTEXT else None


def _hash(template: str) -> str:
    return hashlib.sha256(template.encode(errors="replace")).hexdigest()[:16]


def _named(models: Sequence[ServedModel], name: str) -> ServedModel | None:
    """The model of this name; an exact match is preferred to one with or without an organization.

    Only the tag `:latest` is ignored: `:7b` and `:0.5b` are different models.
    """
    wanted = _bare(name)
    for model in models:
        if _bare(model.name) == wanted:
            return model
    # `org/name` and `other/name` are different models: one of the two must have no organization
    alike = [
        m for m in models if _bare(m.name).endswith(f"/{wanted}") or wanted.endswith(f"/{_bare(m.name)}")
    ]
    return alike[0] if len(alike) == 1 else None


def _bare(name: str) -> str:
    return name.lower().removesuffix(":latest")


def _object(body: bytes) -> dict[str, Any]:
    document = parse_json(body)
    if not isinstance(document, dict):
        raise ValueError("expected a JSON object")
    return document


def _words(body: bytes) -> str:
    """The server's own message, from OpenAI's error object or verbatim, without our secrets."""
    words = body.decode(errors="replace")
    with contextlib.suppress(ValueError):
        document = parse_json(body)
        error = document.get("error", document) if isinstance(document, dict) else document
        words = str(error.get("message", error) if isinstance(error, dict) else error)
    words = "".join(letter if letter.isprintable() else " " for letter in masked(writable_text(words)))
    return " ".join(words.split())[:MAX_WORDS]
