"""vLLM on a card that is simulated: its scheduler and processes are real, a step takes the time it is told.

Imported by vLLM's engine process, as `distributed_executor_backend`. The model is loaded on the CPU, for its
shapes alone: no step computes anything. The card works on one step after the other, and may be given the next
one before it has ended the last, as a real one.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.executor.uniproc_executor import UniProcExecutor
from vllm.v1.outputs import LogprobsLists, ModelRunnerOutput

from benchmarks.choice_stream import SPEED

TOKEN = 5  # sampled by every request


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
        self._step_s, self._tokens_per_s = told["step_ms"] / 1000, told["tokens_per_ms"] * 1000
        self._log = Path(told["path"])
        self._free_at = 0.0  # of time.monotonic(): when the card has ended what it was given
        self._prompt: dict[str, tuple[int, int, list[int] | None]] = {}
        self._busy: list[tuple[float, float, int]] = []
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
            params = new.sampling_params
            asked = None if params is None else params.logprob_token_ids
            self._prompt[new.req_id] = (len(new.prompt_token_ids or ()), new.num_computed_tokens, asked)
        n_tokens = step.total_num_scheduled_tokens
        begun = max(self._free_at, time.monotonic())
        self._free_at = begun + max(self._step_s, n_tokens / self._tokens_per_s)
        self._busy.append((begun, self._free_at, n_tokens))
        for gone in step.finished_req_ids:
            self._prompt.pop(gone, None)
        pending = _Pending(self._output(step.num_scheduled_tokens), self._free_at)
        return pending if non_block else pending.result()

    def _output(self, scheduled: dict[str, int]) -> ModelRunnerOutput:
        ids = list(scheduled)
        sampled: list[list[int]] = []
        rows: list[list[int]] = []
        for one, n_tokens in scheduled.items():
            length, n_computed, asked = self._prompt[one]
            self._prompt[one] = (length, n_computed + n_tokens, asked)
            is_whole = n_computed + n_tokens >= length
            sampled.append([TOKEN] if is_whole else [])
            rows.append([TOKEN, *(asked or ())])
        width = max(map(len, rows))
        tokens = np.array([row + [TOKEN] * (width - len(row)) for row in rows], dtype=np.int64)
        log_probs = np.where(tokens == TOKEN, -0.5, -2.0 - tokens % 7).astype(np.float32)
        has_log_probs = any(asked for _, _, asked in (self._prompt[one] for one in ids))
        return ModelRunnerOutput(
            req_ids=ids,
            req_id_to_index={one: n for n, one in enumerate(ids)},
            sampled_token_ids=sampled,
            logprobs=LogprobsLists(tokens, log_probs, np.ones(len(ids), dtype=np.int64))
            if has_log_probs
            else None,
        )

    def _write(self) -> None:
        self._log.write_text(json.dumps(self._busy))


def _there(output: Any) -> Future[Any]:
    found: Future[Any] = Future()
    found.set_result(output)
    return found
