"""vLLM on a card that is simulated: its scheduler and processes are real, a step takes the time it is told.

Imported by vLLM's engine process, as `distributed_executor_backend`. The model is loaded on the CPU, for its
shapes alone: no step computes anything. The card works on one step after the other, and may be given the next
one before it has ended the last, as a real one.
"""

from __future__ import annotations

import json
import math
import os
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.executor.uniproc_executor import UniProcExecutor
from vllm.v1.outputs import LogprobsLists, ModelRunnerOutput

from benchmarks.card_wait import SPEED

TOKEN = 5  # sampled by every request
SPREAD = 0.8  # of the logarithm of an answer's length


@dataclass(slots=True)
class _Request:
    """What has been computed of a request."""

    n_prompt: int
    n_computed: int
    asked: Sequence[int]  # tokens whose log-probs are wanted
    n_left: int  # tokens of the answer, with its end

    def sampled(self, n_tokens: int, end: int) -> list[int]:
        """The tokens of the answer that computing `n_tokens` more gives."""
        self.n_computed += n_tokens
        if self.n_computed < self.n_prompt:
            return []
        self.n_left -= 1
        return [TOKEN if self.n_left else end]


class _Pending(Future[Any]):
    """The output of a step, which is there when the card has ended it."""

    def __init__(self, output: ModelRunnerOutput, due: float) -> None:
        super().__init__()
        self._output, self._due = output, due

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            time.sleep(max(0.0, self._due - time.monotonic()))
            self.set_result(self._output)
        return super().result(timeout)


class SimulatedCard(UniProcExecutor):
    """One card; see the module."""

    def _init_executor(self) -> None:
        super()._init_executor()
        self.scheduler_config.async_scheduling = True  # as on a card; vLLM switches it off on a CPU
        told = json.loads(os.environ[SPEED])
        self._step_s, self._each_s = told["step_ms"] / 1000, told["each_ms"] / 1000
        self._tokens_per_s = told["tokens_per_ms"] * 1000
        self._medians = {int(budget): median for budget, median in told["medians"].items()}
        self._end = told["end"]
        self._log = Path(told["path"])
        self._free_at = 0.0  # of time.monotonic(): when the card has ended what it was given
        self._requests: dict[str, _Request] = {}
        self._busy: list[tuple[float, float, int, int]] = []
        self._step: SchedulerOutput | None = None

    @property
    def max_concurrent_batches(self) -> int:
        """Two: the next step is scheduled while the card works on one."""
        return 2

    def execute_model(self, scheduler_output: SchedulerOutput, non_block: bool = False) -> Any:
        self._step = scheduler_output
        if scheduler_output.total_num_scheduled_tokens:
            return _there(None) if non_block else None
        self._write()
        output = ModelRunnerOutput(req_ids=[], req_id_to_index={})
        return _there(output) if non_block else output

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
        step = self._step
        assert step is not None
        for new in step.scheduled_new_reqs:
            self._requests[new.req_id] = self._begun(new)
        n_tokens, n_requests = step.total_num_scheduled_tokens, len(step.num_scheduled_tokens)
        begun = max(self._free_at, time.monotonic())
        took = max(self._step_s + n_requests * self._each_s, n_tokens / self._tokens_per_s)
        self._free_at = begun + took
        self._busy.append((begun, self._free_at, n_tokens, n_requests))
        for gone in step.finished_req_ids:
            self._requests.pop(gone, None)
        pending = _Pending(self._output(step.num_scheduled_tokens), self._free_at)
        return pending if non_block else pending.result()

    def _begun(self, new: Any) -> _Request:
        ids, params = new.prompt_token_ids or (), new.sampling_params
        n_answer = median = self._medians.get(params.max_tokens, 0)
        if median:  # the same whenever it is asked for
            dice = np.random.default_rng(zlib.crc32(np.asarray(ids, dtype=np.int64).tobytes()))
            n_answer = int(min(median * math.exp(SPREAD * dice.standard_normal()), params.max_tokens))
        return _Request(len(ids), new.num_computed_tokens, params.logprob_token_ids or (), max(1, n_answer))

    def _output(self, scheduled: dict[str, int]) -> ModelRunnerOutput:
        ids = list(scheduled)
        found = [self._requests[one] for one in ids]
        sampled = [one.sampled(n, self._end) for one, n in zip(found, scheduled.values(), strict=True)]
        rows = [[TOKEN, *one.asked] for one in found]
        width = max(map(len, rows))
        tokens = np.array([row + [TOKEN] * (width - len(row)) for row in rows], dtype=np.int64)
        log_probs = np.where(tokens == TOKEN, -0.5, -2.0 - tokens % 7).astype(np.float32)
        log_prob_rows = LogprobsLists(tokens, log_probs, np.ones(len(ids), dtype=np.int64))
        return ModelRunnerOutput(
            req_ids=ids,
            req_id_to_index={one: n for n, one in enumerate(ids)},
            sampled_token_ids=sampled,
            logprobs=log_prob_rows if any(one.asked for one in found) else None,
        )

    def _write(self) -> None:
        self._log.write_text(json.dumps(self._busy))


def _there(output: Any) -> Future[Any]:
    found: Future[Any] = Future()
    found.set_result(output)
    return found
