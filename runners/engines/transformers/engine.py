"""The transformers engine: for machines without a GPU, and the reference for the others.

Log-probs and answers equal those of lm-eval's `HFLM`; shared prefixes of requests are computed once.
"""

from __future__ import annotations

import gc
import importlib.metadata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from transformers.utils import logging

from runners.engines import Continuation, ContinuationRequest, Generation, GenerationRequest, TextRequest
from runners.engines.chat import TemplatedChat
from runners.engines.encoding import (
    EncodedPair,
    chat_template_hash,
    encode_pairs,
    encode_prompts,
    encode_windows,
    max_model_len,
    output_budget,
    plan_inputs,
    whole_texts,
)
from runners.engines.json_schema import Grammars
from runners.engines.loading import (
    choose_device,
    device_name,
    free_bytes,
    is_out_of_memory,
    load_tokenizer,
    load_weights,
)
from runners.engines.sampling import TokenChoice, model_processors
from runners.engines.seeds import request_seed
from runners.engines.stopping import AnswerEnd, end_token_ids
from runners.engines.thinking import find_marks
from runners.engines.transformers.decoding import Decoder, Row, decodes_shared
from runners.engines.transformers.head import use_float32_head
from runners.engines.transformers.prefix_reader import (
    PrefixReader,
    packed_limit,
    reads_packed,
    share_key_heads,
)
from runners.engines.transformers.scoring import score_packed, score_unpacked
from runners.engines.transformers.shared_prefix import WORTH_SHARING
from runners.engines.transformers.unpacked_reader import UnpackedReader
from tracker.errors import EngineError
from tracker.records import EngineInfo, EngineSettings, Model, RepetitionLimits

MAX_TOKENS = {"cpu": 512, "mps": 2048, "cuda": 4096}  # read at once; see docs/benchmarks.md
MAX_ROWS = {"cpu": 64, "mps": 64, "cuda": 128}  # written at once
CACHE_SHARE = 0.5  # of the free memory, for the keys and values of answers
VERSIONS = ("torch", "transformers", "tokenizers", "accelerate")


class TransformersEngine(TemplatedChat):
    """A model loaded with transformers; see `runners.engines.Engine`."""

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        """Load `model`.

        Raises:
            EngineError: it cannot be loaded; see `runners.engines.loading`.
        """
        logging.disable_progress_bar()
        self._device = device = choose_device()
        self._settings = settings
        self.cut_requests = 0
        self.unknown_marks: Counter[str] = Counter()  # see `unknown_mark`
        self._tokenizer = load_tokenizer(model, settings)
        self._weights = load_weights(model, settings, device)
        self._attention = getattr(self._weights.config, "_attn_implementation", None)
        share_key_heads(self._weights)
        if settings.head_dtype == "float32":
            use_float32_head(self._weights)
        self._marks = find_marks(self._tokenizer)
        self._end_ids = end_token_ids(
            self._weights.generation_config.eos_token_id, self._tokenizer.eos_token_id
        )
        marks = None if settings.thinking is False else self._marks
        self._grammars = Grammars(self._tokenizer, end_ids=self._end_ids, marks=marks)
        self._max_rows = settings.max_num_seqs or MAX_ROWS[device.type]
        self._reader = PrefixReader(self._weights, max_tokens=MAX_TOKENS[device.type])
        self._unpacked = UnpackedReader(self._weights, max_tokens=MAX_TOKENS[device.type])
        self._max_len = settings.max_model_len or max_model_len(self._weights.config, self._tokenizer)
        self._packed_len = self._longest_packed()
        self._min_saved = self._worth_sharing()
        self.info = self._describe(model, device)

    @property
    def prefilled_tokens(self) -> int:
        """Tokens of contexts, continuations and prompts computed since the start, without cached ones."""
        return self._reader.prefilled_tokens + self._unpacked.prefilled_tokens

    def log_probs(self, requests: Sequence[ContinuationRequest]) -> Iterator[tuple[int, Continuation]]:
        """Yield the index of each request with its answer, as soon as its last token was read.

        Raises:
            EngineError: it ran out of memory, or a continuation cannot be scored.
        """
        yield from self._scores(encode_pairs(self._tokenizer, requests))

    def text_log_probs(self, requests: Sequence[TextRequest]) -> Iterator[tuple[int, Continuation]]:
        """Yield the index of each text with its answer, as soon as its last token was read.

        Raises:
            EngineError: it ran out of memory.
        """
        windows = [encode_windows(self._tokenizer, one.text, max_len=self._max_len) for one in requests]
        yield from whole_texts(windows, self._scores)

    def _scores(self, pairs: Sequence[EncodedPair]) -> Iterator[tuple[int, Continuation]]:
        inputs = [_checked(pair, self._max_len).input_ids(self._max_len) for pair in pairs]
        self.cut_requests += sum(pair.is_cut(self._max_len) for pair in pairs)
        packed = [place for place, ids in enumerate(inputs) if self._can_pack(len(ids))]
        plain = [place for place, ids in enumerate(inputs) if not self._can_pack(len(ids))]
        with _failures():
            for scores, places in (
                (score_packed(self._reader, [pairs[p] for p in packed], [inputs[p] for p in packed]), packed),
                (
                    score_unpacked(self._unpacked, [pairs[p] for p in plain], [inputs[p] for p in plain]),
                    plain,
                ),
            ):
                for n, answer in scores:
                    yield places[n], answer

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        """Yield the index of each request with its answer, as soon as it is complete.

        Raises:
            EngineError: it ran out of memory.
        """
        rows = self._rows(requests)
        packed = [row for row in rows if self._can_pack(len(row.prompt) + row.budget)]
        plain = [row for row in rows if not self._can_pack(len(row.prompt) + row.budget)]
        plan = plan_inputs([row.prompt for row in packed])
        with _failures():
            walk = self._reader.start(plan, n_fresh=[1] * len(plan))
            memory_bytes = int(CACHE_SHARE * free_bytes(self._device))
            max_rows = min(self._max_rows, max(1, len(packed)))  # the size of the buffer
            decoder = Decoder(
                self._reader, max_rows=max_rows, memory_bytes=memory_bytes, min_saved=self._min_saved
            )
            by_prompt = [[packed[place] for place in item.places] for item in plan]
            for row in chain(decoder.decode(walk, by_prompt), self._unpacked.decode(plain)):
                if mark := row.end.unknown_mark(row.ids):
                    self.unknown_marks[mark] += 1
                yield row.request, _generation(row)

    def close(self) -> None:
        """Free the memory."""
        self._reader.forget()
        del self._reader, self._unpacked, self._weights
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _rows(self, requests: Sequence[GenerationRequest]) -> list[Row]:
        prompts, n_cut = encode_prompts(self._tokenizer, requests, max_len=self._max_len)
        self.cut_requests += n_cut
        repeats: Counter[str] = Counter()
        asked = self._settings.repetition_detection
        limits = None if asked is None else RepetitionLimits.parse(asked)
        rows = []
        for place, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
            seed = request_seed(request, seed=self._settings.seed, repeat=repeats[request.prompt])
            repeats[request.prompt] += 1
            end = AnswerEnd(
                self._tokenizer, request.stop, end_ids=self._end_ids, marks=self._marks, prompt=request.prompt
            )
            schema = request.json_schema
            constraint = None if schema is None else self._grammars.constraint(schema, end)
            processors = model_processors(self._weights.generation_config, request.sampling)
            choice = TokenChoice(request, processors, seed=seed, constraint=constraint, end_ids=self._end_ids)
            budget = output_budget(request, max_len=self._max_len)
            rows.append(Row(place, prompt, budget, end, choice, limits))
        return rows

    def _can_pack(self, n_tokens: int) -> bool:
        return self._packed_len is None or n_tokens <= self._packed_len

    def _longest_packed(self) -> int | None:
        limit = packed_limit(self._weights.config)
        if limit == 0 or not reads_packed(self._weights, vocab_size=len(self._tokenizer)):
            return 0
        return limit

    def _worth_sharing(self) -> int | None:
        if self._packed_len == 0 or not decodes_shared(self._weights, vocab_size=len(self._tokenizer)):
            return None
        return WORTH_SHARING

    def _describe(self, model: Model, device: torch.device) -> EngineInfo:
        quantization = getattr(self._weights.config, "quantization_config", None)
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        return EngineInfo(
            engine="transformers",
            engine_version=importlib.metadata.version("transformers"),
            dtype=str(self._weights.dtype).removeprefix("torch."),
            device=device_name(device),
            max_model_len=self._max_len,
            chat_template_hash=chat_template_hash(self._tokenizer),
            quantization=model.quantization or method,
            attention=self._attention,
            versions={name: importlib.metadata.version(name) for name in VERSIONS},
        )


def _checked(pair: EncodedPair, max_len: int) -> EncodedPair:
    if len(pair.continuation) > max_len:
        raise EngineError(
            f"a continuation has {len(pair.continuation)} tokens, more than the model's {max_len}",
            reason="unsupported",
            hint="raise `--max-model-len`",
        )
    return pair


def _generation(row: Row) -> Generation:
    answer = row.end.answer(row.ids)
    return Generation(
        text=answer.text,
        finish_reason=row.finish_reason,
        prompt_tokens=len(row.prompt),
        output_tokens=len(row.ids),
        cached_tokens=len(row.prompt) - row.n_computed,
        latency_s=row.latency_s,
        ttft_s=row.ttft_s,
        thinking=answer.thinking,
    )


@contextmanager
def _failures() -> Iterator[None]:
    """Turn torch's errors into ours while the model computes, since the model failed and not the worker."""
    try:
        yield
    except (RuntimeError, IndexError) as error:
        reason = (
            "out_of_memory" if isinstance(error, RuntimeError) and is_out_of_memory(error) else "engine_died"
        )
        raise EngineError(f"the model failed while computing: {error}", reason=reason) from error
