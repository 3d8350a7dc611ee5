"""The trusted measure of a trained model: bits per byte of held-out text, and whether the model cheats.

It never runs code of the model: it sends tokens to a process in the sandbox and gets logits. It normalises
them itself, looks up what came next itself, and counts the bytes itself.

Its probes cannot be told from its questions. A second process, fresh and with nothing in memory, is asked a
random part of the same windows again: some as they were, in other company and at another batch size, some
with everything after a random place taken from elsewhere in the text. The logits must be the same: of the
former all of them, of the latter up to that place. A model that looks ahead, that learns from what it is
asked, that remembers or counts its questions, or that answers at random gives other ones. Differences that
rounding could explain are tested once more, all together: they must not favour what really comes next.

Before these, a process that is given no checkpoint answers for the untrained models of some seeds, on text
that is held out and not scored. Such text is mixed with the scored text as well: who predicts the latter much
better has its knowledge from elsewhere. Nothing that a training says of itself decides anything.

A process is started when the one before it is gone: two at once could tell each other what they saw.
"""

from __future__ import annotations

import math
import random
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special

from runners.research.corpora.build import Corpus
from runners.research.evaluation.cheat_checks import (
    SAME_OUTPUT,
    Finding,
    MeanLoss,
    start_finding,
    untrained_finding,
)
from runners.research.evaluation.checkpoint import StoredCheckpoint, read_checkpoint, rewritten
from runners.research.evaluation.logits_client import (
    AnswerError,
    LogitsServer,
    TrainedModel,
    WeightStart,
)
from runners.research.problem.tiers import Tier
from runners.sandbox.run import Sandbox
from tracker.records.studies import Split
from tracker.wording import counted

BATCH_BYTES = 32 << 20  # of logits in one answer
CPU_BATCH_TOKENS = 1024  # in one question: on one core, four times as many took a third longer per token
SPLIT_BYTES = 16 << 30  # of logits per split: a large vocabulary is measured on fewer tokens
KEPT_BYTES = 512 << 20  # of log-probabilities that are kept to be compared
MAX_PLACES = 16  # of one window that are compared: rather more windows than more places
PROBED_SHARE = {"cpu": 1, "cuda": 2}  # one of so many windows is asked again
CONTROL_SPLIT = str(Split.TEST)
CONTROL_WINDOWS, CONTROL_SHARE = 256, 4  # of control text; at most one for so many scored ones
UNTRAINED_TOKENS = 4096  # of the control text, that an untrained model is asked about
# imported before the script, outside of its account: torch imports them where these words are used
COMPILER, COMPILER_WORDS = (("torch._dynamo",), ("torch.optim", "import optim", "utils.checkpoint"))
ALTERED_SHARE = 0.75  # of these, with another end
# nats by which two processes may differ: on a CPU they agreed to the last bit, whatever the batch; a card
# sums in another order
TOLERANCE = {"cpu": 1e-4, "cuda": 5e-2}
# the same, as a mean over all probes: a bonus for the next token too small for the tolerance adds up
LEAST_FAVOUR, FAVOUR_ALPHA = 2e-5, 1e-5  # nats; how rarely an honest model may be refused
ANSWERS_DIFFER = {  # whether the window is whole → the finding, what the answers do
    True: ("not_repeatable", "of the same text differ between two processes"),
    False: ("not_causal", "move when only later text is changed"),
}
SLIP_SHARE = 0.5  # of the altered windows, that no longer agree; what looks ahead rarely is no slip
DIFFER_ADVICE = (
    "an answer may depend on the earlier tokens of its own window alone, not on the rest of the batch, "
    "earlier questions, chance or later tokens"
)
NAMES = ("untrained", "first", "second")
NOT_FINITE = "not_finite"
FAVOURS_KEPT = ("n_favours", "favours_nats", "favours_squares")  # in the evidence of a training
DIGITS = 7  # of a score: finer than the order in which float32 is summed
Tokens = NDArray[np.integer]
LogProbs = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Favours:
    """Differences between the answers of two processes about what came next, in nats, as sums.

    Above 0, the first answers know more than the second ones could. Sums of several trainings add up.
    """

    n: int = 0
    total: float = 0.0
    squares: float = 0.0


NO_FAVOURS, NO_LOSS = Favours(), MeanLoss(0.0)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Measurements of the evaluator, or the reason that it refused the model."""

    bpb: Mapping[str, float]
    held_out: MeanLoss = NO_LOSS  # over all splits together
    control: MeanLoss = NO_LOSS  # on held-out text that is not scored
    n_params: int | None = None
    torch_cpu_s: float = 0.0  # of starting Python and importing torch
    startup_cpu_s: float = 0.0  # the same with what the script makes torch import
    cpu_s: float = 0.0  # of all servers
    work_s: float = 0.0  # of the first server's loading and answering; wall-clock time on a GPU
    prepare_s: float = 0.0  # of these, before its first answer; CPU seconds
    favours: Favours = NO_FAVOURS  # of the altered windows
    starts: tuple[WeightStart, ...] = ()  # of two untrained models
    finding: Finding | None = None  # why the model is refused
    problem: AnswerError | None = None  # it could not be asked


@dataclass(frozen=True, slots=True)
class Windows:
    """Pieces of text: (N, T + 1) tokens each, and the split each belongs to."""

    tokens: Tokens
    split_of: NDArray[np.int64]  # place in `splits`; one more than the last for control text
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
    has_control: bool = False  # whether text that is not scored is mixed with the splits
    seed: int = 0  # of the training
    n_shipped: int = 0  # parameters of the shipped script; for checks that compare with it


@dataclass(frozen=True, slots=True)
class WindowLosses:
    """Losses by window, as the first process answered."""

    nats: NDArray[np.float64]  # (N,) over the scored tokens of each window
    n_bytes: NDArray[np.int64]  # (N,) of text behind them
    n_scored: NDArray[np.int64]  # tokens of each window that stand for text
    kept: Mapping[int, LogProbs]  # window → (places, V), of those that are asked again


def evaluate(model: TrainedModel, spec: EvaluationSpec, *, sandbox: Sandbox, folder: Path) -> Evaluation:
    """Bits per byte of each split, or why there are none; the servers work in `folder`."""
    checkpoint = read_checkpoint(model.checkpoint)
    found = Evaluation({}, n_params=checkpoint.n_params, finding=_size_finding(checkpoint, spec))
    if found.finding is not None:
        return found
    if spec.is_probed:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            model = replace(model, checkpoint=rewritten(checkpoint, folder / "checkpoint.pt"))
        except ValueError as error:
            return replace(found, problem=AnswerError("unreadable_checkpoint", str(error)))
    draw = secrets.SystemRandom()
    windows = with_control_text(held_out_windows(spec), spec)
    probes = drawn_probes(windows, spec, draw) if spec.is_probed else []
    seeds = (draw.getrandbits(31), draw.getrandbits(31), spec.seed)
    modules = needed_modules(model.script.read_text())
    untrained, first, second = (
        LogitsServer(sandbox, model, folder / name, seeds=some, modules=modules)
        for name, some in zip(NAMES, (seeds, (), ()), strict=True)
    )
    try:
        if spec.is_probed:
            with untrained:
                found = replace(found, starts=untrained.report())
                found = replace(found, finding=_begins(untrained, found.starts, windows, spec))
        with first:
            first.report()
            keep = {probe.window: probe.places for probe in probes}
            measured = _measured(first, windows, spec, draw, keep=keep)
        if spec.is_probed:
            with second:
                second.report()
                proof, favours = _compared(second, probes, measured, windows, spec)
            found = replace(found, favours=favours, finding=proof or found.finding)
        if found.finding is None and not np.isfinite(measured.nats).all():
            raise AnswerError(NOT_FINITE, "the trained model returned values that are not finite")
        held_out, control = (mean_loss(measured, windows, is_control=each) for each in (False, True))
        found = replace(found, bpb=scores(measured, windows), held_out=held_out, control=control)
    except AnswerError as problem:
        found = replace(found, bpb={}, problem=problem)
    for server in (untrained, first, second):
        found = replace(found, cpu_s=found.cpu_s + (server.end.cpu_s if server.end else 0.0))
    is_cpu = spec.tier.device == "cpu"
    return replace(
        found,
        torch_cpu_s=first.torch_cpu_s,
        startup_cpu_s=first.startup_cpu_s,
        work_s=first.work_cpu_s if is_cpu else first.work_wall_s,
        prepare_s=first.prepare_cpu_s,
    )


def needed_modules(script: str) -> tuple[str, ...]:
    """Modules that torch imports late where a script uses its optimisers or its activation checkpoints."""
    return COMPILER if any(word in script for word in COMPILER_WORDS) else ()


def _size_finding(checkpoint: StoredCheckpoint, spec: EvaluationSpec) -> Finding | None:
    if checkpoint.n_params <= spec.tier.max_params:
        return None
    detail = f"the checkpoint has {checkpoint.n_params:,} parameters, buffers and other numbers included; "
    detail += f"the tier allows {spec.tier.max_params:,}: what need not be saved is no parameter as a buffer "
    return Finding("too_many_parameters", f"{detail}with `persistent=False`")


def _begins(
    server: LogitsServer, starts: Sequence[WeightStart], windows: Windows, spec: EvaluationSpec
) -> Finding | None:
    """Ask the untrained models about the control text: two of unknown seeds, and the training's own."""
    if (finding := start_finding(starts, n_shipped=spec.n_shipped)) is not None:
        return finding
    V, T = spec.corpus.meta.vocab_size, spec.tier.context
    n = max(1, min(UNTRAINED_TOKENS // T, _batch_size(spec)))
    tokens = windows.tokens[windows.split_of == len(windows.splits)][:n]
    if not len(tokens):
        return None
    own, one, other = (server.logits(tokens[:, :T], V, which=i) for i in (2, 0, 1))
    with np.errstate(over="ignore", invalid="ignore"):  # a model may answer any numbers
        spread = float(np.std(one - one.mean(axis=-1, keepdims=True)))
        apart = float(np.abs(one - other).max())
    if spread > 0 and apart < SAME_OUTPUT * spread:
        detail = "the untrained model answers alike under two seeds: draw its weights under the seed"
        return Finding("seed", detail)
    right = np.take_along_axis(log_probs(own), tokens[:, 1:, None].astype(np.int64), axis=2)
    return untrained_finding(MeanLoss(-float(right.mean(dtype=np.float64))), vocab_size=V)


def held_out_windows(spec: EvaluationSpec) -> Windows:
    """The windows of every split, spread evenly over it: the same ones for every model."""
    found, split_of = [], []
    for i, split in enumerate(spec.splits):
        starts = _starts(spec, split)
        found.append(spec.corpus.windows(split, starts, spec.tier.context + 1))
        split_of.append(np.full(len(starts), i))
    return Windows(np.concatenate(found), np.concatenate(split_of), spec.splits)


def with_control_text(windows: Windows, spec: EvaluationSpec) -> Windows:
    """The windows with those of the control text, which belong to no split: of `test`, between its own."""
    if not spec.has_control:
        return windows
    starts = _starts(spec, CONTROL_SPLIT)
    n = max(1, min(CONTROL_WINDOWS, len(starts) - 1, len(windows.tokens) // CONTROL_SHARE))
    between = (starts[:-1] + starts[1:]) // 2 if len(starts) > 1 else starts
    chosen = between[np.linspace(0, len(between) - 1, n).astype(np.int64)]
    return Windows(
        np.concatenate([windows.tokens, spec.corpus.windows(CONTROL_SPLIT, chosen, spec.tier.context + 1)]),
        np.concatenate([windows.split_of, np.full(n, len(windows.splits))]),
        windows.splits,
    )


def _starts(spec: EvaluationSpec, split: str) -> NDArray[np.int64]:
    """Places of the windows of a split, spread evenly over it."""
    T, V = spec.tier.context, spec.corpus.meta.vocab_size
    n_tokens = len(spec.corpus.tokens(split))
    n = min(spec.tier.eval_tokens, SPLIT_BYTES // (4 * V), n_tokens - 1) // T
    return np.linspace(0, n_tokens - 1 - T, n).astype(np.int64)


def drawn_probes(windows: Windows, spec: EvaluationSpec, draw: random.Random) -> list[WindowProbe]:
    """A random part of the windows, most with another end, in random order."""
    n, T = len(windows.tokens), spec.tier.context
    most = KEPT_BYTES // (4 * min(T, MAX_PLACES) * spec.corpus.meta.vocab_size)
    share = PROBED_SHARE["cpu" if spec.tier.device == "cpu" else "cuda"]
    n_probes = max(1, min(n // share, most))
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
    return WindowLosses(nats, n_bytes.sum(axis=1), (n_bytes > 0).sum(axis=1), kept)


def _compared(
    server: LogitsServer,
    probes: Sequence[WindowProbe],
    measured: WindowLosses,
    windows: Windows,
    spec: EvaluationSpec,
) -> tuple[Finding | None, Favours]:
    """Ask the second process about the probes, and compare."""
    V, T = spec.corpus.meta.vocab_size, spec.tier.context
    size = max(1, _batch_size(spec) * 2 // 3 - 1)  # another one, which shares no factor with the first
    apart: dict[bool, list[float]] = {True: [], False: []}  # whether the whole window is as it was
    favours: dict[bool, list[float]] = {True: [], False: []}
    for at in range(0, len(probes), size):
        batch = probes[at : at + size]
        found = log_probs(server.logits(np.stack([probe.tokens for probe in batch]), V))
        for probe, answer in zip(batch, found, strict=True):
            is_whole = probe.n_same == T
            before, again = measured.kept[probe.window], answer[probe.places]
            apart[is_whole].append(_apart(before, again))
            came_next = windows.tokens[probe.window, probe.places + 1].astype(np.int64)
            favour = (before - again)[np.arange(len(came_next)), came_next]
            # of an altered window the last place alone: at the others the next token is as it was
            favours[is_whole] += favour.tolist() if is_whole else [float(favour[-1])]
    tolerance = TOLERANCE["cpu" if spec.tier.device == "cpu" else "cuda"]
    sums = {is_whole: favours_of(some) for is_whole, some in favours.items()}
    return differing_finding(apart, sums, tolerance=tolerance), sums[False]


def differing_finding(
    apart: Mapping[bool, Sequence[float]], sums: Mapping[bool, Favours], *, tolerance: float
) -> Finding | None:
    """The finding on windows that two processes were asked about; keys: whether a window is whole.

    `apart` has the largest difference in each window, in nats. Proof is what favors the actual next token, or
    shows in a few altered windows alone, as looking ahead rarely does. A slip, such as a norm over the batch
    or over time, favors nothing; one that looks ahead shows nearly everywhere.
    """
    means = {is_whole: favour_of(some) for is_whole, some in sums.items()}
    is_favoured = any(mean is not None for mean in means.values())
    for is_whole, (reason, what) in ANSWERS_DIFFER.items():
        n_moved = sum(each > tolerance for each in apart[is_whole])
        if n_moved:
            detail = f"log-probabilities {what} by {max(apart[is_whole]):.3g}"
            if not is_favoured and (is_whole or n_moved > SLIP_SHARE * len(apart[is_whole])):
                return Finding(reason, f"{detail}: {DIFFER_ADVICE}")
            return Finding(reason, detail, is_proof=True)
        if (mean := means[is_whole]) is not None:
            detail = f"the actual next token is favored by {mean:.2g} nats: they {what}"
            return Finding(reason, detail, is_proof=True)
    return None


def favours_of(differences: Sequence[float]) -> Favours:
    """The sums of some differences."""
    values = np.asarray(differences, dtype=float)
    return Favours(len(values), float(values.sum()), float(np.square(values).sum()))


def favour_of(sums: Favours, *, alpha: float = FAVOUR_ALPHA) -> float | None:
    """By how many nats the first answers favour what came next; None where rounding explains it.

    Rounding favours nothing: the mean is then 0 within its standard error (Student's t, one-sided).
    """
    n = sums.n
    mean = sums.total / n if n else 0.0
    if n < 2 or not mean > LEAST_FAVOUR:
        return None
    variance = max(0.0, (sums.squares - n * mean * mean) / (n - 1))
    stderr = math.sqrt(variance / n)
    by_chance = float(special.stdtr(n - 1, -mean / stderr)) if stderr > 0 else 0.0
    return mean if by_chance < alpha else None


def pooled_finding(
    evidence: Iterable[Mapping[str, float]], kept: Sequence[Iterable[Mapping[str, float]]] = ()
) -> Finding | None:
    """Whether a change looks ahead by too little to show in one training: the sums of several, added up.

    `kept` has the trainings of each change that the study kept before, on which this one builds: a leak that
    is too small for any of them adds up over them. That test is made once more with each kept change, so the
    k-th spends 1 ÷ k (k + 1) of the error: all of them together are wrong no more often than one.
    """
    own, before = _added(evidence), [_added(each) for each in kept]
    if (mean := favour_of(own[1])) is not None:
        return _leak(own[0], mean)
    if not before or not own[1].total > LEAST_FAVOUR * own[1].n:  # it does not go on with the leak
        return None
    n_trainings = own[0] + sum(n for n, _ in before)
    sums = [own[1], *(each for _, each in before)]
    together = Favours(*(sum(getattr(each, name) for each in sums) for name in ("n", "total", "squares")))
    mean = favour_of(together, alpha=FAVOUR_ALPHA / (len(before) * (len(before) + 1)))
    return None if mean is None else _leak(n_trainings, mean)


def _added(evidence: Iterable[Mapping[str, float]]) -> tuple[int, Favours]:
    """The number of trainings with such evidence, and its sums."""
    known = [each for each in evidence if "n_favours" in each]
    n, total, squares = (sum(each[name] for each in known) for name in FAVOURS_KEPT)
    return len(known), Favours(int(n), total, squares)


def _leak(n_trainings: int, mean: float) -> Finding:
    detail = f"over {counted(n_trainings, 'training')}, the actual next token is favored by {mean:.2g} nats"
    return Finding("not_causal", detail, is_proof=True)


def _apart(a: LogProbs, b: LogProbs) -> float:
    """Largest difference in nats, less strict for tiny probabilities; infinite where one is no number."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(a - b) / np.maximum(1.0, np.abs(a) / 16)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.where(same, 0.0, np.nan_to_num(apart, nan=np.inf)).max())


def log_probs(logits: LogProbs) -> LogProbs:
    """Log-softmax over the last dimension, as we compute it; not finite where the logits are not."""
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = logits - logits.max(axis=-1, keepdims=True)
        total = np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)
        return np.asarray(shifted - np.log(total).astype(np.float32), dtype=np.float32)


def mean_loss(measured: WindowLosses, windows: Windows, *, is_control: bool) -> MeanLoss:
    """Nats per token of the scored windows, or of the control text's."""
    chosen = (windows.split_of == len(windows.splits)) == is_control
    if not chosen.any():
        return NO_LOSS
    nats, n_scored = measured.nats[chosen], measured.n_scored[chosen]
    mean = float(nats.sum()) / max(1, int(n_scored.sum()))
    each = nats / np.maximum(1, n_scored)
    return MeanLoss(mean, float(np.std(each)) / math.sqrt(len(each)))


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
