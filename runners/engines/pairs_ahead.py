"""Encode what is to be scored while an engine loads its weights, so that its first step comes at once.

The harness offers requests as soon as it has built them, an engine encodes them while it loads, and takes
them when they are asked. Only with tokenizers that encode texts by their lines and run no program of others:
nothing limits their memory here, since such a limit would hold for what is loaded as well.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from runners.engines import ContinuationRequest
from runners.engines.encoding import EncodedPair, Tokenizer, encode_pairs, encodes_by_lines
from runners.step_limits import unlimited_steps
from tracker.errors import EngineError

MOST_TOKENS = 20_000_000  # of contexts, held at once: 160 MB, and MMLU with five examples is half of it
LAST_S = 5.0  # for what is being encoded when the engine is loaded; it takes 0.1 s


class PairsAhead:
    """Requests that are encoded before they are asked; of one process, whose harness and engine share it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._offered: deque[Sequence[ContinuationRequest]] = deque()
        self._encoded: dict[ContinuationRequest, EncodedPair] = {}
        self._n_tokens = 0
        self._is_encoding = False
        self._is_over = True  # whether nothing more is encoded

    def offer(self, requests: Sequence[ContinuationRequest]) -> None:
        """Let these be encoded, if an engine is loading or begins to."""
        with self._changed:
            self._offered.append(requests)
            self._changed.notify_all()

    def forget_offers(self) -> None:
        """Forget what no engine has encoded, once one is loaded."""
        with self._changed:
            self._offered.clear()

    def clear(self) -> None:
        """Forget all that was offered and encoded."""
        self.forget_offers()
        with self._changed:
            self._encoded, self._n_tokens = {}, 0

    @contextmanager
    def encoded_by(self, tokenizer: Tokenizer) -> Iterator[None]:
        """Encode what is offered during the block, in a thread of its own."""
        if not encodes_by_lines(tokenizer):
            yield
            return
        self._is_over = False
        thread = threading.Thread(target=self._encode, args=(tokenizer,), name="pairs", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()
            thread.join(LAST_S)
            if thread.is_alive() or not encodes_by_lines(tokenizer):
                self.clear()

    def take(self, requests: Sequence[ContinuationRequest]) -> list[EncodedPair | None]:
        """What is there of each request, and is then forgotten here."""
        if not self._encoded:
            return [None] * len(requests)
        found = [self._encoded.get(request) for request in requests]
        for request in requests:
            self._encoded.pop(request, None)
        return found

    def _encode(self, tokenizer: Tokenizer) -> None:
        with unlimited_steps():
            while self._n_tokens < MOST_TOKENS and (requests := self._next()) is not None:
                try:
                    pairs = encode_pairs(tokenizer, requests)
                except EngineError:
                    continue  # told when it is asked
                with self._changed:
                    if self._is_over:
                        return
                    self._encoded.update(zip(requests, pairs, strict=True))
                self._n_tokens += sum(map(len, {id(pair.context): pair.context for pair in pairs}.values()))

    def _next(self) -> Sequence[ContinuationRequest] | None:
        """What is to be encoded next, as soon as something is offered; None: the engine is loaded."""
        with self._changed:
            self._is_encoding = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_over or self._offered)
            self._is_encoding = not self._is_over
            return None if self._is_over else self._offered.popleft()


PAIRS_AHEAD = PairsAhead()
