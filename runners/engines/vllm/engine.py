"""The engine for GPUs: vLLM's offline `LLM`, request by request.

It runs in the worker; its child processes end with `close()`, and with the worker even if that is killed.
"""

from __future__ import annotations

import copy
import itertools
import os
import re
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeVar

import torch
import transformers

from runners.engines import Continuation, ContinuationRequest, Generation, GenerationRequest, TextRequest
from runners.engines.chat import TemplatedChat
from runners.engines.encoding import (
    EncodedPair,
    Ids,
    chat_template_hash,
    encode_pairs,
    encode_prompts,
    encode_windows,
    output_budget,
    whole_texts,
)
from runners.engines.loading import load_tokenizer
from runners.engines.pairs_ahead import PAIRS_AHEAD
from runners.engines.seeds import request_seed
from runners.engines.steps import note_step
from runners.engines.stopping import unknown_mark
from runners.engines.thinking import find_marks
from runners.engines.vllm.answers import AnswerReader, Output, ids_before_end, lacks_rows, probe_rows
from runners.engines.vllm.args import (
    AUTO_MAX_MODEL_LEN,
    BATCH_INVARIANT,
    CPU,
    NGRAM_CONFIG,
    coarse_length,
    engine_args,
    engine_environment,
    slice_args,
)
from runners.engines.vllm.errors import explain
from runners.engines.vllm.processes import (
    ChildLog,
    children,
    end,
    watch_children,
)
from runners.engines.vllm.scoring import PlannedPairs, Probe, ProbeRows, plan_scoring
from runners.engines.vllm.spec import SPEC
from runners.hardware import describe_hardware
from tracker.errors import EngineError, TrackerError
from tracker.installation import install_command
from tracker.records import EngineInfo, EngineSettings, Model, RepetitionLimits

FIRST_PAIRS = 256  # planned together, so that the card begins soon; each time twice as many, up to
PAIRS_AT_ONCE = 4096  # a gigabyte of token ids at 32k tokens each
PROMPTS_AT_ONCE = 256  # tokenized together
VLLM_NAMES = {"min_new_tokens": "min_tokens"}  # of transformers' names, those that vLLM writes differently
QUEUED_PER_SLOT = 2  # requests queued in vLLM per slot, so that no slot idles
END_S = 15.0  # for its processes to end by themselves; on a CPU they take 8 s
POOL = re.compile(r"Available KV cache memory: ([\d.]+) GiB")
USAGE_METRIC = "vllm:kv_cache_usage_perc"  # a fraction of 1, despite its name
USAGE_S = 0.5  # between two looks at it
# Built-in errors that vLLM and torch raise if the model and the machine do not match.
FAILURES = (ValueError, RuntimeError, OSError, ImportError, AssertionError, KeyError)

Sampling = Any  # vllm.SamplingParams
Key = TypeVar("Key")  # by which the caller knows a request
ProbeKey = tuple[int, int]  # the first pair of its chunk, and its number there


class VllmEngine(TemplatedChat):
    """A model loaded by vLLM; see `runners.engines.Engine`."""

    begins_in_order = scores_in_order = True

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        """Load `model`.

        Raises:
            TrackerError: vLLM is not installed.
            EngineError: it does not fit (`does_not_fit`, `out_of_memory`), cannot be run (`unsupported`)
                or its files are broken.
        """
        self.prefilled_tokens = 0  # of contexts, continuations and prompts, computed since the start
        self.cut_requests = 0
        self.refusals: list[str] = []  # why single requests got no answer
        self.unknown_marks: Counter[str] = Counter()  # see `unknown_mark`
        self._cache_usage: float | None = None  # the largest share of the reserved cache in use so far
        self._usage_seen_s = -USAGE_S
        self._scoring: dict[tuple[bool, bool], Sampling] = {}  # parameters by what is wanted of a probe
        self._model, self._settings = model, settings
        self.speculative = NGRAM_CONFIG if settings.speculative else None  # of the identity of texts
        self._log = ChildLog()
        self._others = children()  # started by others: not ours to stop
        self._vllm = _import_vllm(settings)
        self._llm: Any = None
        self._tokenizer = load_tokenizer(model, settings)
        loading = PAIRS_AHEAD.encoded_by(self._tokenizer)
        with self._explained("cannot be loaded"), self._log.captured(), loading:
            self._llm = self._load()
        watch_children(self._unblock)
        self._config = self._llm.llm_engine.vllm_config
        self._check_head()
        self._numbers = itertools.count()
        self._reader = AnswerReader(
            self._tokenizer, find_marks(self._tokenizer), settings.thinking is not False
        )
        self.info = self._describe()
        self._pool_bytes = pool_bytes(self._log.text)

    def log_probs(self, requests: Sequence[ContinuationRequest]) -> Iterator[tuple[int, Continuation]]:
        """Yield the index of each request with its answer; shared prefixes are computed once.

        Raises:
            EngineError: it died or ran out of memory, or a continuation cannot be scored.
        """
        yield from self._scores(self._encoded(chunk) for chunk in _growing(requests))

    def text_log_probs(self, requests: Sequence[TextRequest]) -> Iterator[tuple[int, Continuation]]:
        """Yield the index of each text with its answer.

        Raises:
            EngineError: it died or ran out of memory.
        """
        max_len = self.info.max_model_len - 2  # the windows of lm-eval's model for vLLM
        for start in range(0, len(requests), PROMPTS_AT_ONCE):
            some = requests[start : start + PROMPTS_AT_ONCE]
            windows = [encode_windows(self._tokenizer, one.text, max_len=max_len) for one in some]
            for place, answer in whole_texts(windows, lambda pairs: self._scores([pairs])):
                yield start + place, answer

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        """Yield the index of each request with its answer as soon as it is complete.

        Raises:
            EngineError: it died or ran out of memory.
        """
        for place, output in self._answers(self._generation_work(requests)):
            answer = self._reader.generation(requests[place], output)
            ids = ids_before_end(output.outputs[0])
            if answer.thinking is None and (mark := unknown_mark(self._tokenizer, ids)):
                self.unknown_marks[mark] += 1
            yield place, answer

    @property
    def unused_memory_bytes(self) -> int | None:
        """Of the cache that vLLM reserved, what no request has used so far; None: it cannot be read."""
        if self._pool_bytes is None or self._cache_usage is None:
            return None
        return int(self._pool_bytes * self._config.parallel_config.world_size * (1 - self._cache_usage))

    def _note_cache_usage(self) -> None:
        """Keep the largest share of the cache in use, as vLLM reports it, seen twice a second."""
        now = time.monotonic()
        if now - self._usage_seen_s < USAGE_S:
            return
        self._usage_seen_s = now
        for metric in self._llm.get_metrics():
            if metric.name == USAGE_METRIC and 0.0 <= metric.value <= 1.0:
                self._cache_usage = max(self._cache_usage or 0.0, float(metric.value))

    def close(self) -> None:
        """Free the memory and stop all child processes; closing twice is harmless."""
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown(timeout=END_S)  # `LLM` itself has no shutdown
            self._llm = None
        self._end_children()

    def _end_children(self) -> None:
        end([child for child in children() if child not in self._others])

    def _unblock(self) -> None:
        """Wake a `step` that waits for a dead process.

        `SyncMPClient.get_output` of vLLM 0.32.0 waits forever if the process was killed, as the kernel
        does when memory runs out, since it only notices an end that the process announces.
        """
        outputs = getattr(self._llm.llm_engine.engine_core, "outputs_queue", None) if self._llm else None
        if outputs is not None:
            outputs.put_nowait(RuntimeError("its process was killed"))

    # loading

    def _load(self) -> Any:
        device_type = self._vllm.platforms.current_platform.device_type
        _set_environment(device_type)
        if self._settings.batch_invariant and device_type == CPU:
            message = "vLLM has no batch-invariant mode on a CPU"
            raise EngineError(message, reason="unsupported", hint="leave out `--batch-invariant`")
        own = slice_args(describe_hardware().gpus) if device_type != CPU else {}
        return self._vllm.LLM(**own | engine_args(self._model, self._settings, device_type=device_type))

    def _check_head(self) -> None:
        """Refuse a type of the last layer that vLLM does not have here, which it tells in its log alone.

        Raises:
            EngineError: it does not.
        """
        asked, has = self._settings.head_dtype, str(self._config.model_config.head_dtype)
        if asked != "auto" and has.removeprefix("torch.") != asked:
            self.close()
            message = f"vLLM cannot compute the last layer in {asked} on this device"
            raise EngineError(message, reason="unsupported", hint="leave out `--head-dtype`")

    def _describe(self) -> EngineInfo:
        is_cpu = self._vllm.platforms.current_platform.device_type == CPU
        name = CPU if is_cpu else str(self._vllm.platforms.current_platform.get_device_name())
        n_devices = self._config.parallel_config.world_size
        versions = {
            "vllm": self._vllm.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        attention = self._config.attention_config.backend  # None: vLLM's choice, told in its log at most
        return EngineInfo(
            engine="vllm",
            engine_version=self._vllm.__version__,
            dtype=str(self._config.model_config.dtype).removeprefix("torch."),
            device=name if n_devices == 1 else f"{name} × {n_devices}",
            max_model_len=self._max_model_len(),
            chat_template_hash=chat_template_hash(self._tokenizer),
            quantization=self._model.quantization or self._config.model_config.quantization,
            attention=None if attention is None else attention.name,
            versions=versions,
        )

    def _max_model_len(self) -> int:
        """The model's context; a round one where the free memory decides, so that it stays the same."""
        fitted = int(self._config.model_config.max_model_len)
        if self._settings.max_model_len is not None:
            return fitted
        whole = int(self._config.model_config.get_and_verify_max_len(AUTO_MAX_MODEL_LEN))
        return fitted if fitted >= whole else coarse_length(fitted)

    # continuations

    def _encoded(self, requests: Sequence[ContinuationRequest]) -> list[EncodedPair]:
        """The tokens of each request, of which many were encoded while the engine was loading."""
        ahead = PAIRS_AHEAD.take(requests)
        missing = [one for one, pair in zip(requests, ahead, strict=True) if pair is None]
        found = iter(encode_pairs(self._tokenizer, missing) if missing else ())
        return [next(found) if pair is None else pair for pair in ahead]

    def _scores(self, chunks: Iterable[Sequence[EncodedPair]]) -> Iterator[tuple[int, Continuation]]:
        """Yield the index of each pair over all chunks with its answer.

        The next chunk is encoded and planned while the engine works on what it was given of the one before.
        """
        begun: dict[int, PlannedPairs] = {}
        for (start, number), read in self._probes(self._begun(chunks, begun)):
            chunk = begun[start]
            for place, answer in chunk.answered(number, read):
                yield start + place, answer
            if chunk.is_done:
                del begun[start]

    def _begun(
        self, chunks: Iterable[Sequence[EncodedPair]], begun: dict[int, PlannedPairs]
    ) -> Iterator[tuple[ProbeKey, Probe]]:
        """Plan each chunk when its turn comes, add it to `begun`, and yield its probes in their order."""
        max_len = self.info.max_model_len - 1  # vLLM needs room for one output token
        start = 0
        for pairs in chunks:
            try:
                plan = plan_scoring(pairs, max_len=max_len, block_tokens=self._config.cache_config.block_size)
            except ValueError as error:
                message = f"`{self._model.model_id}` cannot score this task: {error}"
                raise EngineError(message, reason="unsupported", hint="raise `--max-model-len`") from error
            self.cut_requests += sum(pair.is_cut(max_len) for pair in pairs)
            begun[start] = PlannedPairs(plan, [len(pair.continuation) for pair in pairs])
            yield from (((start, number), plan.probes[number]) for number in plan.order)
            start += len(pairs)

    def _probes(self, work: Iterator[tuple[ProbeKey, Probe]]) -> Iterator[tuple[ProbeKey, ProbeRows | None]]:
        """The rows of each probe; rows missing because of the prefix cache are requested again without it.

        None where vLLM does not give them then either.
        """
        asked: dict[ProbeKey, Probe] = {}
        lacking: dict[ProbeKey, None] = {}  # requested by an earlier call too, or preempted
        again: deque[ProbeKey] = deque()

        def repeated() -> Iterator[tuple[ProbeKey, Ids, Sampling]]:
            while again:
                key = again.popleft()
                yield key, asked[key].ids, self._scoring_params(asked[key], use_cache=False)

        def wanted() -> Iterator[tuple[ProbeKey, Ids, Sampling]]:
            for key, probe in work:
                yield from repeated()
                asked[key] = probe
                yield key, probe.ids, self._scoring_params(probe)

        for stream in (wanted(), repeated()):
            for key, output in self._answers(stream):
                if not lacks_rows(asked[key], output):
                    yield key, probe_rows(asked.pop(key), output)
                elif key not in lacking:
                    lacking[key] = None
                    again.append(key)
                else:
                    n_tokens = len(asked.pop(key).ids)
                    self.refusals.append(
                        f"vLLM returned too few log-probs for a text of {n_tokens:,} tokens, also without its"
                        " cache; give it more memory, or `--max-num-seqs 1`"
                    )
                    yield key, None

    def _scoring_params(self, probe: Probe, *, use_cache: bool = True) -> Sampling:
        key = (probe.has_rows, use_cache)
        if key not in self._scoring:
            self._scoring[key] = self._vllm.SamplingParams(
                temperature=0.0,
                max_tokens=1,
                # One besides the prompt's own token, to check whether greedy decoding would generate it.
                prompt_logprobs=1 if probe.has_rows else None,
                logprob_token_ids=list(probe.next_ids),
                flat_logprobs=True,
                detokenize=False,
                skip_clone=True,  # it is for this request alone
                skip_reading_prefix_cache=not use_cache,
                output_kind=self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
            )
        params = copy.copy(self._scoring[key])  # a tenth of the time of checking all of it once more
        params.logprob_token_ids = list(probe.next_ids)
        return params

    # texts

    def _generation_work(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Ids, Sampling]]:
        repeats: Counter[str] = Counter()
        for start in range(0, len(requests), PROMPTS_AT_ONCE):
            some = requests[start : start + PROMPTS_AT_ONCE]
            prompts, n_cut = encode_prompts(self._tokenizer, some, max_len=self.info.max_model_len)
            self.cut_requests += n_cut
            for place, (request, ids) in enumerate(zip(some, prompts, strict=True), start=start):
                yield place, ids, self._generation_params(request, repeat=repeats[request.prompt])
                repeats[request.prompt] += request.temperature > 0

    def _generation_params(self, request: GenerationRequest, *, repeat: int) -> Sampling:
        stop = [] if self._reader.stops_late(request) else [text for text in request.stop if text]
        given = {"repetition_penalty": self._llm.get_default_sampling_params().repetition_penalty}
        asked = {name: value for name, value in request.sampling.items() if name in SPEC.sampling}
        given |= {VLLM_NAMES.get(name, name): value for name, value in asked.items()}
        return self._vllm.SamplingParams(
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request_seed(request, seed=self._settings.seed, repeat=repeat),
            max_tokens=output_budget(request, max_len=self.info.max_model_len),
            stop=stop,
            detokenize=bool(stop),  # otherwise done once by the reader, at the end
            structured_outputs=self._schema_params(request),
            repetition_detection=self._repetition_params(),
            skip_clone=True,  # it is for this request alone
            **given,
            output_kind=self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )

    def _schema_params(self, request: GenerationRequest) -> Any:
        """vLLM's parameters for a schema, which applies from the first token on, so there is no thinking."""
        if request.json_schema is None:
            return None
        return self._vllm.sampling_params.StructuredOutputsParams(json=dict(request.json_schema))

    def _repetition_params(self) -> Any:
        if self._settings.repetition_detection is None:
            return None
        limits = RepetitionLimits.parse(self._settings.repetition_detection)
        return self._vllm.sampling_params.RepetitionDetectionParams(**asdict(limits))

    # feeding and reading

    def _answers(self, work: Iterator[tuple[Key, Ids, Sampling]]) -> Iterator[tuple[Key, Output]]:
        """Yield each key with its finished output; only a limited number of requests is queued in vLLM."""
        engine = self._llm.llm_engine
        window = QUEUED_PER_SLOT * self._config.scheduler_config.max_num_seqs
        keys: dict[str, Key] = {}
        try:
            with self._explained("stopped answering"):
                while True:
                    for key, ids, params in itertools.islice(work, window - len(keys)):
                        request_id = str(next(self._numbers))
                        engine.add_request(request_id, self._vllm.inputs.tokens_input(list(ids)), params)
                        keys[request_id] = key
                    if not keys:
                        return
                    outputs = engine.step()
                    note_step()
                    self._note_cache_usage()
                    for output in outputs:
                        self.prefilled_tokens += len(output.prompt_token_ids) - (
                            output.num_cached_tokens or 0
                        )
                        yield keys.pop(output.request_id), output
        finally:
            if keys and self._llm is not None:  # the caller stopped early
                engine.abort_request(list(keys))

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn vLLM's errors into an `EngineError` with its reason, and stop its processes."""
        try:
            yield
        except (*FAILURES, self._vllm.exceptions.VLLMError) as error:
            self._end_children()
            text = f"{self._log.whole()}\n{type(error).__name__}: {error}"
            raise explain(text, doing=f"`{self._model.model_id}` {what}") from error
        except BaseException:
            if self._llm is None:  # interrupted while loading
                self._end_children()
            raise


def pool_bytes(log: str) -> int | None:
    """The cache that each card reserved, by the engine's log; None: the log does not tell it."""
    found = POOL.search(log)
    return round(float(found.group(1)) * 2**30) if found else None


def _growing(requests: Sequence[ContinuationRequest]) -> Iterator[Sequence[ContinuationRequest]]:
    start, size = 0, FIRST_PAIRS
    while start < len(requests):
        yield requests[start : start + size]
        start, size = start + size, min(2 * size, PAIRS_AT_ONCE)


def _import_vllm(settings: EngineSettings) -> Any:
    _set_environment(None)
    if settings.batch_invariant:
        os.environ.update(BATCH_INVARIANT)
    try:
        import vllm
        import vllm.exceptions
        import vllm.inputs
        import vllm.platforms
        import vllm.sampling_params
    except ImportError as error:
        hint = install_command("gpu")
        raise TrackerError(f"engine `vllm` is not installed: {error}", hint=hint) from error
    return vllm


def _set_environment(device_type: str | None) -> None:
    for name, value in engine_environment(device_type).items():
        os.environ.setdefault(name, value)
