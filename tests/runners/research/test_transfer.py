"""The final change at four times the size: how it is scaled, and that nothing there ends a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from runners.research.problem import script, space
from runners.research.problem.tiers import TIERS, Tier
from runners.research.seeds import StudySeeds
from runners.research.study import run_study
from runners.research.training.cache import BaselineError
from runners.research.training.pool import StoppedError, TrainingPool
from runners.research.transfer import (
    N_TRANSFER,
    NOTHING_KEPT,
    LargerSize,
    NotScalableError,
    grown_change,
    larger_tier,
    transferred,
)
from tests.builders.some_studies import pair, store_study, study
from tests.doubles.research_doubles import SECRET, Listed, World, begin, parts
from tracker.cli.research_output import print_study
from tracker.errors import DiskFullError
from tracker.records.studies import Change, Study, StudyStatus, Training, TrainingStatus, Transfer
from tracker.settings import Settings
from tracker.store import open_snapshot, rebuild

SMOKE = TIERS["smoke"]
SIZED = [name for name, task in TIERS.items() if not task.script]
GOOD = Change({"beta1": 0.8})
EDITED = script.shipped(SMOKE).replace("d_model: int = 32", "d_model: int = 48")


def size_of(tier: Tier, train: Callable[..., Training] | None = None) -> LargerSize:
    def nothing(change: Change, seed: int, *, splits: Sequence[str]) -> Training:
        raise AssertionError("nothing is trained")

    pool = TrainingPool(train or nothing, n_at_once=1, identity=repr)
    return LargerSize(tier, larger_tier(tier), pool)


@pytest.mark.parametrize("name", SIZED)
def test_transfer_every_tier_has_blocks_of_four_times_the_size_and_room_for_them(name: str) -> None:
    tier, larger = TIERS[name], larger_tier(TIERS[name])
    numbers, grown = (script.numbers(script.shipped(t)) for t in (tier, larger))
    assert {n: grown[n] / numbers[n] for n in numbers if grown[n] != numbers[n]} == {
        "d_model": 2,
        "n_head": 2,
    }
    before, after = space.n_params(numbers, tier), space.n_params(grown, larger)
    assert 2 < after / before <= 4
    assert after < larger.max_params
    assert larger.train_tokens == tier.train_tokens
    assert larger.limits.cpu_s > 4 * tier.limits.cpu_s
    assert space.validate({}, larger) == {}, "the defaults at that size lie in its space"
    assert larger.name != tier.name, "its trainings have other keys"


@pytest.mark.parametrize("name", SIZED)
def test_transfer_every_allowed_size_of_an_agent_is_allowed_at_the_larger_size(name: str) -> None:
    size = size_of(TIERS[name])
    least_heads = next(t for t in space.tunables(size.tier) if t.name == "n_head").choices[0]
    for tunable in space.tunables(size.tier):
        for choice in tunable.choices if tunable.name in ("d_model", "n_layer") else ():
            change = Change(space.validate({tunable.name: choice, "n_head": least_heads}, size.tier))
            grown = grown_change(change, size)
            space.validate(grown.params, size.larger)
            values = space.values(grown, size.larger)
            ratio = space.n_params(values, size.larger) / space.n_params(
                space.values(change, size.tier), size.tier
            )
            assert 2 < ratio <= 4


@pytest.mark.parametrize(
    ("change", "grown"),
    [
        (Change(), {}),
        (GOOD, {"beta1": 0.8}),
        (Change({"d_model": 48}), {"d_model": 96}),
        (Change({"n_layer": 2, "n_head": 4}), {"n_layer": 2, "n_head": 8}),
        (Change({}, EDITED), {"d_model": 96, "n_head": 4}),
        (Change({"d_model": 64}, EDITED), {"d_model": 128, "n_head": 4}),
    ],
    ids=["defaults", "no size", "width", "layers and heads", "script", "script and numbers"],
)
def test_transfer_a_change_keeps_its_numbers_and_doubles_its_width(
    change: Change, grown: dict[str, float]
) -> None:
    found = grown_change(change, size_of(SMOKE))
    assert (dict(found.params), found.script) == (grown, change.script)


@pytest.mark.parametrize(
    "edited",
    ["def (", "x = 1\n", script.shipped(SMOKE).replace("    d_model: int = 32\n", "")],
    ids=["no Python", "no numbers", "no width"],
)
def test_transfer_a_script_without_a_readable_size_is_said(edited: str) -> None:
    with pytest.raises(NotScalableError, match="no readable size"):
        grown_change(Change({}, edited), size_of(SMOKE))
    said = transferred(Change({}, edited), size_of(SMOKE), StudySeeds(SECRET))
    assert (said.gain_bpb, said.detail is not None) == (None, True)


def test_transfer_a_task_with_its_own_script_has_no_larger_size() -> None:
    with pytest.raises(NotScalableError, match="script of task `smoke` is not known"):
        larger_tier(replace(SMOKE, script=script.shipped(SMOKE)))
    assert transferred(GOOD, None, StudySeeds(SECRET)).detail == "the size of this task cannot be changed"


def test_transfer_a_study_tries_its_final_change_in_pairs_under_fresh_seeds(tmp_path: Path) -> None:
    done = run(tmp_path, {"beta1": 0.8})
    assert done.result is not None
    assert (found := done.result.transfer) is not None
    assert len(found.pairs) == N_TRANSFER
    assert found.gain_bpb == pytest.approx(0.1, abs=0.03)
    assert (found.gain_ci_low or 0.0) < found.gain_bpb < (found.gain_ci_high or 0.0)
    assert not {p.seed for p in found.pairs} & {p.seed for p in done.result.test_pairs}


@pytest.mark.parametrize("has_transfer", [True, False])
def test_transfer_of_nothing_trains_nothing(tmp_path: Path, has_transfer: bool) -> None:
    done = run(tmp_path, {"beta1": 0.95}, has_transfer=has_transfer)
    assert done.result is not None
    assert done.result.transfer == (Transfer(detail=NOTHING_KEPT) if has_transfer else None)


@pytest.mark.parametrize("status", ["out_of_memory", "timed_out", "crashed", "caught"])
@pytest.mark.parametrize("fails", ["the defaults", "the final change"])
def test_transfer_what_fails_there_is_said_and_ends_nothing(status: str, fails: str) -> None:
    def train(change: Change, seed: int, *, splits: Sequence[str]) -> Training:
        is_bad = (change == Change()) == (fails == "the defaults")
        now = TrainingStatus(status) if is_bad else TrainingStatus.OK
        bpb = {} if is_bad else dict.fromkeys(map(str, splits), 2.0)
        return Training("key", seed, now, detail="it was too large" if is_bad else None, bpb=bpb)

    found = transferred(GOOD, size_of(SMOKE, train), StudySeeds(SECRET))
    assert found.gain_bpb is None
    assert found.detail == f"{fails} cannot be trained at that size: it was too large"


def test_transfer_defaults_that_fail_beside_an_edited_script_end_nothing_and_a_full_disk_does() -> None:
    def train(change: Change, seed: int, *, splits: Sequence[str]) -> Training:
        raise error

    error: Exception = BaselineError("the defaults of tier `smoke-transfer` cannot be trained here: memory")
    found = transferred(GOOD, size_of(SMOKE, train), StudySeeds(SECRET))
    assert found.detail == str(error)
    error = DiskFullError("trainings")
    with pytest.raises(DiskFullError):
        transferred(GOOD, size_of(SMOKE, train), StudySeeds(SECRET))


def test_transfer_a_study_stopped_there_repeats_no_training(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", {"beta1": 0.8})
    ledger, world = begin(tmp_path / "stopped", a_study()), World()
    n_stops = 0
    while True:
        world.stop_after = len(world.trained) + 1
        try:
            done = run_study(ledger, parts(Listed({"beta1": 0.8}), world, ledger.folder))
            break
        except StoppedError:
            n_stops += 1
    assert n_stops > 2 * N_TRANSFER
    assert done.result == whole.result
    assert len(world.trained) == len(set(world.trained))


def test_transfer_is_stored_shown_and_rebuilt(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    found = Transfer(405_504, 409_600, 0.03, 0.01, 0.05, None, (pair(91, test=2.5),))
    of = study(1)
    assert of.result is not None
    for number, transfer in enumerate((found, Transfer(detail=NOTHING_KEPT), None), start=1):
        store_study(settings, study(number, result=replace(of.result, transfer=transfer)))
    for _ in range(2):
        with open_snapshot(settings) as snapshot:
            rows = {row["study_id"]: row for row in snapshot.query("studies")}
            phases = {row["phase"] for row in snapshot.query("trial_trainings", slot=-1)}
            (board,) = (r for r in snapshot.query("research_board") if r["transfer_gain_bpb"] is not None)
        assert phases == {"test", "transfer"}
        assert (board["study_id"], board["transfer_gain_bpb"]) == (study(1).study_id, 0.03)
        lines = []
        for number in (1, 2, 3):
            print_study(rows[study(number).study_id], [], [])
            lines.append(capsys.readouterr().out.splitlines()[-1])
        assert lines[0].startswith("at 4 times the size (405,504 parameters): gain +0.0300 bpb on test")
        assert lines[1] == f"at 4 times the size: {NOTHING_KEPT}"
        assert lines[2].startswith("gain 0.0800")
        settings.db_path.unlink()
        assert rebuild(settings).n_studies == 3


def a_study(*, has_transfer: bool = True) -> Study:
    return study(
        1, n_trials=1, status=StudyStatus.RUNNING, gain=None, tier="smoke", placebo_share=0.0,
        has_transfer=has_transfer,
    )  # fmt: skip


def run(folder: Path, change: dict[str, object], *, has_transfer: bool = True) -> Study:
    ledger = begin(folder, a_study(has_transfer=has_transfer))
    return run_study(ledger, parts(Listed(change), World(), folder))
