"""The end of a study: the final pick on `select`, then once the split that nobody has seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean, stdev

from scipy import special

from runners.research.gate import LOOKS
from runners.research.slots import seed_of
from runners.research.training import BASELINE_HINT, NOT_KEPT, BaselineError
from runners.research.workbench import SEEN, Order, Train, Workbench
from tracker.studies import Change, Pair, Split, Study, StudyResult, Training, TrainingStatus, Trial
from tracker.study_files import Ledger

N_TEST = 5  # pairs under seeds that were never used before
ALPHA = 0.05
TESTED = (*SEEN, Split.TEST)


class TestedOnce:
    """A `Train` that keeps in the study's folder what it measures on `test`, and never measures it again.

    The cache that all studies share knows nothing of `test`.
    """

    __test__ = False  # its name begins as those that pytest collects

    def __init__(self, train: Train, ledger: Ledger, identity: Callable[[Change], str]) -> None:
        self._train = train
        self._ledger = ledger
        self._identity = identity

    def __call__(self, change: Change, seed: int, *, splits: Sequence[str]) -> Training:
        """The training with its bits per byte of `splits`."""
        if Split.TEST not in splits:
            return self._train(change, seed, splits=splits)
        name = f"{self._identity(change)}-{seed}"
        training = self._ledger.test_training(name)
        if training is None:
            training = self._train(change, seed, splits=splits)
            if training.status in NOT_KEPT:  # that says more about the machine: once more
                training = self._train(change, seed, splits=splits)
            if training.status not in NOT_KEPT:
                self._ledger.write_test_training(name, training)
        return training


def finished(study: Study, trials: Sequence[Trial], bench: Workbench, *, incumbent: Change) -> StudyResult:
    """What the study is worth; the gain is exactly 0 where nothing was kept: each pair is one with itself.

    A final pick that fails under one of the fresh seeds is worth nothing either.

    Raises:
        BaselineError: the defaults cannot be trained under one of the fresh seeds.
        StoppedError: the study is to end before that.
    """
    baseline_val = baseline_trainings(study, bench)[0].bpb[Split.VAL]
    best_val = min([baseline_val, *_seen_vals(trials)])
    seeds = [seed_of(study.seed, "test", place) for place in range(N_TEST)]
    parents = _measured(study, bench, Change(), seeds)
    pairs = tuple(Pair(each.seed, each, each) for each in parents)
    final = _picked(study, bench, incumbent)
    if final != Change():
        children = bench.trained([Order(final, seed, TESTED) for seed in seeds])
        if all(child.status is TrainingStatus.OK for child in children):
            pairs = tuple(Pair(p.seed, p, c) for p, c in zip(parents, children, strict=True))
    gain, half_width = mean_and_half_width([pair.gain(Split.TEST) or 0.0 for pair in pairs])
    return StudyResult(
        baseline_bpb=fmean(pair.parent.bpb[Split.TEST] for pair in pairs),
        test_bpb=fmean(pair.child.bpb[Split.TEST] for pair in pairs),
        best_val_bpb=best_val,
        gain_bpb=gain,
        gain_ci_low=gain - half_width,
        gain_ci_high=gain + half_width,
        claimed_gain_bpb=baseline_val - best_val,
        test_pairs=pairs,
    )


def baseline_trainings(study: Study, bench: Workbench) -> list[Training]:
    """The tier's defaults under the seeds of the gate's first look, which every first trial needs.

    Raises:
        BaselineError: they cannot be trained here.
    """
    seeds = [seed_of(study.seed, "gate", place) for place in range(LOOKS[0])]
    return _whole(study, bench.trained([Order(Change(), seed) for seed in seeds]))


def mean_and_half_width(gains: Sequence[float]) -> tuple[float, float]:
    """The mean and the half width of its 95 % interval by Student's t."""
    reach = float(special.stdtrit(len(gains) - 1, 1 - ALPHA / 2))
    return fmean(gains), reach * stdev(gains) / math.sqrt(len(gains))


def first_pair_val(trial: Trial) -> float | None:
    """What the change reached on `val` under the first seed; None if it was not trained to its end."""
    if not trial.pairs or trial.pairs[0].child.status is not TrainingStatus.OK:
        return None
    return trial.pairs[0].child.bpb.get(Split.VAL)


def _picked(study: Study, bench: Workbench, incumbent: Change) -> Change:
    """The incumbent, or the baseline if that is better on `select` under the seeds of the first look."""
    if incumbent == Change():
        return incumbent
    seeds = [seed_of(study.seed, "gate", place) for place in range(LOOKS[0])]
    pairs = bench.pairs([Order(Change(), s) for s in seeds], [Order(incumbent, s) for s in seeds])
    gains = [gain for pair in pairs if (gain := pair.gain(Split.SELECT)) is not None]
    return incumbent if len(gains) == len(pairs) and fmean(gains) > 0 else Change()


def _measured(study: Study, bench: Workbench, change: Change, seeds: Sequence[int]) -> list[Training]:
    return _whole(study, bench.trained([Order(change, seed, TESTED) for seed in seeds]))


def _whole(study: Study, trainings: list[Training]) -> list[Training]:
    """These trainings of the defaults, none of which may fail."""
    for training in trainings:
        if training.status is not TrainingStatus.OK:
            why = training.detail or training.reason or training.status.value
            raise BaselineError(
                f"the defaults of tier `{study.tier}` cannot be trained here: {why}", hint=BASELINE_HINT
            )
    return trainings


def _seen_vals(trials: Sequence[Trial]) -> list[float]:
    """What a loop that believes its first number would have seen."""
    vals = [first_pair_val(trial) for trial in trials if not trial.is_placebo]
    return [val for val in vals if val is not None]
