"""The `server` engine: any OpenAI-compatible URL, many requests at once, answers as they finish.

One background thread runs an event loop for the length of a call, so that leaving early, by Ctrl-C or by an
error, closes every connection and the server can stop computing.
Not covered: choosing the server's model, chat template, quantization or memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx2
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from runners.engines import (
    REFUSED,
    UNSCORED,
    ChatPrompt,
    Continuation,
    ContinuationRequest,
    Generation,
    GenerationRequest,
    RequestRefusedError,
    TextRequest,
)
from runners.engines.chat import TRIED_MESSAGES, TRIED_TOOLS
from runners.engines.server.answers import MAX_WORDS, StreamedAnswer, continuation, has_prompt_log_probs
from runners.engines.server.api import (
    DONE,
    ForbiddenError,
    MalformedAnswerError,
    ServedModel,
    ServerApi,
    Software,
    finally_failed,
    retrying,
)
from runners.engines.server.outcomes import Outcomes
from runners.engines.server.parameters import ServerParameters
from runners.engines.server.prompt_counts import PromptCounts
from runners.engines.server.spec import SPEC
from runners.engines.server.streaming import streamed
from runners.engines.steps import note_step
from tracker.errors import EngineError, TrackerError, TransientError, UnreachableError
from tracker.records import EngineInfo, EngineSettings, Model
from tracker.redaction import masked
from tracker.settings import load_settings

SERVER_TEMPLATE = "server"  # stands for a chat template that the server applies but does not show
PROBE = "The sky is blue and the grass is green"  # several tokens in every vocabulary
# Options for token counts, tried in this order until the server takes one. The second of the first is vLLM's:
# counts with every piece, so that they are there if we stop early.
USAGE_OPTIONS: tuple[Mapping[str, bool], ...] = (
    {"include_usage": True, "continuous_usage_stats": True},
    {"include_usage": True},
    {},
)
TRIED_TOKENS = 8  # of the answers that show whether tools are taken
MOST_CHANGES = 8  # of one request, each after a refusal that names a parameter
# Sampling settings that are not of OpenAI's API, by the server's software; others may ignore them.
MORE_SAMPLING: Mapping[str, tuple[str, ...]] = {
    "vllm": ("top_k", "min_p", "repetition_penalty"),
    "sglang": ("top_k", "min_p", "repetition_penalty"),
    "llama.cpp": ("top_k", "min_p"),
}
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_log = logging.getLogger(__name__)

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Facts about the server, found at the start."""

    served: ServedModel
    software: Software
    fingerprint: str | None
    gives_log_probs: bool
    problem: str = ""  # why it gives none, where it says so


class ServerEngine:
    """Sends requests to a running server; holds no weights."""

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        """Find the model on the server, and the server's capabilities.

        Raises:
            TrackerError: the URL is invalid, the key is rejected, or the server has no such model.
            UnreachableError: the server does not respond.
        """
        self.prefilled_tokens = 0  # as reported by the server; without reports of its cache, all tokens count
        self.cut_requests = 0  # servers do not report truncation, see `PromptCounts`
        self._prompt_counts = PromptCounts()
        self._settings = settings
        self._api_key = load_settings().server_api_key
        self._usage: Mapping[str, bool] | None = None  # of `USAGE_OPTIONS`, the one that the server takes
        self.refusals: list[str] = []  # why single requests got no answer
        self._parameters = ServerParameters(settings.server_option)  # what the server does not take
        self._answered: GenerationRequest | ContinuationRequest | None = (
            None  # a request that the server has answered
        )
        self.more_sampling: tuple[str, ...] = ()  # beyond the API's own settings, what this server takes
        self._takes_tools: bool | None = None  # None: not tried
        self._n_context: dict[str, int] = {}  # tokens of contexts whose end cannot be found in the texts
        self._endpoint = endpoint = asyncio.run(self._explore(model.model_id))
        self.more_sampling = MORE_SAMPLING.get(endpoint.software.version.partition(" ")[0].lower(), ())
        self.is_pinned = bool(endpoint.software.digest)  # else other weights may have the same identity
        self.info = EngineInfo(
            engine="server",
            engine_version=endpoint.software.version or "unknown",
            dtype="unknown",
            device="server",
            # 0: not reported
            max_model_len=settings.max_model_len
            or endpoint.served.max_model_len
            or endpoint.software.max_model_len
            or 0,
            chat_template_hash=endpoint.software.chat_template_hash or SERVER_TEMPLATE,
            versions={
                "served_model": endpoint.served.name,
                "served_root": endpoint.served.root,
                "system_fingerprint": endpoint.fingerprint or "",
            }
            # only where there are any, so that what was answered without them still counts
            | ({"server_option": " ".join(sorted(settings.server_option))} if settings.server_option else {}),
        )

    def chat_prompt(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Keep the messages and tools to send them unchanged; the text is for display only."""
        lines = [f"tool: {json.dumps(tool['function'])}" for tool in tools]
        lines += [f"{message['role']}: {message['content']}" for message in messages]
        shown = "\n\n".join([*lines, "assistant:"] if add_generation_prompt else lines)
        return ChatPrompt(shown, messages, tools)

    @property
    def takes_tools(self) -> bool:
        """Whether the server shows a model the tools that it gets; tried once, with two short questions."""
        if self._takes_tools is None:
            asked = [TRIED_TOOLS, ()]
            prompts = [ChatPrompt("", TRIED_MESSAGES, tools) for tools in asked]
            try:
                found = dict(self.generate([GenerationRequest(prompt, TRIED_TOKENS) for prompt in prompts]))
            except (EngineError, UnreachableError) as error:
                _log.info("the server takes no tools: %s", error)
                found = {}
            shown, plain = (found.get(place, REFUSED) for place in range(2))
            is_counted = bool(shown.prompt_tokens and plain.prompt_tokens)
            self._takes_tools = shown.finish_reason != REFUSED.finish_reason and not (
                is_counted and shown.prompt_tokens <= plain.prompt_tokens
            )
        return self._takes_tools

    def log_probs(self, requests: Sequence[ContinuationRequest]) -> Iterator[tuple[int, Continuation]]:
        """Yield the index of each request with its answer, in any order.

        Raises:
            EngineError: this server gives no log-probabilities for a prompt (reason `unsupported`).
            UnreachableError: it died; earlier answers have been yielded.
        """
        if not self._endpoint.gives_log_probs:
            message = (
                f"the server at {self._open().name} gives no log-probabilities for a prompt "
                "(`echo` with `logprobs`), so choice tasks cannot be scored there"
            ) + (f": {self._endpoint.problem}" if self._endpoint.problem else "")
            hint = "serve the model with vLLM or SGLang, or use `--engine vllm` or `--engine transformers`"
            raise EngineError(message, reason="unsupported", hint=hint)
        return self._stream(requests, self._log_prob)

    def text_log_probs(self, requests: Sequence[TextRequest]) -> Iterator[tuple[int, Continuation]]:
        """Yield the index of each text with its answer; one longer than the context is refused by the server.

        Raises:
            EngineError: this server gives no log-probabilities for a whole prompt (reason `unsupported`).
            UnreachableError: it died; earlier answers have been yielded.
        """
        return self.log_probs([ContinuationRequest("", one.text) for one in requests])

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        """Yield the index of each request with its answer, in any order.

        Raises:
            EngineError: the server rejects a request, or fails while answering it.
            UnreachableError: it died; earlier answers have been yielded.
        """
        return self._stream(requests, self._generation)

    @property
    def differences(self) -> tuple[str, ...]:
        """Sentences about settings and prompts that the server does not take as they are, found meanwhile."""
        return (*self._parameters.differences, *filter(None, [self._prompt_counts.problem]))

    def generation_config(self) -> Mapping[str, Any] | None:
        """The generation config of the served model on the Hub, as servers tell none; None: there is none."""
        served = self._endpoint.served
        for name in dict.fromkeys((served.root, served.name)):
            if not HUB_NAME.fullmatch(name):
                continue
            try:
                config = json.loads(Path(hf_hub_download(name, "generation_config.json")).read_bytes())
            except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
                _log.info("no generation config of `%s` from the Hub: %s", name, error)
                continue
            if isinstance(config, dict):
                return config
        return None

    def close(self) -> None:
        """Nothing is held between calls."""

    def _open(self) -> ServerApi:
        return ServerApi(self._settings.base_url, api_key=self._api_key)

    async def _explore(self, name: str) -> _Endpoint:
        async with self._open() as api:
            served = await api.served_model(name)
            software = await api.software(served)
            body = {"model": served.name, "prompt": PROBE, "max_tokens": 1, "temperature": 0.0}
            problem = ""
            try:
                answer = await api.post("/completions", body | {"echo": True, "logprobs": 1})
            except (EngineError, ForbiddenError, TransientError) as error:
                _log.info("no log-probabilities from the server at %s: %s", api.name, error)
                answer, problem = {}, str(error)
            with _well_formed(api):
                gives_log_probs = has_prompt_log_probs(answer, PROBE)
        fingerprint = answer.get("system_fingerprint")
        return _Endpoint(
            served=served,
            software=software,
            fingerprint=masked(fingerprint)[:MAX_WORDS] if isinstance(fingerprint, str) else None,
            gives_log_probs=gives_log_probs,
            problem=problem,
        )

    def _stream(
        self, requests: Sequence[Asked], ask: Callable[[ServerApi, Asked], Awaitable[Answered]]
    ) -> Iterator[tuple[int, Answered]]:
        """Send requests, `settings.concurrency` at once; yield the answers, then raise the first error."""
        return streamed(lambda answered: self._ask_all(requests, ask, answered))

    async def _ask_all(
        self,
        requests: Sequence[Asked],
        ask: Callable[[ServerApi, Asked], Awaitable[Answered]],
        answered: Callable[[tuple[int, Answered]], None],
    ) -> None:
        """Send requests until all are answered or one fails; requests in flight are still awaited.

        A refusal or failure of one request costs that answer alone, unless no request is answered.
        """
        waiting = iter(enumerate(requests))
        outcomes = Outcomes()

        async def ask_some(api: ServerApi) -> None:
            for place, request in waiting:
                outcomes.n_under_way += 1
                try:
                    answered((place, await ask(api, request)))
                    outcomes.n_answered += 1
                except TrackerError as error:
                    if await self._is_of_one(api, request, error):
                        self.refusals.append(str(error))
                        outcomes.refused.append((place, error))
                    else:
                        outcomes.failed.append(error)
                outcomes.n_under_way -= 1
                if await outcomes.are_enough():
                    return

        async with self._open() as api, asyncio.TaskGroup() as group:
            for _ in range(min(self._settings.concurrency, len(requests))):
                group.create_task(ask_some(api))
        outcomes.end()
        for place, _ in outcomes.refused:
            nothing = REFUSED if isinstance(requests[place], GenerationRequest) else UNSCORED
            answered((place, cast(Answered, nothing)))

    async def _is_of_one(self, api: ServerApi, request: Asked, error: TrackerError) -> bool:
        """Whether an error is, or may be, of this request alone."""
        if isinstance(error, RequestRefusedError):
            return True
        if not isinstance(request, GenerationRequest) and not isinstance(error, ForbiddenError):
            return False
        return await self._answers_others(api, error)

    async def _generation(self, api: ServerApi, request: GenerationRequest) -> Generation:
        with finally_failed():
            return await self._retried(api, request)

    async def _retried(self, api: ServerApi, request: GenerationRequest) -> Generation:
        path, body = self._generation_body(request)
        thinks = path == "/chat/completions" and self._settings.thinking is True
        async for attempt in retrying():
            with attempt:
                answer = StreamedAnswer(stop=request.stop, thinks=thinks)
                started, ttft_s = time.monotonic(), None
                async with contextlib.aclosing(self._events(api, path, body)) as events:
                    async for event in events:
                        note_step()
                        if event is DONE:
                            answer.is_done = True
                            break
                        with _well_formed(api):
                            answer.add(event)
                        if ttft_s is None and answer.n_pieces:
                            ttft_s = time.monotonic() - started
                        if answer.is_stopped() or answer.overruns(request.max_output_tokens):
                            break  # closes the connection, so that the server stops generating
                with _well_formed(api):
                    found = answer.generation(
                        latency_s=time.monotonic() - started,
                        ttft_s=ttft_s,
                        max_output_tokens=request.max_output_tokens,
                    )
                self.prefilled_tokens += found.prompt_tokens - found.cached_tokens
                self._prompt_counts.add(request.prompt, found.prompt_tokens)
                self._answered = request
                return found
        raise AssertionError("the last attempt returns or raises")

    async def _answers_others(self, api: ServerApi, error: TrackerError) -> bool:
        """Whether an error may be of one request alone: the server still begins to answer another one."""
        if self._answered is None:
            is_certain = isinstance(error.__cause__, httpx2.ConnectError)
            return isinstance(error, EngineError | ForbiddenError | UnreachableError) and not is_certain
        try:
            if isinstance(self._answered, ContinuationRequest):
                await self._log_prob(api, self._answered)
                return True
            path, body = self._generation_body(self._answered)
            async with contextlib.aclosing(self._events(api, path, body)) as events:
                async for _ in events:
                    return True
        except TrackerError:
            return False
        return False

    async def _events(
        self, api: ServerApi, path: str, body: dict[str, Any]
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """The events of one answer, asked without the parameters that the server does not take.

        Raises:
            RequestRefusedError: it refuses the request for another reason.
        """
        for _ in range(MOST_CHANGES):
            asked = self._parameters.applied(body)
            try:
                async with contextlib.aclosing(self._events_with_counts(api, path, asked)) as events:
                    async for event in events:
                        yield event
            except RequestRefusedError as error:
                # another request may have taught us meanwhile what this one was refused for
                if not self._parameters.learn(error.body, asked) and asked == self._parameters.applied(body):
                    raise
            else:
                return
        raise EngineError(f"the server at {api.name} refuses every form of a request", reason="unsupported")

    async def _events_with_counts(
        self, api: ServerApi, path: str, body: dict[str, Any]
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """The events of one answer, asked with those options for token counts that the server takes.

        Raises:
            RequestRefusedError: it refuses the request with each of them.
        """
        first: RequestRefusedError | None = None
        for options in USAGE_OPTIONS if self._usage is None else [self._usage]:
            asked = body | ({"stream_options": dict(options)} if options else {})
            try:
                async with contextlib.aclosing(api.events(path, asked)) as events:
                    async for event in events:
                        self._usage = options
                        yield event
            except RequestRefusedError as error:
                first = first or error
            else:
                return
        assert first is not None
        raise first

    def _generation_body(self, request: GenerationRequest) -> tuple[str, dict[str, Any]]:
        """Path and body of a generation request: the only place that translates our names to the API's."""
        body: dict[str, Any] = {
            "model": self._endpoint.served.name,
            "max_tokens": request.max_output_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stream": True,
        }
        body |= {
            name: value
            for name, value in request.sampling.items()
            if name in (*SPEC.sampling, *self.more_sampling)
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
        # Stop strings are not sent with a chat, since servers would apply them inside the thinking too.
        body["messages"] = [_as_sent(message) for message in request.prompt.messages]
        if request.prompt.tools:
            body["tools"] = list(request.prompt.tools)
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
            "max_tokens": 1,  # some servers reject 0
            "temperature": 0.0,
        }
        body = self._parameters.applied(body)
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
            problem = "cannot be scored: it adds no token to its context"
            message = f"the continuation {request.continuation!r} {problem}"
            raise EngineError(message, reason="unsupported", hint="use another engine for this task")
        self.prefilled_tokens += found.prompt_tokens + found.output_tokens - found.cached_tokens
        self._answered = request
        return found


@contextlib.contextmanager
def _well_formed(api: ServerApi) -> Iterator[None]:
    """Turn errors from missing or invalid fields in the server's JSON into an `EngineError`."""
    try:
        yield
    except (LookupError, TypeError, ArithmeticError, ValueError, AttributeError, RecursionError) as error:
        problem = masked(repr(error))[:MAX_WORDS]
        message = f"the server at {api.name} does not follow the OpenAI API ({problem})"
        raise MalformedAnswerError(message, hint="try a newer version of the server") from error


def _as_sent(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as the API has it: the arguments of calls are JSON texts."""
    if not (calls := message.get("tool_calls")):
        return dict(message)
    sent = [
        call | {"function": call["function"] | {"arguments": json.dumps(call["function"]["arguments"])}}
        for call in calls
    ]
    return dict(message) | {"tool_calls": sent}


def _without_trailing_space(request: ContinuationRequest) -> ContinuationRequest:
    """Move the context's trailing space to the continuation, as in lm-eval."""
    context = request.context.rstrip()
    return ContinuationRequest(context, request.context[len(context) :] + request.continuation)
