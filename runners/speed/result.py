"""A level from the file that `vllm bench serve --save-detailed` writes: times of each request, in seconds.

The times are the generator's; the quantiles are computed here from them, since it leaves most of them out
where it has no tokenizer. Its file is foreign: whatever contradicts itself is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tracker.errors import EngineError
from tracker.records.speed import LatencyBound, SpeedLevel, Spread
from tracker.stats import median_interval

ERROR_CHARS = 300  # of the reason why a request was not answered
SERVER, PIECES = "server", "pieces"  # who counted the output tokens


@dataclass(frozen=True, slots=True)
class AskedTokens:
    """What each request asked for, for servers whose counts the generator does not pass on."""

    prompt: int  # as the server counted those of a prompt like these
    output: int  # at most


@dataclass(frozen=True, slots=True)
class Measured:
    """A level and how it was counted; `begin` and `end` are of the machine's monotonic clock."""

    level: SpeedLevel
    counts_from: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class _Answer:
    ttft_s: float
    tpot_s: float
    e2el_s: float
    gaps_s: tuple[float, ...]
    prompt_tokens: int
    output_tokens: int


def read_level(path: Path, *, bound: LatencyBound, asked: AskedTokens) -> Measured:
    """The level in a result file.

    Output tokens are those of the server; a server that sends its counts with the last piece, as llama.cpp's
    does, has them dropped by the generator: its pieces are counted then, at most as many as were asked for.

    Raises:
        EngineError: it is not such a file, or contradicts itself (reason `generator_failed`).
    """
    try:
        found = json.loads(path.read_bytes())
        return _measured(found, bound=bound, asked=asked)
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
        message = f"{path}: the load generator's result cannot be used: {why}"
        hint = "it must be a version of vLLM whose `bench serve` has `--save-detailed`; 0.32 has"
        raise EngineError(message, reason="generator_failed", hint=hint) from error


def _measured(found: dict[str, Any], *, bound: LatencyBound, asked: AskedTokens) -> Measured:
    starts, times = _numbers(found["start_times"]), _numbers(found["ttfts"])
    latencies, gaps = _numbers(found["latencies"]), [_numbers(one) for one in found["itls"]]
    n_out, n_in = _numbers(found["output_lens"]), _numbers(found["input_lens"])
    errors = [str(one or "") for one in found["errors"]]
    n_requests, duration_s = len(times), float(found["duration"])
    if any(len(one) != n_requests for one in (starts, latencies, gaps, n_out, n_in, errors)):
        raise ValueError("lists of different lengths")
    if not n_requests or not 0 < duration_s < math.inf:
        raise ValueError("no request, or no duration")
    is_answered = [not errors[n] and times[n] > 0 and latencies[n] >= times[n] for n in range(n_requests)]
    if sum(is_answered) != int(found["completed"]):
        raise ValueError(f"{found['completed']} completed, but {sum(is_answered)} answers have times")
    is_counted = all(n_out[n] > 1 or len(gaps[n]) <= 1 for n in range(n_requests) if is_answered[n])
    answers = [
        _answer(
            times[n],
            latencies[n],
            gaps[n],
            n_prompt=int(n_in[n]) if is_counted else asked.prompt,
            n_output=int(n_out[n]) if is_counted else min(asked.output, 1 + len(gaps[n])),
        )
        for n in range(n_requests)
        if is_answered[n]
    ]
    n_tokens = sum(one.output_tokens for one in answers)
    n_good = sum(bound.is_met(ttft_s=one.ttft_s, tpot_s=one.tpot_s, e2el_s=one.e2el_s) for one in answers)
    why = next((errors[n] or "no answer" for n in range(n_requests) if not is_answered[n]), "")
    begin = min(starts)
    level = SpeedLevel(
        concurrency=int(found["max_concurrency"]),
        n_requests=n_requests,
        n_answered=len(answers),
        duration_s=duration_s,
        prompt_tokens=sum(one.prompt_tokens for one in answers),
        output_tokens=n_tokens,
        output_tokens_per_s=n_tokens / duration_s,
        requests_per_s=len(answers) / duration_s,
        goodput_per_s=n_good / duration_s,
        n_good=n_good,
        ttft=_spread([one.ttft_s for one in answers]),
        tpot=_spread([one.tpot_s for one in answers if one.output_tokens > 1]),
        itl=_spread([gap for one in answers for gap in one.gaps_s], has_interval=False),
        e2el=_spread([one.e2el_s for one in answers]),
        error=_last_line(why),
    )
    return Measured(level, SERVER if is_counted else PIECES, begin, begin + duration_s)


def _answer(
    ttft_s: float, latency_s: float, gaps_s: Sequence[float], *, n_prompt: int, n_output: int
) -> _Answer:
    tpot_s = (latency_s - ttft_s) / (n_output - 1) if n_output > 1 else 0.0
    return _Answer(ttft_s, tpot_s, latency_s, tuple(gaps_s), n_prompt, n_output)


def _numbers(values: Sequence[Any]) -> list[float]:
    found = [float(value) for value in values]
    if not all(math.isfinite(value) and value >= 0 for value in found):
        raise ValueError("a number is negative or not finite")
    return found


def _spread(values: Sequence[float], *, has_interval: bool = True) -> Spread | None:
    """None of nothing; gaps of one answer depend on each other, so they have no interval."""
    if not values:
        return None
    interval = median_interval(values) if has_interval else None
    median, p90, p99 = (float(one) for one in np.percentile(values, (50, 90, 99)))
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Spread(median, low, high, p90, p99, float(np.mean(values)))


def _last_line(text: str) -> str:
    """The last line of a traceback, which says what was wrong."""
    lines = text.strip().splitlines()
    return lines[-1].strip()[:ERROR_CHARS] if lines else ""
