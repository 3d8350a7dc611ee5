"""The end of a study: the final pick on `select`, then one measurement on the unseen split `test`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from runners.research.gate import LOOKS
from runners.research.seeds import StudySeeds
from runners.research.training.cache import BASELINE_HINT, NOT_KEPT, BaselineError
from runners.research.training.pool import (
    SEEN,
    TrainFunction,
    TrainingPool,
    TrainingRequest,
)
from tracker.files.studies import Ledger
from tracker.records.studies import (
    Change,
    Pair,
    Split,
    Study,
    StudyResult,
    Training,
    TrainingStatus,
    Trial,
)
from tracker.stats import t_interval

N_TEST = 5  # pairs under seeds that were never used before
TESTED = (*SEEN, Split.TEST)


class FinalTestCache:
    """A `TrainFunction` that keeps its measurements on `test` in the study's folder, and measures each once.

    The cache that all studies share knows nothing of `test`.
    """

    __test__ = False  # its name begins as those that pytest collects

    def __init__(self, train: TrainFunction, ledger: Ledger, identity: Callable[[Change], str]) -> None:
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


def finished(
    study: Study, trials: Sequence[Trial], pool: TrainingPool, *, final: Change, seeds: StudySeeds
) -> StudyResult:
    """The result of a study; the gain is exactly 0 if nothing was kept, since each pair is one with itself.

    A final pick that fails under one of the fresh seeds is worth nothing either.

    Raises:
        BaselineError: the defaults cannot be trained under one of the fresh seeds.
        StoppedError: the study is to end before that.
    """
    baseline_val = baseline_trainings(study, pool, seeds)[0].bpb[Split.VAL]
    best_val = min([baseline_val, *_seen_vals(trials)])
    fresh = [seeds.test(place) for place in range(N_TEST)]
    parents = _measured(study, pool, Change(), fresh)
    pairs = tuple(Pair(each.seed, each, each) for each in parents)
    if final != Change():
        children = pool.trained([TrainingRequest(final, seed, TESTED) for seed in fresh])
        if all(child.status is TrainingStatus.OK for child in children):
            pairs = tuple(Pair(p.seed, p, c) for p, c in zip(parents, children, strict=True))
    gain = t_interval([pair.gain(Split.TEST) or 0.0 for pair in pairs])
    return StudyResult(
        baseline_bpb=fmean(pair.parent.bpb[Split.TEST] for pair in pairs),
        test_bpb=fmean(pair.child.bpb[Split.TEST] for pair in pairs),
        best_val_bpb=best_val,
        gain_bpb=gain.value,
        gain_ci_low=gain.low,
        gain_ci_high=gain.high,
        claimed_gain_bpb=baseline_val - best_val,
        test_pairs=pairs,
    )


def baseline_trainings(study: Study, pool: TrainingPool, seeds: StudySeeds) -> list[Training]:
    """The tier's defaults under the seeds of the gate's first look, which every first trial needs.

    Raises:
        BaselineError: they cannot be trained here.
    """
    return _whole(study, pool.trained([TrainingRequest(Change(), seed) for seed in _first_look(seeds)]))


def first_pair_val(trial: Trial) -> float | None:
    """The change's bits per byte on `val` under the first seed; None if its training did not finish."""
    if not trial.pairs or trial.pairs[0].child.status is not TrainingStatus.OK:
        return None
    return trial.pairs[0].child.bpb.get(Split.VAL)


def _first_look(seeds: StudySeeds) -> list[int]:
    return [seeds.gate(place) for place in range(LOOKS[0])]


def final_pick(pool: TrainingPool, incumbent: Change, seeds: StudySeeds) -> Change:
    """The incumbent, or the baseline if that is better on `select` under the seeds of the first look."""
    if incumbent == Change():
        return incumbent
    of_gate = _first_look(seeds)
    pairs = pool.pairs(
        [TrainingRequest(Change(), s) for s in of_gate], [TrainingRequest(incumbent, s) for s in of_gate]
    )
    gains = [gain for pair in pairs if (gain := pair.gain(Split.SELECT)) is not None]
    return incumbent if len(gains) == len(pairs) and fmean(gains) > 0 else Change()


def _measured(study: Study, pool: TrainingPool, change: Change, seeds: Sequence[int]) -> list[Training]:
    return _whole(study, pool.trained([TrainingRequest(change, seed, TESTED) for seed in seeds]))


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
    """The numbers that a loop without a gate would have believed."""
    vals = [first_pair_val(trial) for trial in trials if not trial.is_placebo]
    return [val for val in vals if val is not None]
