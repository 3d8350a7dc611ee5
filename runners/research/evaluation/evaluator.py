"""The trusted measure of a trained model: bits per byte of held-out text, and whether the model cheats.

It never runs code of the model: it sends tokens to a process in the sandbox and gets logits. It normalises
them itself, looks up what came next itself, and counts the bytes itself.

Its probes cannot be told from its questions. A second process, fresh and with nothing in memory, is asked a
random part of the same windows again: some as they were, in other company and at another batch size, some
with everything after a random place taken from elsewhere in the text. The logits must be the same: of the
former all of them, of the latter up to that place. A model that looks ahead, that learns from what it is
asked, that remembers or counts its questions, or that answers at random gives other ones. Differences that
rounding could explain are tested once more, all together: they must not favour what really comes next.

The second process is started when the first one is gone: two at once could tell each other what they saw.
"""

from __future__ import annotations

import math
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special

from runners.research.corpora.build import Corpus
from runners.research.evaluation.cheat_checks import Finding, seed_finding
from runners.research.evaluation.logits_client import (
    AnswerError,
    LogitsServer,
    ModelReport,
    TrainedModel,
)
from runners.research.problem.tiers import Tier
from runners.sandbox.run import Sandbox

BATCH_BYTES = 32 << 20  # of logits in one answer
CPU_BATCH_TOKENS = 1024  # in one question: on one core, four times as many took a third longer per token
SPLIT_BYTES = 16 << 30  # of logits per split: a large vocabulary is measured on fewer tokens
KEPT_BYTES = 512 << 20  # of log-probabilities that are kept to be compared
MAX_PLACES = 16  # of one window that are compared: rather more windows than more places
PROBED_SHARE = 6  # one of so many windows is asked again
ALTERED_SHARE = 0.75  # of these, with another end
# nats by which two processes may differ: on a CPU they agreed to the last bit, whatever the batch; a card
# sums in another order
TOLERANCE = {"cpu": 1e-4, "cuda": 5e-2}
# the same, as a mean over all probes: a bonus for the next token too small for the tolerance adds up
LEAST_FAVOUR, FAVOUR_ALPHA = 2e-5, 1e-5  # nats; how rarely an honest model may be refused
ANSWERS_DIFFER = (  # whether the window is whole, the finding, what the answers do
    (True, "not_repeatable", "of the same text differ between two processes"),
    (False, "not_causal", "move when only later text is changed"),
)
NAMES = ("first", "second")
NOT_FINITE = "not_finite"
DIGITS = 7  # of a score: finer than the order in which float32 is summed
Tokens = NDArray[np.integer]
LogProbs = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Measurements of the evaluator, or the reason that it refused the model."""

    bpb: Mapping[str, float]
    nats_per_token: float = 0.0  # over all splits together
    n_params: int | None = None
    startup_cpu_s: float = 0.0  # of Python and torch
    cpu_s: float = 0.0  # of both servers
    finding: Finding | None = None  # why the model is refused
    problem: AnswerError | None = None  # it could not be asked


@dataclass(frozen=True, slots=True)
class Windows:
    """Pieces of the held-out text: (N, T + 1) tokens each, and the split each belongs to."""

    tokens: Tokens
    split_of: NDArray[np.int64]
    splits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WindowProbe:
    """One window to be asked again; the first `n_same` tokens are as they were."""

    window: int
    tokens: Tokens  # (T,)
    n_same: int
    places: NDArray[np.int64]  # of these, whose answers are compared


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """The data and the sizes of one evaluation."""

    tier: Tier
    corpus: Corpus
    splits: tuple[str, ...]
    is_probed: bool = True  # not needed for our own script


@dataclass(frozen=True, slots=True)
class WindowLosses:
    """Losses by window, as the first process answered."""

    nats: NDArray[np.float64]  # (N,) over the scored tokens of each window
    n_bytes: NDArray[np.int64]  # (N,) of text behind them
    n_scored: int  # tokens
    kept: Mapping[int, LogProbs]  # window → (places, V), of those that are asked again


def evaluate(model: TrainedModel, spec: EvaluationSpec, *, sandbox: Sandbox, folder: Path) -> Evaluation:
    """Bits per byte of each split, or why there are none; the servers work in `folder`."""
    windows, draw = held_out_windows(spec), secrets.SystemRandom()
    probes = drawn_probes(windows, spec, draw) if spec.is_probed else []
    seeds = (draw.getrandbits(31), draw.getrandbits(31)) if spec.is_probed else ()
    first, second = (LogitsServer(sandbox, model, folder / name, seeds=seeds) for name in NAMES)
    try:
        with first:
            report = first.report()
            keep = {probe.window: probe.places for probe in probes}
            measured = _measured(first, windows, spec, draw, keep=keep)
        finding = _size_finding(report, spec)
        if spec.is_probed and finding is None:
            with second:
                starts = second.report().starts
                finding = seed_finding(starts) or _compared(second, probes, measured, windows, spec)
        if finding is None and not np.isfinite(measured.nats).all():
            raise AnswerError(NOT_FINITE, "the trained model returned values that are not finite")
        found = Evaluation(
            scores(measured, windows),
            nats_per_token=float(measured.nats.sum()) / max(1, measured.n_scored),
            n_params=report.n_params,
            finding=finding,
        )
    except AnswerError as problem:
        found = Evaluation({}, problem=problem)
    ends = [server.end for server in (first, second) if server.end is not None]
    return replace(found, cpu_s=sum(end.cpu_s for end in ends), startup_cpu_s=first.startup_cpu_s)


def _size_finding(report: ModelReport, spec: EvaluationSpec) -> Finding | None:
    if report.n_params <= spec.tier.max_params:
        return None
    detail = f"{report.n_params} parameters, where the tier allows {spec.tier.max_params}"
    return Finding("too_many_parameters", detail)


def held_out_windows(spec: EvaluationSpec) -> Windows:
    """The windows of every split, spread evenly over it: the same ones for every model."""
    T, V = spec.tier.context, spec.corpus.meta.vocab_size
    found, split_of = [], []
    for i, split in enumerate(spec.splits):
        tokens = spec.corpus.tokens(split)
        n = min(spec.tier.eval_tokens, SPLIT_BYTES // (4 * V), len(tokens) - 1) // T
        starts = np.linspace(0, len(tokens) - 1 - T, n).astype(np.int64)
        found.append(np.asarray(tokens[starts[:, None] + np.arange(T + 1)]))
        split_of.append(np.full(n, i))
    return Windows(np.concatenate(found), np.concatenate(split_of), spec.splits)


def drawn_probes(windows: Windows, spec: EvaluationSpec, draw: random.Random) -> list[WindowProbe]:
    """A random part of the windows, most with another end, in random order."""
    n, T = len(windows.tokens), spec.tier.context
    most = KEPT_BYTES // (4 * min(T, MAX_PLACES) * spec.corpus.meta.vocab_size)
    n_probes = max(1, min(n // PROBED_SHARE, most))
    probes = []
    for i, window in enumerate(draw.sample(range(n), n_probes)):
        tokens, n_same = windows.tokens[window, :T].copy(), T
        if i < ALTERED_SHARE * n_probes:
            n_same = draw.randrange(1, T)
            tokens[n_same:] = windows.tokens[draw.randrange(n), n_same:T]
        places = draw.sample(range(n_same - 1), min(n_same, MAX_PLACES) - 1)
        probes.append(
            WindowProbe(window, tokens, n_same, np.array([*places, n_same - 1]))
        )  # the last one is nearest
    draw.shuffle(probes)
    return probes


def _measured(
    server: LogitsServer,
    windows: Windows,
    spec: EvaluationSpec,
    draw: random.Random,
    *,
    keep: Mapping[int, NDArray[np.int64]],
) -> WindowLosses:
    """Ask about every window once, in an order that nobody knows."""
    V, T = spec.corpus.meta.vocab_size, spec.tier.context
    lengths = spec.corpus.byte_lengths()
    targets = windows.tokens[:, 1:]
    nats = np.zeros(len(targets))
    kept: dict[int, LogProbs] = {}
    order = list(range(len(targets)))
    draw.shuffle(order)
    size = _batch_size(spec)
    for at in range(0, len(order), size):
        chosen = order[at : at + size]
        found = log_probs(server.logits(windows.tokens[chosen, :T], V))
        right = np.take_along_axis(found, targets[chosen, :, None].astype(np.int64), axis=2)[:, :, 0]
        nats[chosen] = -(right.astype(np.float64) * (lengths[targets[chosen]] > 0)).sum(axis=1)
        kept |= {window: found[i, keep[window]] for i, window in enumerate(chosen) if window in keep}
    n_bytes = lengths[targets]
    return WindowLosses(nats, n_bytes.sum(axis=1), int((n_bytes > 0).sum()), kept)


def _compared(
    server: LogitsServer,
    probes: Sequence[WindowProbe],
    measured: WindowLosses,
    windows: Windows,
    spec: EvaluationSpec,
) -> Finding | None:
    """Ask the second process about the probes, and compare."""
    V, T = spec.corpus.meta.vocab_size, spec.tier.context
    size = max(1, _batch_size(spec) * 2 // 3 - 1)  # another one, which shares no factor with the first
    worst = {True: 0.0, False: 0.0}  # whether the whole window is as it was
    favours: dict[bool, list[float]] = {True: [], False: []}
    for at in range(0, len(probes), size):
        batch = probes[at : at + size]
        found = log_probs(server.logits(np.stack([probe.tokens for probe in batch]), V))
        for probe, answer in zip(batch, found, strict=True):
            is_whole = probe.n_same == T
            before, again = measured.kept[probe.window], answer[probe.places]
            worst[is_whole] = max(worst[is_whole], _apart(before, again))
            came_next = windows.tokens[probe.window, probe.places + 1].astype(np.int64)
            favour = (before - again)[np.arange(len(came_next)), came_next]
            # of an altered window the last place alone: at the others the next token is as it was
            favours[is_whole] += favour.tolist() if is_whole else [float(favour[-1])]
    tolerance = TOLERANCE["cpu" if spec.tier.device == "cpu" else "cuda"]
    for is_whole, reason, what in ANSWERS_DIFFER:
        if worst[is_whole] > tolerance:
            return Finding(reason, f"log-probabilities {what} by {worst[is_whole]:.3g}")
        if (mean := favour_of(favours[is_whole])) is not None:
            return Finding(reason, f"the actual next token is favored by {mean:.2g} nats: they {what}")
    return None


def favour_of(differences: Sequence[float]) -> float | None:
    """By how many nats the first answers favour what came next; None where rounding explains it.

    Rounding favours nothing: the mean is then 0 within its standard error (Student's t, one-sided).
    """
    n = len(differences)
    mean = float(np.mean(differences)) if n else 0.0
    if n < 2 or not mean > LEAST_FAVOUR:
        return None
    stderr = float(np.std(differences, ddof=1)) / math.sqrt(n)
    by_chance = float(special.stdtr(n - 1, -mean / stderr)) if stderr > 0 else 0.0
    return mean if by_chance < FAVOUR_ALPHA else None


def _apart(a: LogProbs, b: LogProbs) -> float:
    """Largest difference in nats, less strict for tiny probabilities; infinite where one is no number."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b) / np.maximum(1.0, np.abs(a) / 16)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.where(same, 0.0, np.nan_to_num(apart, nan=np.inf)).max())


def log_probs(logits: LogProbs) -> LogProbs:
    """Log-softmax over the last dimension, as we compute it; not finite where the logits are not."""
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = logits - logits.max(axis=-1, keepdims=True)
        total = np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)
        return np.asarray(shifted - np.log(total).astype(np.float32), dtype=np.float32)


def scores(measured: WindowLosses, windows: Windows) -> dict[str, float]:
    """Split → bits per byte."""
    found = {}
    for i, split in enumerate(windows.splits):
        chosen = windows.split_of == i
        bits = measured.nats[chosen].sum() / math.log(2)
        found[split] = round(float(bits / measured.n_bytes[chosen].sum()), DIGITS)
    return found


def _batch_size(spec: EvaluationSpec) -> int:
    """Windows in one question to the first process."""
    T, V = spec.tier.context, spec.corpus.meta.vocab_size
    most = BATCH_BYTES // (4 * T * V)
    return max(1, min(most, CPU_BATCH_TOKENS // T) if spec.tier.device == "cpu" else most)
