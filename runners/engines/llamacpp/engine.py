"""The engine for GGUF files: llama.cpp's server as a child process, asked through its own API.

It runs in the worker; the server ends with `close()`, and with the worker even if that is killed.
Prompts are sent as tokens, so that nothing is added to them; they and their answers fit into the context of
a slot, so that the server never shifts or cuts one.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Any

from runners.engines import Continuation, ContinuationRequest, Generation, GenerationRequest, TextRequest
from runners.engines.chat import TRIED_MESSAGES, TemplatedChat, choose_template, render_chat, try_template
from runners.engines.encoding import (
    EncodedPair,
    Ids,
    chat_template_hash,
    encode_pairs,
    encode_prompts,
    encode_windows,
    output_budget,
    try_tokenizer,
    whole_texts,
)
from runners.engines.llamacpp.api import ONLY_GREEDY, LlamaApi
from runners.engines.llamacpp.builds import PACKAGE, find_build
from runners.engines.llamacpp.file_facts import FileFacts
from runners.engines.llamacpp.plan import device_of, draft_of, plan_launch
from runners.engines.llamacpp.scoring import Scorer, by_context, until_first_error
from runners.engines.llamacpp.server_process import LAST_WORDS_S, LlamaServer
from runners.engines.llamacpp.spec import DRAFT_READER, SPEC
from runners.engines.llamacpp.tokenizer import LlamaTokenizer
from runners.engines.seeds import request_seed
from runners.engines.server.answers import StreamedAnswer
from runners.engines.server.api import DONE
from runners.engines.server.streaming import streamed
from runners.engines.steps import note_step
from runners.engines.thinking import find_marks, like_a_mark
from tracker.errors import EngineError, TransientError, UnreachableError
from tracker.http_client import WaitingLoop
from tracker.records import NGRAM, EngineInfo, EngineSettings, Model
from tracker.settings import load_settings

SEEDS = 2**32 - 1  # the largest one asks llama.cpp for a random one
# Its names for settings of ours, and the values that switch each off: the file may set others.
NEUTRAL: Mapping[str, float] = {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0}
LLAMA_NAMES = {"repetition_penalty": "repeat_penalty"}
SAMPLERS = ["penalties", "temperature", "top_k", "top_p", "min_p"]  # in the order of the other engines
FILLER = "a"  # a text of one whole token in every vocabulary
CLOCK = "strftime_now"  # in templates that write the date
OTHER_TEMPLATE = (
    "llama.cpp renders the model's chat template in another way; prompts are as transformers renders it"
)


class LlamaCppEngine(TemplatedChat):
    """A GGUF loaded by llama.cpp; see `runners.engines.Engine`."""

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        """Load `model`.

        Raises:
            TrackerError: llama.cpp is not installed.
            EngineError: the file is broken, or llama.cpp cannot run it here.
        """
        self.prefilled_tokens = 0  # of contexts, continuations and prompts, computed since the start
        self.cut_requests = 0
        self.unknown_marks: Counter[str] = Counter()
        self._model, self._settings = model, settings
        path = model.path or ""
        self._facts: FileFacts = SPEC.load(SPEC.reader or "")(path)
        self.differences = self._facts.parent_differences
        self._build = find_build(load_settings())
        launch = plan_launch(path, settings, self._facts, self._build)
        self._n_parallel, self._max_len = launch.n_parallel, launch.n_ctx // launch.n_parallel
        self.speculative = self._speculative(path)
        self._server = LlamaServer(launch)
        self._loop, self._api, self._is_open = WaitingLoop(), LlamaApi(self._server), True
        try:
            self._tokenizer = self._own_tokenizer()
            self._marks = find_marks(self._tokenizer)
            self.info = self._describe()
        except BaseException:
            self.close()
            raise

    @property
    def server_pid(self) -> int:
        """The process of llama.cpp."""
        return self._server.pid

    def log_probs(self, requests: Sequence[ContinuationRequest]) -> Iterator[tuple[int, Continuation]]:
        """Yield the index of each request with its answer, in any order.

        Raises:
            EngineError: it died, or a continuation cannot be scored.
        """
        return self._scores(encode_pairs(self._tokenizer, requests))

    def text_log_probs(self, requests: Sequence[TextRequest]) -> Iterator[tuple[int, Continuation]]:
        """Yield the index of each text with its answer, in any order.

        Raises:
            EngineError: it died.
        """
        max_len = self.info.max_model_len - 1
        windows = [encode_windows(self._tokenizer, one.text, max_len=max_len) for one in requests]
        return whole_texts(windows, self._scores)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        """Yield the index of each request with its answer as soon as it is complete.

        Raises:
            EngineError: it died.
        """
        prompts, n_cut = encode_prompts(self._tokenizer, requests, max_len=self.info.max_model_len)
        self.cut_requests += n_cut
        repeats: Counter[str] = Counter()
        work = []
        for place, (request, ids) in enumerate(zip(requests, prompts, strict=True)):
            seed = request_seed(request, seed=self._settings.seed, repeat=repeats[request.prompt])
            repeats[request.prompt] += request.temperature > 0
            work.append((place, request, ids, seed % SEEDS))
        work.sort(key=lambda one: one[2])  # prompts with a common beginning after each other

        async def write(answered: Callable[[tuple[int, Generation]], None]) -> None:
            waiting = iter(work)

            async def fill(slot: int) -> None:
                for place, request, ids, seed in waiting:
                    answered((place, await self._written(api, request, ids, seed=seed, slot=slot)))

            async with LlamaApi(self._server) as api:
                await until_first_error(fill(slot) for slot in range(min(self._n_parallel, len(work))))

        return streamed(write)

    def generation_config(self) -> Mapping[str, Any] | None:
        """The sampling settings that the file states; None: it states none."""
        return self._facts.sampling or None

    def close(self) -> None:
        """End the server; closing twice is harmless."""
        if self._is_open:
            self._is_open = False
            self._loop.run(self._api.close())
            self._loop.close()
        self._server.close()

    # loading

    def _speculative(self, path: str) -> dict[str, str] | None:
        """How tokens are proposed, as part of the identity of texts; None: they are not.

        Raises:
            EngineError: the draft model does not exist, or its tokens are not those of the model.
        """
        draft_path = draft_of(self._settings)
        if self._settings.speculative is None:
            return None
        if draft_path is None:
            return {"method": NGRAM}
        return {"method": "draft", "draft": SPEC.load(DRAFT_READER)(path, draft_path)}

    def _own_tokenizer(self) -> LlamaTokenizer:
        said = self._loop.run(self._api.props())
        tokenizer = LlamaTokenizer(
            self._api,
            self._loop,
            bos=str(said.get("bos_token") or ""),
            eos=str(said.get("eos_token") or ""),
            chat_template=self._facts.chat_template,
            special_tokens=self._facts.special_tokens,
        )
        choose_template(tokenizer, self._settings.chat_template)
        try_tokenizer(tokenizer)
        try_template(tokenizer)
        self._compare_templates(tokenizer)
        return tokenizer

    def _compare_templates(self, tokenizer: LlamaTokenizer) -> None:
        """Note it if llama.cpp renders a simple chat in another way; a date in it always differs."""
        if tokenizer.chat_template is None or CLOCK in str(tokenizer.chat_template):
            return
        with contextlib.suppress(EngineError):  # one of the two rejects it
            body = {"messages": list(TRIED_MESSAGES)}
            said = self._loop.run(self._api.post("/apply-template", body)).get("prompt")
            ours = render_chat(tokenizer, TRIED_MESSAGES, add_generation_prompt=True, thinking=None)
            if said != ours:
                self.differences = (*self.differences, OTHER_TEMPLATE)

    def _describe(self) -> EngineInfo:
        versions = {"llama.cpp": self._build.number, "chat_template": "file"}
        if self._build.program is None:
            versions[PACKAGE] = importlib.metadata.version(PACKAGE)
        if self._tokenizer.chat_template is None:
            del versions["chat_template"]
        for name in ("kv_cache_dtype", "n_gpu_layers"):
            if (value := getattr(self._settings, name)) is not None:
                versions[name] = str(value)
        return EngineInfo(
            engine=SPEC.name,
            engine_version=self._build.number,
            dtype=self._model.quantization or "unknown",
            device=device_of(self._server.said),
            max_model_len=self._max_len,
            chat_template_hash=chat_template_hash(self._tokenizer),
            quantization=self._model.quantization,
            versions=versions,
        )

    # continuations

    def _scores(self, pairs: Sequence[EncodedPair]) -> Iterator[tuple[int, Continuation]]:
        max_len = self._max_len - 1  # the server wants room for one token
        for pair in pairs:
            if len(pair.continuation) > max_len:
                message = (
                    f"a continuation has {len(pair.continuation)} tokens, more than the model's {max_len}"
                )
                raise EngineError(message, reason="unsupported", hint="raise `--max-model-len`")
        self.cut_requests += sum(pair.is_cut(max_len) for pair in pairs)
        questions = by_context(pairs, max_len=max_len)
        filler = self._tokenizer.encode(FILLER, add_special_tokens=False)[-1]

        async def score(answered: Callable[[tuple[int, Continuation]], None]) -> None:
            async with LlamaApi(self._server) as api:
                scorer = Scorer(api, n_vocab=self._facts.n_tokens, filler=filler)
                await scorer.score_all(questions, answered, n_slots=self._n_parallel)

        for place, answer in streamed(score):
            self.prefilled_tokens += answer.prompt_tokens + answer.output_tokens - 1 - answer.cached_tokens
            yield place, answer

    # texts

    async def _written(
        self, api: LlamaApi, request: GenerationRequest, ids: Ids, *, seed: int, slot: int
    ) -> Generation:
        budget = output_budget(request, max_len=self._max_len)
        marks = self._marks
        split = None if marks is None else lambda text: marks.split(str(request.prompt), text)
        answer = StreamedAnswer(stop=request.stop, split=split)
        started, ttft_s = time.monotonic(), None
        body = self._body(request, ids, budget=budget, seed=seed, slot=slot)
        async with contextlib.aclosing(self._events(api, body)) as events:
            async for event in events:
                note_step()
                if event is DONE:
                    answer.is_done = True
                    break
                answer.add(event)
                if ttft_s is None and answer.n_pieces:
                    ttft_s = time.monotonic() - started
                if answer.is_stopped():
                    break  # closes the connection, so that the server stops
        found = answer.generation(
            latency_s=time.monotonic() - started, ttft_s=ttft_s, max_output_tokens=budget
        )
        if found.thinking is None and (mark := like_a_mark(found.text)):
            self.unknown_marks[mark] += 1
        self.prefilled_tokens += found.prompt_tokens - found.cached_tokens
        return found

    async def _events(self, api: LlamaApi, body: dict[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        try:
            async with contextlib.aclosing(api.http.events("/v1/completions", body)) as events:
                async for event in events:
                    yield event
        except (TransientError, UnreachableError) as error:
            self._server.check(wait_s=LAST_WORDS_S)
            raise EngineError(f"llama.cpp: {error}", reason="engine_died", hint=error.hint) from error

    def _body(
        self, request: GenerationRequest, ids: Ids, *, budget: int, seed: int, slot: int
    ) -> dict[str, Any]:
        """A request for a text: the only place that translates our names to llama.cpp's."""
        body: dict[str, Any] = {
            "prompt": list(ids),
            "max_tokens": budget,
            "id_slot": slot,
            "cache_prompt": True,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,  # signs of life while a long prompt is read
            "repeat_last_n": self._max_len,  # the whole text, as transformers and vLLM count it
        }
        asked = {
            LLAMA_NAMES.get(name, name): value
            for name, value in request.sampling.items()
            if name in SPEC.sampling
        }
        body |= dict(NEUTRAL) | asked
        if request.temperature > 0:
            body |= {"samplers": SAMPLERS, "temperature": request.temperature, "top_p": request.top_p}
            body |= {"seed": seed}
        else:
            body |= ONLY_GREEDY | {"samplers": ["penalties", "top_k"]}
        if self._marks is None:
            body["stop"] = list(request.stop)
        else:  # inside the thinking no stop string counts, and marks that are special tokens must be seen
            every = [self._marks, *self._marks.others]
            around = [mark for pair in self._marks.around_answer for mark in pair]
            body["preserved_tokens"] = [*(m for one in every for m in (one.start, one.end)), *around]
        if request.json_schema is not None:
            prompt = str(request.prompt)
            if self._marks is not None and self._marks.in_use(prompt).is_open(prompt):
                message = (
                    "llama.cpp applies a JSON schema from the first token, so the model cannot think first"
                )
                raise EngineError(message, reason="unsupported", hint="set `--no-thinking`")
            body["json_schema"] = dict(request.json_schema)
        return body
