"""The loop: what is kept, what is counted, and that a stop at any moment changes nothing."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runners.research.evaluation.evaluator import FAVOURS_KEPT, favour_of, favours_of
from runners.research.events import StudyEvent
from runners.research.final_test import N_TEST, FinalTestCache
from runners.research.seeds import StudySeeds, next_slots
from runners.research.study import run_study
from runners.research.training.pool import StoppedError
from runners.research.transfer import N_TRANSFER
from tests.builders.some_studies import study
from tests.doubles.research_doubles import (
    SECRET,
    Listed,
    World,
    begin,
    identity,
    parts,
)
from tracker.errors import DiskFullError, TrackerError, UnreachableError
from tracker.files.studies import Ledger
from tracker.records.studies import (
    Change,
    Study,
    StudySecret,
    StudyStatus,
    Training,
    TrainingStatus,
    Trial,
    Verdict,
)
from tracker.serialization import dump_json

GOOD: dict[str, object] = {"beta1": 0.8}
BETTER: dict[str, object] = {"beta1": 0.8, "beta2": 0.99}
BAD: dict[str, object] = {"beta1": 0.95}
MIXED: tuple[dict[str, object] | str, ...] = (
    BAD, "no JSON was found", GOOD, GOOD, {"beta1": 2.0}, {"matrix_lr": 0.1}, {"d_model": 96}, {}, BETTER,
    BAD,
)  # fmt: skip


def a_study(n_trials: int = len(MIXED), **more: Any) -> Study:
    more = {"tier": "smoke", "placebo_share": 0.0, "seed": 7, "has_transfer": True} | more
    return study(1, n_trials=n_trials, status=StudyStatus.RUNNING, gain=None, **more)


def ran(folder: Path, of: Study, *changes: dict[str, object] | str) -> tuple[Study, tuple[Trial, ...]]:
    ledger = begin(folder, of)
    done = run_study(ledger, parts(Listed(*changes), World(), folder))
    return done, ledger.trials()


def secrets_of(n: int) -> list[StudySecret]:
    return [StudySecret(f"{number:064x}") for number in range(1, n + 1)]


def without_times(trials: Sequence[Trial]) -> list[Trial]:
    return [replace(trial, started_at=study().started_at, ended_at=study().started_at) for trial in trials]


def test_study_each_proposal_gets_the_verdict_that_it_deserves(tmp_path: Path) -> None:
    done, trials = ran(tmp_path, a_study(), *MIXED)
    assert [trial.verdict.value for trial in trials] == [
        "rejected", "invalid", "accepted", "duplicate", "invalid", "failed", "failed", "duplicate",
        "accepted", "duplicate",
    ]  # fmt: skip
    assert [trial.reason for trial in trials] == [
        "lost_first_pair", "invalid", None, "duplicate", "invalid", "diverged", "crashed", "no_change", None,
        "duplicate",
    ]  # fmt: skip
    assert (trials[8].parent, trials[8].categories) == (Change(GOOD), ("betas",))  # type: ignore[arg-type]
    assert (len(trials[0].pairs), len(trials[2].pairs), len(trials[2].confirmation)) == (1, 3, 3)
    assert (done.status, done.incumbent.params) == (StudyStatus.COMPLETE, BETTER)
    assert done.result is not None
    assert done.result.gain_ci_low < 0.12 < done.result.gain_ci_high
    assert done.result.gain_bpb == pytest.approx(done.result.baseline_bpb - done.result.test_bpb)
    assert done.result.claimed_gain_bpb > 0.0


def test_a_study_that_keeps_nothing_gains_exactly_nothing_and_says_so(tmp_path: Path) -> None:
    done, _ = ran(tmp_path, a_study(2), BAD, "prose")
    assert done.result is not None
    assert (done.result.gain_bpb, done.result.gain_ci_low, done.result.gain_ci_high) == (0.0, 0.0, 0.0)
    assert done.result.baseline_bpb == done.result.test_bpb
    assert done.detail == "no change was confirmed under fresh seeds: the gain is 0"


def test_study_parents_are_trained_once_and_test_is_touched_at_the_end_alone(tmp_path: Path) -> None:
    world = World()
    run_study(begin(tmp_path, a_study()), parts(Listed(*MIXED), world, tmp_path))
    assert len(world.trained) == len(set(world.trained))
    touched = [index for index, (_, _, splits) in enumerate(world.trained) if "test" in splits]
    n_final = 2 * (N_TEST + N_TRANSFER)
    assert touched == list(range(len(world.trained) - n_final, len(world.trained)))
    assert len({world.trained[index][1] for index in touched}) == N_TEST + N_TRANSFER, "under fresh seeds"
    seen = {seed for _, seed, splits in world.trained if "test" not in splits}
    assert not seen & {seed for _, seed, splits in world.trained if "test" in splits}


@pytest.mark.parametrize("n_times", [1, 3], ids=["once", "again and again"])
def test_study_a_final_training_that_the_machine_ended_is_never_kept(tmp_path: Path, n_times: int) -> None:
    ledger = begin(tmp_path, a_study())
    left = [n_times]

    def train(change: Change, seed: int, *, splits: Sequence[str]) -> Training:
        left[0] -= 1
        status = TrainingStatus.OUT_OF_MEMORY if left[0] >= 0 else TrainingStatus.OK
        return Training("key", seed, status, bpb={str(split): 2.5 for split in splits})

    once = FinalTestCache(train, ledger, identity)
    first = once(Change(), 1, splits=["test"])
    assert (first.status is TrainingStatus.OK) == (n_times == 1)
    assert once(Change(), 1, splits=["test"]).status is TrainingStatus.OK


def test_study_the_agent_sees_its_history_and_no_placebo(tmp_path: Path) -> None:
    agent = Listed(BAD, GOOD, BETTER)
    ledger = begin(tmp_path, a_study(12, placebo_share=0.5))
    run_study(ledger, parts(agent, World(), tmp_path))
    trials = ledger.trials()
    assert (len(trials), sum(trial.is_placebo for trial in trials)) == (18, 6)
    assert [len(ask.history) for ask in agent.asks] == list(range(12))
    assert [ask.n_left for ask in agent.asks] == list(range(12, 0, -1))
    assert not any(trial.is_placebo for trial in agent.asks[-1].history)
    assert set(agent.asks[-1].incumbent_bpb) == {"val"}, "select and test are not shown"


def test_study_placebos_draw_other_seeds_than_their_parents_and_are_rarely_kept(tmp_path: Path) -> None:
    ledger = begin(tmp_path, a_study(40, placebo_share=0.9))
    run_study(ledger, parts(Listed(GOOD), World(), tmp_path))
    placebos = [trial for trial in ledger.trials() if trial.is_placebo]
    assert len(placebos) == 36
    assert all(pair.parent.seed != pair.child.seed for trial in placebos for pair in trial.pairs)
    assert sum(trial.verdict is Verdict.ACCEPTED for trial in placebos) <= 3
    late = placebos[-1]
    assert late.parent == late.proposal.change == Change({"beta1": 0.8})


def test_study_a_wave_is_judged_against_one_parent_and_its_best_is_kept(tmp_path: Path) -> None:
    done, trials = ran(tmp_path, a_study(6, wave_size=4), GOOD, BETTER, GOOD, BAD, {"beta2": 0.99}, BAD)
    assert [trial.wave for trial in trials] == [0, 0, 0, 0, 1, 1]
    assert all(trial.parent == Change() for trial in trials[:4])
    assert [trial.verdict for trial in trials[:3]] == [
        Verdict.ACCEPTED, Verdict.ACCEPTED, Verdict.DUPLICATE,
    ]  # fmt: skip
    assert trials[2].detail is not None
    assert "slot 0" in trials[2].detail
    assert trials[4].parent.params == BETTER
    assert done.incumbent.params == BETTER


@pytest.mark.parametrize("wave_size", [1, 3])
def test_study_resume_from_any_point_reaches_the_same_end(tmp_path: Path, wave_size: int) -> None:
    of = a_study(placebo_share=0.2, wave_size=wave_size)
    whole, undisturbed = ran(tmp_path / "whole", of, *MIXED)
    dice = random.Random(wave_size)
    ledger = begin(tmp_path / "stopped", of)
    n_stops, n_asked, world = 0, 0, World()
    while True:
        world.stop_after = len(world.trained) + dice.randint(0, 9)
        agent = Listed(*MIXED)
        try:
            done = run_study(ledger, parts(agent, world, ledger.folder))
            break
        except StoppedError:
            n_stops += 1
        finally:
            n_asked += len(agent.asks)
    assert n_stops > 3
    assert without_times(ledger.trials()) == without_times(undisturbed)
    assert (done.result, done.incumbent) == (whole.result, whole.incumbent)
    assert n_asked == len({trial.wave for trial in undisturbed if not trial.is_placebo}), "asked once each"


def test_study_resume_after_an_outage(tmp_path: Path) -> None:
    ledger = begin(tmp_path, a_study())
    with pytest.raises(UnreachableError, match="nobody answers"):
        run_study(ledger, parts(Listed(*MIXED, unreachable_at=3), World(), tmp_path))
    assert len(ledger.trials()) == 3
    assert run_study(ledger, parts(Listed(*MIXED), World(), tmp_path)).status is StudyStatus.COMPLETE
    whole, undisturbed = ran(tmp_path / "whole", a_study(), *MIXED)
    assert without_times(ledger.trials()) == without_times(undisturbed)
    assert ledger.read_study().result == whole.result


def test_study_a_full_disk_is_an_error_of_ours_and_loses_nothing(tmp_path: Path) -> None:
    world = World(stop_after=9, fails_with=lambda: DiskFullError(str(tmp_path)))
    ledger = begin(tmp_path, a_study())
    with pytest.raises(DiskFullError):
        run_study(ledger, parts(Listed(*MIXED), world, tmp_path))
    n_trials = len(ledger.trials())
    assert n_trials > 0
    assert run_study(ledger, parts(Listed(*MIXED), World(), tmp_path)).status is StudyStatus.COMPLETE
    assert len(ledger.trials()) == len(MIXED)


def test_defaults_that_cannot_be_trained_end_the_study(tmp_path: Path) -> None:
    class Broken(World):
        def train(self, change: Change, seed: int, splits: Sequence[str]) -> Any:
            return super().train(Change({"matrix_lr": 0.1}), seed, splits)

    with pytest.raises(TrackerError, match=r"defaults of tier `smoke`.*it diverged"):
        run_study(begin(tmp_path, a_study()), parts(Listed(GOOD), Broken(), tmp_path))


def test_study_an_agent_that_answers_with_nothing_uses_up_its_trials(tmp_path: Path) -> None:
    class Silent(Listed):
        def propose(self, ask: Any) -> Any:
            return []

    ledger = begin(tmp_path, a_study(3, wave_size=2))
    run_study(ledger, parts(Silent(), World(), tmp_path))
    assert [(trial.verdict, trial.detail) for trial in ledger.trials()] == [
        (Verdict.INVALID, "the agent returned no proposal")
    ] * 3


def test_study_events_tell_of_each_trial_after_its_file_is_written(tmp_path: Path) -> None:
    events: list[StudyEvent] = []
    ledger = begin(tmp_path, a_study(3))
    run_study(ledger, parts(Listed(BAD, GOOD, BETTER), World(), tmp_path, events=events))
    told = [(event.slot, event.verdict, event.n_done) for event in events if event.event == "trial"]
    assert told[:2] == [(0, "rejected", 1), (1, "accepted", 2)]
    assert told == [(t.slot, t.verdict.value, t.slot + 1) for t in ledger.trials()]
    assert [event.event for event in events if event.event != "trial"] == [
        "baseline", "asking", "asking", "asking", "test", "transfer",
    ]  # fmt: skip


def test_study_placebos_come_on_top_at_places_that_follow_from_the_secret() -> None:
    slots = [StudySeeds(secret).placebo_slots(n_trials=30, share=0.1) for secret in secrets_of(20)]
    assert slots[0] == StudySeeds(secrets_of(1)[0]).placebo_slots(n_trials=30, share=0.1)
    assert len(set(slots)) > 15
    assert all(len(each) == 3 and min(each) > 0 and max(each) < 33 for each in slots)
    assert StudySeeds(SECRET).placebo_slots(n_trials=30, share=0.0) == frozenset()
    assert next_slots(0, k=2, n_slots=5, placebos={1}) == ((0, 2), (1,))
    assert next_slots(4, k=2, n_slots=5, placebos={4}) == ((), (4,))


def test_study_seeds_for_different_purposes_and_studies_have_nothing_in_common() -> None:
    found: list[int] = []
    for seeds in map(StudySeeds, secrets_of(10)):
        for place in range(5):
            found += [seeds.gate(place), seeds.test(place)]
            for slot in range(5):
                found += [seeds.confirmation(slot, place)]
                found += [seeds.placebo(phase, slot, place) for phase in ("gate", "confirmation")]
    assert len(found) == len(set(found)) == 10 * 5 * (2 + 5 * 3)
    assert all(0 <= seed < 2**31 for seed in found)


def test_study_an_agent_is_told_neither_seeds_nor_the_secret_nor_any_number_of_select(tmp_path: Path) -> None:
    agent = Listed(*MIXED)
    ledger = begin(tmp_path, a_study(placebo_share=0.2))
    run_study(ledger, parts(agent, World(), tmp_path))
    trainings = [
        training
        for trial in ledger.trials()
        for pair in (*trial.pairs, *trial.confirmation)
        for training in (pair.parent, pair.child)
    ]
    hidden = {SECRET.value, *(str(training.seed) for training in trainings)}
    hidden |= {str(training.bpb["select"]) for training in trainings if training.bpb}
    hidden |= {training.key for training in trainings}
    told = " ".join(dump_json(ask.history).decode() + dump_json(ask.study).decode() for ask in agent.asks)
    assert len(hidden) > 40
    assert [each for each in hidden if each in told] == []
    vals = {str(training.bpb["val"]) for training in trainings if training.bpb}
    assert any(each in told for each in vals), "`val` is shown"


def test_study_the_secret_is_written_down_at_the_end_and_repeats_the_study(tmp_path: Path) -> None:
    ledger = begin(tmp_path / "first", a_study())
    assert (ledger.read_study().secret, ledger.read_study().secret_hash) == (None, SECRET.hash)
    done = run_study(ledger, parts(Listed(*MIXED), World(), ledger.folder))
    assert done.secret == SECRET.value
    again, trials = ran(tmp_path / "again", a_study(), *MIXED)
    assert (again.result, without_times(trials)) == (done.result, without_times(ledger.trials()))
    ledger = begin(tmp_path / "other", a_study(), secret=secrets_of(1)[0])
    drawn = run_study(ledger, parts(Listed(*MIXED), World(), ledger.folder))
    assert drawn.result != done.result


def test_study_a_secret_that_is_lost_or_another_one_is_refused_and_read_by_its_owner_alone(
    tmp_path: Path,
) -> None:
    before = os.umask(0)
    try:
        ledger = begin(tmp_path, a_study())
    finally:
        os.umask(before)
    assert stat.S_IMODE(ledger.secret_path.stat().st_mode) == 0o600
    assert ledger.read_secret() == SECRET
    assert SECRET.value not in repr(SECRET)
    ledger.write_secret(secrets_of(1)[0])
    with pytest.raises(TrackerError, match=r"json` is not the .* of this study"):
        ledger.read_secret()
    ledger.secret_path.unlink()
    with pytest.raises(TrackerError, match=r"json` is missing"):
        ledger.read_secret()
    with pytest.raises(ValueError, match="does not belong"):
        replace(ledger.read_study(), secret="0" * 64)


def test_study_changes_that_train_the_same_are_the_same() -> None:
    assert identity(Change({"beta1": 0.9})) == identity(Change())
    assert Ledger(Path("nowhere")).wave(0) is None


class LeakingWorld(World):
    """A model that looks ahead by so little that one training does not show it."""

    def __init__(self, bonus_nats: float) -> None:
        super().__init__()
        self.bonus_nats = bonus_nats

    def train(self, change: Change, seed: int, splits: Sequence[str]) -> Training:
        rounding = np.random.default_rng(seed).normal(scale=1e-2, size=400)
        sums = favours_of((rounding + self.bonus_nats).tolist())
        assert favour_of(sums) is None, "it is not to be seen in one training"
        kept = dict(zip(FAVOURS_KEPT, (float(sums.n), sums.total, sums.squares), strict=True))
        return replace(super().train(change, seed, splits), evidence=kept)


@pytest.mark.parametrize(("bonus_nats", "verdict"), [(0.0, "accepted"), (1.2e-3, "caught")])
def test_study_a_small_leak_is_found_in_all_trainings_of_a_change_together(
    bonus_nats: float, verdict: str, tmp_path: Path
) -> None:
    world = LeakingWorld(bonus_nats)
    done = run_study(begin(tmp_path, a_study(1)), parts(Listed(GOOD), world, tmp_path))
    trial = Ledger(tmp_path).trials()[0]
    assert trial.verdict.value == verdict
    assert (done.incumbent == Change()) == (verdict == "caught")
    if verdict == "caught":
        assert (trial.reason, len(trial.confirmation)) == ("not_causal", 3)
        assert "over 6 trainings" in (trial.detail or "")
