"""The `server` engine: any OpenAI-compatible URL, many requests at once, answers as they finish.

One background thread runs an event loop for the length of a call, so that leaving early, by Ctrl-C or by an
error, closes every connection and the server can stop computing.
Not covered: choosing what the server runs. Its template, its quantization and its memory are its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from runners.engines import ChatPrompt, Continuation, ContinuationRequest, Generation, GenerationRequest
from runners.engines.server_answers import StreamedAnswer, continuation, has_prompt_log_probs
from runners.engines.server_api import ServedModel, ServerApi, Software, retrying
from tracker.errors import EngineError, TrackerError, UnreachableError
from tracker.records import EngineInfo, EngineSettings, Model
from tracker.settings import load_settings

SERVER_TEMPLATE = "server"  # stands for a chat template that the server applies and does not show
PROBE = "The sky is blue and the grass is green"  # several tokens in every vocabulary
JOIN_S = 10.0  # for the background thread to close its connections
_log = logging.getLogger(__name__)

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """What was found out about the server at the start."""

    served: ServedModel
    software: Software
    fingerprint: str | None
    gives_log_probs: bool


class ServerEngine:
    """Asks a server that runs somewhere else; holds no weights."""

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        """Find the model on the server and what the server can do.

        Raises:
            TrackerError: the URL is none, the key is refused, or the server has no such model.
            UnreachableError: the server does not answer.
        """
        self.prefilled_tokens = 0  # as the server tells it; one that hides its cache is counted in full
        self.cut_requests = 0  # what a server leaves out it does not tell
        self._settings = settings
        self._api_key = load_settings().server_api_key
        self._n_context: dict[str, int] = {}  # tokens of contexts that texts alone do not tell apart
        self._endpoint = endpoint = asyncio.run(self._explore(model.model_id))
        self.info = EngineInfo(
            engine="server",
            engine_version=endpoint.software.version or "unknown",
            dtype="unknown",
            device="server",
            # 0: the server does not say
            max_model_len=settings.max_model_len
            or endpoint.served.max_model_len
            or endpoint.software.max_model_len
            or 0,
            chat_template_hash=endpoint.software.chat_template_hash or SERVER_TEMPLATE,
            versions={
                "served_model": endpoint.served.name,
                "served_root": endpoint.served.root,
                "system_fingerprint": endpoint.fingerprint or "",
            },
        )

    def chat_prompt(self, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool = True) -> str:
        """The messages to be sent as they are; the text only shows them, for the server has the template."""
        lines = [f"{message['role']}: {message['content']}" for message in messages]
        return ChatPrompt("\n\n".join([*lines, "assistant:"] if add_generation_prompt else lines), messages)

    def log_probs(self, requests: Sequence[ContinuationRequest]) -> Iterator[tuple[int, Continuation]]:
        """Yield the place of each request with its answer, in any order.

        Raises:
            EngineError: this server gives no log-probabilities of a prompt (reason `unsupported`).
            UnreachableError: it died; what it answered before has been yielded.
        """
        if not self._endpoint.gives_log_probs:
            message = (
                f"the server at {self._open().name} gives no log-probabilities of a prompt "
                "(`echo` with `logprobs`), so choice tasks cannot be scored there"
            )
            hint = "vLLM and SGLang give them; or use `--engine vllm` or `--engine transformers`"
            raise EngineError(message, reason="unsupported", hint=hint)
        return self._stream(requests, self._log_prob)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        """Yield the place of each request with its answer, in any order.

        Raises:
            EngineError: the server refuses a request, or failed while answering it.
            UnreachableError: it died; what it answered before has been yielded.
        """
        return self._stream(requests, self._generation)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _open(self) -> ServerApi:
        return ServerApi(self._settings.base_url, api_key=self._api_key)

    async def _explore(self, name: str) -> _Endpoint:
        async with self._open() as api:
            served = await api.served_model(name)
            software = await api.software(served)
            body = {"model": served.name, "prompt": PROBE, "max_tokens": 1, "temperature": 0.0}
            try:
                answer = await api.post("/completions", body | {"echo": True, "logprobs": 1})
            except EngineError as error:
                _log.info("no log-probabilities from %s: %s", api.name, error)
                answer = {}
        return _Endpoint(
            served=served,
            software=software,
            fingerprint=answer.get("system_fingerprint"),
            gives_log_probs=has_prompt_log_probs(answer),
        )

    def _stream(
        self, requests: Sequence[Asked], ask: Callable[[ServerApi, Asked], Awaitable[Answered]]
    ) -> Iterator[tuple[int, Answered]]:
        """Ask all, `settings.concurrency` at once; yield what has arrived, then raise what went wrong."""
        arrived: queue.SimpleQueue[tuple[int, Answered] | BaseException | None] = queue.SimpleQueue()
        loop = asyncio.new_event_loop()
        task = loop.create_task(self._ask_all(requests, ask, arrived.put))

        def run() -> None:
            try:
                loop.run_until_complete(asyncio.wait({task}))
            finally:
                loop.close()
            arrived.put(None if task.cancelled() else task.exception())

        thread = threading.Thread(target=run, name="server-requests", daemon=True)
        thread.start()
        try:
            while (found := arrived.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            if thread.is_alive() and not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)
            thread.join(JOIN_S)

    async def _ask_all(
        self,
        requests: Sequence[Asked],
        ask: Callable[[ServerApi, Asked], Awaitable[Answered]],
        answered: Callable[[tuple[int, Answered]], None],
    ) -> None:
        """Ask until all are answered or one fails; what is under way then is still waited for."""
        waiting = iter(enumerate(requests))
        failed: list[TrackerError] = []

        async def ask_some(api: ServerApi) -> None:
            for place, request in waiting:
                try:
                    answered((place, await ask(api, request)))
                except TrackerError as error:
                    failed.append(error)
                if failed:
                    return

        async with self._open() as api, asyncio.TaskGroup() as group:
            for _ in range(min(self._settings.concurrency, len(requests))):
                group.create_task(ask_some(api))
        if failed:
            raise failed[0]

    async def _generation(self, api: ServerApi, request: GenerationRequest) -> Generation:
        path, body = self._generation_body(request)
        thinks = path == "/chat/completions" and self._settings.thinking is True
        async for attempt in retrying():
            with attempt:
                answer = StreamedAnswer(stop=request.stop, thinks=thinks)
                started, ttft_s = time.monotonic(), None
                async with contextlib.aclosing(api.events(path, body)) as events:
                    async for event in events:
                        with _well_formed(api):
                            answer.add(event)
                        if ttft_s is None and answer.n_pieces:
                            ttft_s = time.monotonic() - started
                        if answer.is_stopped() or answer.overruns(request.max_output_tokens):
                            break  # closes the connection, and with it the server's work
                with _well_formed(api):
                    found = answer.generation(latency_s=time.monotonic() - started, ttft_s=ttft_s)
                self.prefilled_tokens += found.prompt_tokens - found.cached_tokens
                return found
        raise AssertionError("the last attempt returns or raises")

    def _generation_body(self, request: GenerationRequest) -> tuple[str, dict[str, Any]]:
        """Path and body of one generation: the one place where our words become the API's."""
        body: dict[str, Any] = {
            "model": self._endpoint.served.name,
            "max_tokens": request.max_output_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stream": True,
            # the second is vLLM's: a count with every piece, so that one is there when we stop early
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        if request.seed is not None:
            body["seed"] = request.seed
        if request.json_schema is not None:
            schema = {"name": "answer", "schema": dict(request.json_schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if not isinstance(request.prompt, ChatPrompt):
            return "/completions", body | {"prompt": request.prompt} | (
                {"stop": list(request.stop)} if request.stop else {}
            )
        # Stop strings are not sent with a chat: servers would also obey them inside the thinking.
        body["messages"] = list(request.prompt.messages)
        if request.prompt.messages[-1]["role"] == "assistant":
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        if self._settings.thinking is not None:
            body["chat_template_kwargs"] = {"enable_thinking": self._settings.thinking}
        return "/chat/completions", body

    async def _log_prob(self, api: ServerApi, request: ContinuationRequest) -> Continuation:
        request = _without_trailing_space(request)
        body = {
            "model": self._endpoint.served.name,
            "prompt": request.context + request.continuation,
            "max_tokens": 1,  # some servers refuse 0
            "temperature": 0.0,
        }
        answer = await api.post("/completions", body | {"echo": True, "logprobs": 1})
        with _well_formed(api):
            found = continuation(answer, request)
        if found is None:
            if request.context not in self._n_context:
                counted = await api.post("/completions", body | {"prompt": request.context})
                with _well_formed(api):
                    self._n_context[request.context] = int(counted["usage"]["prompt_tokens"])
            found = continuation(answer, request, n_context=self._n_context[request.context])
        if found is None:
            message = f"the continuation {request.continuation!r} has no token of its own after its context"
            raise EngineError(message, reason="unsupported", hint="score this task with another engine")
        self.prefilled_tokens += found.prompt_tokens + found.output_tokens - found.cached_tokens
        return found


@contextlib.contextmanager
def _well_formed(api: ServerApi) -> Iterator[None]:
    """Read JSON of the server's: what is missing or of another kind there is the server's fault."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        message = f"the server at {api.name} does not answer as the OpenAI API promises ({error!r})"
        raise UnreachableError(message, hint="see whether an update of the server mends it") from error


def _without_trailing_space(request: ContinuationRequest) -> ContinuationRequest:
    """The pair with the context's trailing space moved to the continuation, as lm-eval does it."""
    context = request.context.rstrip()
    return ContinuationRequest(context, request.context[len(context) :] + request.continuation)
