"""Batched decoding: one row per answer; the next prompt takes over a finished row.

Rows have no padding: the tokens of a row lie one after the other in its buffer, written in place. Prompts are
read through the prefix tree, so that shared prefixes are computed once, and long ones are kept once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from time import perf_counter
from typing import Any

import numpy as np
import torch

from runners.engines.encoding import plan_inputs
from runners.engines.loading import is_out_of_memory
from runners.engines.sampling import TokenChoice
from runners.engines.steps import note_step
from runners.engines.stopping import AnswerEnd
from runners.engines.transformers.prefix_reader import CHECK_LEN, TOLERANCE, PrefixReader
from runners.engines.transformers.prefix_tree import Chunk, EndedInput, IntArray, TreeWalk
from runners.engines.transformers.row_buffer import RowBuffer
from runners.engines.transformers.shared_prefix import Attended, SharedPrefix, States, shared_prefixes
from tracker.errors import EngineError
from tracker.records import RepetitionLimits

REFILL = 4  # prompts are read once a quarter of the rows is free, since reading few tokens at once is slow


@dataclass(slots=True)
class Row:
    """One answer in progress."""

    request: int  # index of its request
    prompt: tuple[int, ...]
    budget: int  # tokens
    end: AnswerEnd
    choice: TokenChoice
    limits: RepetitionLimits | None = None
    n_computed: int = 0  # prompt tokens computed for this row
    prefix: SharedPrefix | None = None  # holds the keys and values of its first tokens
    ids: list[int] = field(default_factory=list)
    is_stopped: bool = False  # by an end token or a stop string, not by the budget
    is_looping: bool = False
    started_at: float = 0.0
    ttft_s: float = 0.0
    latency_s: float = 0.0

    @property
    def n_read(self) -> int:
        """Number of tokens whose keys and values are known: all but the latest."""
        return len(self.prompt) + len(self.ids) - 1

    @property
    def n_own(self) -> int:
        """Those of them that are in the row and not in a prefix that it shares."""
        return self.n_read - (self.prefix.n_tokens if self.prefix else 0)

    @property
    def is_complete(self) -> bool:
        """Whether the answer has ended."""
        return self.is_stopped or self.is_looping or len(self.ids) >= self.budget

    @property
    def finish_reason(self) -> str:
        """Why the answer ended."""
        if self.is_stopped:
            return "stop"
        return "repetition" if self.is_looping and len(self.ids) < self.budget else "length"

    def restart(self) -> None:
        """Start the answer, or restart it."""
        self.ids.clear()
        self.is_stopped = self.is_looping = False
        self.end.restart()
        self.choice.restart()
        self.started_at = perf_counter()

    def pick(self, logits: torch.Tensor) -> int:
        """The next token, given `logits` (V,)."""
        return self.choice.pick(logits, [*self.prompt, *self.ids], n_prompt=len(self.prompt))

    def add(self, token: int) -> None:
        """Append `token`."""
        self.ids.append(token)
        self.is_stopped = self.end.is_complete(self.ids)
        self.is_looping = self.limits is not None and self.limits.are_reached(self.ids)
        self.latency_s = perf_counter() - self.started_at
        if len(self.ids) == 1:
            self.ttft_s = self.latency_s


class Decoder:
    """Generates the answers to the prompts of one tree walk, fewer at once if memory runs out."""

    def __init__(
        self, reader: PrefixReader, *, max_rows: int, memory_bytes: int, min_saved: int | None = None
    ) -> None:
        """Read prompts with `reader`; generate at most `max_rows` answers at once, in `memory_bytes`.

        `min_saved`: see `shared_prefixes`; None: the model cannot decode with them, see `decodes_shared`.
        """
        self._reader = reader
        self._min_saved = min_saved
        self._max_rows = max_rows
        self._memory_bytes = memory_bytes
        self._longest = 1  # maximum tokens of a row
        self._n_common = 0  # maximum tokens of all shared prefixes at one time
        self._buffer = RowBuffer()
        self._rows: list[Row] = []
        self._waiting: deque[tuple[Row, States]] = deque()  # prompts that were read but have no row yet

    def decode(self, walk: TreeWalk, rows: Sequence[Sequence[Row]]) -> Iterator[Row]:
        """Yield each of `rows` when complete; `rows[i]` are the answers to the plan's prompt i.

        Raises:
            EngineError: a single answer does not fit into memory.
        """
        if self._min_saved is not None:
            self._share(walk, rows, self._min_saved)
        lengths = (row.n_own + row.budget + 1 for group in rows for row in group)
        self._longest = max(lengths, default=1)
        prompts = self._read_prompts(walk, rows)
        while True:
            while not self._waiting and self._wants_prompts():
                completed = next(prompts, None)
                if completed is None:
                    break
                yield from completed
            self._admit()
            if not self._rows:
                return
            self._step()
            note_step()
            yield from self._take_completed()

    def _share(self, walk: TreeWalk, rows: Sequence[Sequence[Row]], min_saved: int) -> None:
        found = list(shared_prefixes(walk.plan, [len(group) for group in rows], min_saved=min_saved))
        for prefix in found:
            for row in chain.from_iterable(rows[prefix.start : prefix.stop]):
                row.prefix = prefix
        self._n_common = sum(sorted((one.n_tokens for one in found), reverse=True)[: self._max_rows])

    def _wants_prompts(self) -> bool:
        return not self._rows or (self._max_rows - len(self._rows)) * REFILL >= self._max_rows

    def _read_prompts(self, walk: TreeWalk, rows: Sequence[Sequence[Row]]) -> Iterator[list[Row]]:
        """Read one more chunk, choose first tokens, queue the rows; yield those already complete."""
        started_at = perf_counter()
        max_ended = max(1, self._max_rows // REFILL)
        for chunk, logits in self._reader.read(walk, _last_tokens, max_ended=max_ended):
            completed = []
            for ended, ended_logits in zip(chunk.ended, logits, strict=True):
                n_new = len(ended.slots) - walk.plan[ended.place].n_shared
                states = self._states(ended, rows[ended.place][0].prefix)
                for row in rows[ended.place]:
                    row.started_at, row.n_computed, n_new = started_at, n_new, 0
                    row.add(row.pick(ended_logits))
                    if row.is_complete:
                        completed.append(_released(row))
                    else:
                        self._waiting.append((row, states))
            yield completed
            started_at = perf_counter()

    def _states(self, ended: EndedInput, prefix: SharedPrefix | None) -> States:
        """The keys and values of the input's own tokens; those of its prefix are kept there."""
        if prefix is None:
            return self._reader.states(ended.slots)
        if not prefix.states:
            device = self._reader.model.get_input_embeddings().weight.device
            common = self._reader.states(ended.slots[: prefix.n_tokens])
            prefix.states = [(k.to(device, copy=True), v.to(device, copy=True)) for k, v in common]
        return self._reader.states(ended.slots[prefix.n_tokens :])

    def _admit(self) -> None:
        """Move waiting rows into the buffer."""
        while self._waiting and len(self._rows) < self._max_rows:
            row, states = self._waiting[0]
            if self._buffer.cache is None:
                self._limit_rows(states)
            try:
                self._buffer.put(len(self._rows), states, n_rows=self._max_rows)
            except RuntimeError as error:
                self._make_room(error)
                continue
            self._waiting.popleft()
            self._rows.append(row)

    def _limit_rows(self, states: States) -> None:
        """Limit the rows so that their keys and values fit into memory at full length.

        On a CPU there is no out-of-memory error to catch: the system kills the process.
        """
        token_bytes = sum(x.shape[0] * x.shape[2] * x.element_size() for pair in states for x in pair)
        n_rows = (self._memory_bytes // token_bytes - self._n_common) // self._longest
        self._max_rows = max(1, min(self._max_rows, n_rows))

    def _step(self) -> None:
        """Generate one more token for every row."""
        while True:
            try:
                logits = self._next_logits()
                break
            except RuntimeError as error:
                self._make_room(error)
        best = logits.argmax(-1).tolist()
        for row, row_logits, token in zip(self._rows, logits, best, strict=True):
            is_best = row.choice.is_argmax
            row.add(token if is_best else row.pick(row_logits))

    def _next_logits(self) -> torch.Tensor:
        step = DecodingStep(
            [row.ids[-1] for row in self._rows], [row.n_read for row in self._rows], self._attended()
        )
        own = [row.n_own for row in self._rows]
        self._buffer.aim(torch.tensor(own), n_rows=self._max_rows)
        return next_logits(self._reader.model, self._buffer, step, n_own=own)

    def _attended(self) -> list[Attended]:
        device = self._reader.model.get_input_embeddings().weight.device
        rows: dict[SharedPrefix, list[int]] = {}
        for place, row in enumerate(self._rows):
            if row.prefix:
                rows.setdefault(row.prefix, []).append(place)
        return [Attended(prefix, torch.tensor(places, device=device)) for prefix, places in rows.items()]

    def _take_completed(self) -> Iterator[Row]:
        place = 0
        while place < len(self._rows):
            row = self._rows[place]
            if not row.is_complete:
                place += 1
                continue
            last = self._rows.pop()
            if last is not row:
                self._rows[place] = last
                self._buffer.move(len(self._rows), place, n_tokens=last.n_own)
            yield _released(row)

    def _make_room(self, error: RuntimeError) -> None:
        """Halve the rows; those removed wait and keep the text generated so far."""
        if not is_out_of_memory(error):
            raise error
        if self._max_rows == 1:
            raise EngineError(
                "the model ran out of memory even with one answer at a time",
                reason="out_of_memory",
                hint="lower `--max-model-len`, or use a quantized variant of the model",
            ) from error
        self._max_rows = max(1, min(self._max_rows, max(len(self._rows), 2)) // 2)
        while len(self._rows) > self._max_rows:
            row = self._rows.pop()
            self._waiting.appendleft((row, self._buffer.take(len(self._rows), n_tokens=row.n_own)))
        self._buffer.shrink(self._max_rows)


@dataclass(frozen=True, slots=True)
class DecodingStep:
    """One more token for each of some rows."""

    tokens: list[int]  # (rows,), the latest
    n_read: list[int]  # (rows,), tokens before it
    attended: list[Attended] = field(default_factory=list)


def next_logits(model: Any, buffer: RowBuffer, step: DecodingStep, *, n_own: list[int]) -> torch.Tensor:
    """The logits (rows, V) after the step's tokens, with `n_own` tokens before each of them in `buffer`."""
    device = model.get_input_embeddings().weight.device
    own = torch.tensor(n_own)
    slots = torch.arange(int(own.max()) + 1)
    mask = torch.zeros(len(own), len(slots), dtype=model.dtype)
    mask.masked_fill_(slots[None] > own[:, None], torch.finfo(model.dtype).min)
    output = model(
        input_ids=torch.tensor(step.tokens, device=device)[:, None],
        position_ids=torch.tensor(step.n_read, device=device)[:, None],
        attention_mask=mask[:, None, None].to(device),
        past_key_values=buffer.cache,
        use_cache=True,
        **({"attended": step.attended} if step.attended else {}),
    )
    logits: torch.Tensor = output.logits[:, -1]
    return logits


def decodes_shared(model: Any, *, vocab_size: int) -> bool:
    """Whether `model` gives the same logits with a shared prefix as with a copy of it in each row.

    Only in float32: in 16 bits the scores would be rounded before they are merged.
    """
    if model.dtype != torch.float32:
        return False
    ids = [(7 * place + 3) % vocab_size for place in range(CHECK_LEN)]
    plan = plan_inputs([tuple(ids), (*ids[:-2], ids[0], ids[1], ids[0])])
    (prefix,) = shared_prefixes(plan, [1] * len(plan), min_saved=1)
    n_read = [len(item.ids) for item in plan]
    reader = PrefixReader(model, max_tokens=sum(n_read))
    whole, own = RowBuffer(), RowBuffer()
    try:
        for chunk, _ in reader.read(reader.start(plan, n_fresh=[1] * len(plan)), _last_tokens):
            for row, ended in enumerate(chunk.ended):
                whole.put(row, reader.states(ended.slots), n_rows=len(plan))
                own.put(row, reader.states(ended.slots[prefix.n_tokens :]), n_rows=len(plan))
                prefix.states = reader.states(ended.slots[: prefix.n_tokens])
        rows = torch.arange(len(plan), device=model.get_input_embeddings().weight.device)
        found = []
        for buffer, n_own, attended in (
            (whole, n_read, []),
            (own, [n - prefix.n_tokens for n in n_read], [Attended(prefix, rows)]),
        ):
            buffer.aim(torch.tensor(n_own), n_rows=len(plan))
            step = DecodingStep(ids[: len(plan)], n_read, attended)
            found.append(torch.log_softmax(next_logits(model, buffer, step, n_own=n_own), -1))
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False  # it has attention of its own
    return float((found[0] - found[1]).abs().max()) < TOLERANCE[torch.float32]


def _released(row: Row) -> Row:
    """A complete row; the last one of a prefix frees it."""
    if row.prefix:
        row.prefix.n_left -= 1
        if not row.prefix.n_left:
            row.prefix.states = []
    return row


def _last_tokens(chunk: Chunk) -> IntArray:
    return np.asarray([ended.slots[-1] - chunk.n_cached for ended in chunk.ended], dtype=np.int64)
