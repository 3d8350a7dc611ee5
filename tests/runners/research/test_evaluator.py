"""The trusted measure: what it computes, what it refuses, and the outcome of every training."""

from __future__ import annotations

import json
import math
import os
import random
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from runners.research.corpora.build import HELD_OUT, TRAIN, Corpus, corpus
from runners.research.evaluation import (
    cheat_checks,
    evaluator,
    logits_client,
    logits_server,
    seed_similarity,
)
from runners.research.evaluation.cheat_checks import (
    CARD_SLACK,
    CPU_SLACK,
    Finding,
    MeanLoss,
    TrainingCost,
)
from runners.research.evaluation.evaluator import EvaluationSpec
from runners.research.evaluation.logits_client import WeightStart
from runners.research.problem import script as scripts
from runners.research.problem.tiers import SMOKE, Tier
from runners.research.training import attempt
from runners.research.training import cache as training
from runners.sandbox import run as sandboxes
from runners.sandbox.run import EndStatus, Kind, Sandbox, SandboxedProcess, SandboxEnd, SandboxSpec
from tracker.records.studies import (
    Change,
    Split,
    Training,
    TrainingStatus,
)

OPEN = Sandbox(Kind.NONE)
# a tenth of the smoke tier: enough to see the outcome of a training
TINY = replace(SMOKE, train_tokens=SMOKE.train_tokens // 4, eval_tokens=1024)
MARKER = "# --- EDITABLE: end"
BOTH = (Split.VAL, Split.SELECT)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def text(home: Path) -> Corpus:
    return corpus(SMOKE.corpus, home)


def trained(
    change: Change, home: Path, *, sandbox: Sandbox = OPEN, tier: Tier = TINY, seed: int = 1
) -> Training:
    return training.cached(change, seed, tier, splits=BOTH, home=home, sandbox=sandbox)


def edited(old: str, new: str) -> Change:
    shipped = scripts.shipped(TINY)
    assert old in shipped
    return Change(script=shipped.replace(old, new))


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([0.0, 0.0, 0.0, 0.0], [-math.log(4)] * 4),
        ([1000.0, 0.0, 0.0, 0.0], [0.0, -1000.0, -1000.0, -1000.0]),
        ([5.0, 5.0, -np.inf, 5.0], [-math.log(3), -math.log(3), -np.inf, -math.log(3)]),
    ],
    ids=["even", "large", "impossible"],
)
def test_evaluator_probabilities_sum_to_one_whatever_the_logits(
    logits: list[float], expected: list[float]
) -> None:
    found = evaluator.log_probs(np.array([logits], dtype=np.float32))
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)
    assert np.exp(found).sum() == pytest.approx(1.0)


def test_evaluator_logits_that_are_no_numbers_do_not_become_a_score() -> None:
    assert not np.isfinite(evaluator.log_probs(np.array([[np.nan, 0.0]], dtype=np.float32))).any()


def test_evaluator_windows_are_the_same_for_every_model_and_cover_each_split(text: Corpus) -> None:
    exam = EvaluationSpec(SMOKE, text, ("val", "select"))
    windows = evaluator.held_out_windows(exam)
    again = evaluator.held_out_windows(exam)
    np.testing.assert_array_equal(windows.tokens, again.tokens)
    assert windows.tokens.shape == (2 * SMOKE.eval_tokens // SMOKE.context, SMOKE.context + 1)
    np.testing.assert_array_equal(windows.tokens[0], text.tokens("val")[: SMOKE.context + 1])


def test_evaluator_a_probe_is_a_window_up_to_its_place_and_other_text_after_it(text: Corpus) -> None:
    exam = EvaluationSpec(SMOKE, text, ("val",))
    windows = evaluator.held_out_windows(exam)
    probes = evaluator.drawn_probes(windows, exam, random.Random(0))
    places = {probe.n_same for probe in probes}
    assert len(places) > 10
    assert SMOKE.context in places
    for probe in probes:
        whole = windows.tokens[probe.window, : SMOKE.context]
        np.testing.assert_array_equal(probe.tokens[: probe.n_same], whole[: probe.n_same])


def test_evaluator_each_training_gets_its_own_sequences_and_no_others(text: Corpus, tmp_path: Path) -> None:
    found = []
    for seed in (1, 1, 2):
        attempt.write_sequences(text, SMOKE, seed, tmp_path / "data.bin")
        found.append(np.fromfile(tmp_path / "data.bin", dtype=np.uint8).reshape(-1, SMOKE.context + 1))
    assert found[0].shape[0] * SMOKE.context == SMOKE.train_tokens
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()
    stream = text.tokens(TRAIN).tobytes()
    assert all(row.tobytes() in stream for row in found[0][:20])
    held_out = b"".join(text.tokens(split).tobytes() for split in HELD_OUT)
    assert not any(row.tobytes() in held_out for row in found[0][:20])


@pytest.mark.parametrize(
    ("held_out", "control", "expected"),
    [
        (1.45, 1.40, None),
        (1.38, 1.40, None),
        (1.36, 1.40, "not_what_was_trained"),
        (1.15, 1.40, "not_what_was_trained"),
        (0.66, 0.65, None),
        (float("nan"), 1.4, None),
    ],
    ids=[
        "as shipped",
        "a little easier",
        "in part known",
        "known beforehand",
        "far better on both",
        "diverged",
    ],
)
def test_evaluator_scored_text_is_no_easier_than_other_held_out_text_allows(
    held_out: float, control: float, expected: str | None
) -> None:
    found = cheat_checks.beyond_finding(
        MeanLoss(held_out, 0.01), MeanLoss(control, 0.01), shipped_held_out=1.5, shipped_control=1.45
    )
    assert (found and found.reason) == expected
    assert not (found and found.is_proof), "not plausible, but no proof"


def test_evaluator_noise_of_few_windows_is_no_knowledge() -> None:
    few = [
        cheat_checks.beyond_finding(
            MeanLoss(1.2, stderr), MeanLoss(1.4, stderr), shipped_held_out=1.5, shipped_control=1.5
        )
        for stderr in (0.005, 0.1)
    ]
    assert [each is not None for each in few] == [True, False]


@pytest.mark.parametrize(
    ("nats", "expected"),
    [(3.555, None), (4.9, None), (2.9, None), (2.4, "knows_before_training"), (math.nan, None)],
    ids=["guess", "large first logits", "frequencies of symbols", "trained weights", "no number"],
)
def test_evaluator_an_untrained_model_knows_no_text(nats: float, expected: str | None) -> None:
    found = cheat_checks.untrained_finding(MeanLoss(nats), vocab_size=35)
    assert (found and found.reason) == expected


SHIPPED = TrainingCost(
    0.1, 8.0, 2.5, {"val": 2.6}, prepare_s=0.1
)  # of the tier `cpu-2026-11`, in CPU seconds


@pytest.mark.parametrize(
    ("spent", "expected"),
    [
        (SHIPPED, None),
        (replace(SHIPPED, steps_s=11.9), None),
        (replace(SHIPPED, steps_s=16.0), "training"),
        (replace(SHIPPED, steps_s=4.0), None),
        (replace(SHIPPED, head_s=6.0), "training, 5.9 s of it before"),
        (replace(SHIPPED, prepare_s=6.0), "training, 5.9 s of it before"),
        (replace(SHIPPED, steps_s=10.0, head_s=2.0, prepare_s=2.0), "13.8 s of compute in training, 3.8 s"),
        (replace(SHIPPED, steps_s=9.0, head_s=0.5, prepare_s=0.5), None),
        (replace(SHIPPED, eval_s=9.5), "evaluation"),
    ],
    ids=[
        "as shipped",
        "a heavier block",
        "each step twice",
        "a tiny model",
        "work beforehand",
        "work before it answers",
        "some of each",
        "a slower start",
        "a long evaluation",
    ],
)
def test_evaluator_computing_must_be_that_of_the_tokens(spent: TrainingCost, expected: str | None) -> None:
    found = cheat_checks.cost_finding(spent, SHIPPED, CPU_SLACK)
    assert (found is None) == (expected is None)
    assert (expected or "") in (found.detail if found else "")
    assert not (found and found.is_proof), "a budget that is passed is no cheat"


def test_evaluator_on_a_card_importing_the_compiler_is_not_work() -> None:
    """`torch.optim` imports it: some two seconds, which the shipped script does not pay."""
    spent = replace(SHIPPED, head_s=64.0)
    assert cheat_checks.cost_finding(spent, SHIPPED, CARD_SLACK) is not None
    assert cheat_checks.cost_finding(spent, SHIPPED, CARD_SLACK, import_s=2.5) is None


@pytest.mark.parametrize(
    ("head_s", "steps_s", "eval_s", "expected"),
    [
        (27.0, 3.5, 4.0, None),
        (36.0, 3.6, 10.6, None),
        (90.0, 6.0, 4.0, None),
        (27.0, 9.5, 4.0, "training"),
        (150.0, 3.5, 4.0, "starting"),
        (27.0, 3.5, 40.0, "evaluation"),
    ],
    ids=[
        "as shipped",
        "a slow start",
        "more to compile",
        "twice the steps",
        "no end of it",
        "a long evaluation",
    ],
)
def test_evaluator_on_a_card_the_clock_is_held_to_the_same_rule(
    head_s: float, steps_s: float, eval_s: float, expected: str | None
) -> None:
    """Seconds of a third of `gpu-small` on an H200, which varied by five from one start to the next."""
    shipped = TrainingCost(27.0, 3.5, 4.0, {})
    found = cheat_checks.cost_finding(TrainingCost(head_s, steps_s, eval_s, {}), shipped, CARD_SLACK)
    assert (found is None) == (expected is None)
    assert (expected or "") in (found.detail if found else "")


def test_evaluator_a_gain_that_no_training_brings_is_refused() -> None:
    found = cheat_checks.cost_finding(replace(SHIPPED, bpb={"val": 1.0}), SHIPPED, CPU_SLACK)
    assert found
    assert found.reason == "too_good"


def test_evaluator_a_bonus_below_the_tolerance_shows_in_the_mean_and_rounding_does_not() -> None:
    rounding = np.random.default_rng(0).normal(scale=1e-5, size=(2000, 100))
    assert all(favour(row) is None for row in rounding)
    assert favour(rounding[0] + 9e-5) == pytest.approx(9e-5, rel=0.1)
    on_a_card = np.random.default_rng(1).normal(scale=1e-2, size=130)
    assert favour(on_a_card) is None
    assert favour(on_a_card + 8e-3) is not None
    assert favour(np.zeros(50)) is None
    assert favour(np.zeros(0)) is None


def favour(differences: np.ndarray) -> float | None:
    return evaluator.favour_of(evaluator.favours_of(differences.tolist()))


def told(differences: np.ndarray) -> dict[str, float]:
    sums = evaluator.favours_of(differences.tolist())
    return dict(zip(evaluator.FAVOURS_KEPT, (float(sums.n), sums.total, sums.squares), strict=True))


def test_evaluator_a_leak_too_small_for_each_kept_change_adds_up_over_them() -> None:
    draw = np.random.default_rng(3)
    leaky = [[told(draw.normal(3e-5, 4e-4, size=200)) for _ in range(6)] for _ in range(7)]
    assert all(evaluator.pooled_finding(each) is None for each in leaky)
    found = evaluator.pooled_finding(leaky[0], leaky[1:])
    assert found
    assert (found.reason, found.is_proof) == ("not_causal", True)
    assert "over 42 trainings" in found.detail
    honest = [told(draw.normal(0.0, 4e-4, size=200)) for _ in range(6)]
    assert evaluator.pooled_finding(honest, leaky[:2]) is None  # what it builds on is none of its own
    assert evaluator.pooled_finding([], leaky) is None  # numbers alone are not asked twice


def test_evaluator_the_test_over_kept_changes_is_wrong_no_more_often_than_one() -> None:
    spent = sum(evaluator.FAVOUR_ALPHA / (k * (k + 1)) for k in range(1, 1000))
    assert spent < evaluator.FAVOUR_ALPHA


DRAWN = tuple(WeightStart(name, 4096, 0.01) for name in ("a", "b", "c"))
N_SHIPPED = 3 * 4096


def weights(seed: int, text: int, *, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Of a model that was begun under `seed` and trained on `text`."""
    begun, seen = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(text)
    first = {each.name: torch.randn(64, 64, generator=begun) for each in DRAWN}
    return {name: (w + torch.randn(64, 64, generator=seen)).to(dtype) for name, w in first.items()}


def likeness(folder: Path, state: dict[str, torch.Tensor], seed: int) -> Finding | None:
    folder.mkdir(exist_ok=True)
    torch.save({"config": {}, "state": state}, folder / "checkpoint.pt")
    starts = tuple(replace(DRAWN[0], name=name, n_numbers=w.numel()) for name, w in state.items())
    return seed_similarity.likeness_finding(
        folder / "checkpoint.pt", folder / "sketches", seed=seed, starts=starts, n_shipped=N_SHIPPED
    )


def decoys(seed: int, n: int, size: int) -> dict[str, torch.Tensor]:
    drawn = torch.Generator().manual_seed(seed)
    return {f"decoy{i}": torch.randn(size, generator=drawn) for i in range(n)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "more", [(0, 0), (100, 300), (8, 30_000)], ids=["alone", "many decoys", "large decoys"]
)
def test_evaluator_trainings_that_began_alike_are_reported_by_their_weights(
    dtype: torch.dtype, more: tuple[int, int], tmp_path: Path
) -> None:
    honest = [likeness(tmp_path / "h", weights(n, n, dtype=dtype) | decoys(n, *more), n) for n in (1, 2, 3)]
    assert honest == [None, None, None]
    first, second = (
        likeness(tmp_path / "c", weights(20, n, dtype=dtype) | decoys(n, *more), n) for n in (1, 2)
    )
    assert first is None
    assert second
    assert second.reason == "seed"
    assert likeness(tmp_path / "c", weights(20, 1) | decoys(1, *more), 1) is not None
    assert likeness(tmp_path / "h", weights(1, 1, dtype=dtype), 1) is None, "one seed may give equal weights"


def test_evaluator_an_infinity_in_a_weight_does_not_take_it_out_of_the_comparison(tmp_path: Path) -> None:
    for seed in (7, 8):
        state = weights(1, seed)  # begun at one point
        for weight in state.values():
            weight.view(-1)[0] = math.inf
        torch.save({"state": state}, tmp_path / f"{seed}.pt")
        found = seed_similarity.likeness_finding(
            tmp_path / f"{seed}.pt", tmp_path / "kept", seed=seed, starts=DRAWN, n_shipped=N_SHIPPED
        )
    assert found
    assert found.reason == "seed"


def test_evaluator_small_weights_that_began_alike_are_compared_together(tmp_path: Path) -> None:
    def cut(seed: int, text: int) -> dict[str, torch.Tensor]:
        found = weights(seed, text)
        return {f"{name}{i}": row for name, w in found.items() for i, row in enumerate(w.view(-1, 64))}

    assert [likeness(tmp_path / "h", cut(n, n), n) for n in (1, 2)] == [None, None]
    assert [likeness(tmp_path / "c", cut(20, n), n) is not None for n in (1, 2)] == [False, True]


def test_evaluator_a_table_that_begins_at_zero_may_end_alike_under_every_seed(tmp_path: Path) -> None:
    found = [tables_found(tmp_path, [*DRAWN, WeightStart("table", 16384, None)], seed) for seed in (1, 2)]
    assert found == [None, None]


def test_evaluator_a_weight_that_nobody_spoke_of_may_not_end_alike(tmp_path: Path) -> None:
    for size in (16384, 99):
        folder = tmp_path / str(size)
        starts = [*DRAWN, WeightStart("table", size, None)] if size == 99 else DRAWN
        found = [tables_found(folder, starts, seed) for seed in (1, 2)]
        assert [each and each.reason for each in found] == [None, "seed"]


def test_evaluator_what_is_said_to_be_drawn_is_in_the_checkpoint(tmp_path: Path) -> None:
    elsewhere = [WeightStart(f"other.{each.name}", each.n_numbers, 0.01) for each in DRAWN]
    found = tables_found(tmp_path, elsewhere, 1)
    assert found
    assert "only 0 numbers of the checkpoint" in found.detail


def tables_found(folder: Path, starts: Sequence[WeightStart], seed: int) -> Finding | None:
    """The finding on a model of three weights and a table that is the same under each seed."""
    folder.mkdir(exist_ok=True)
    table = {"table": torch.randn(128, 128, generator=torch.Generator().manual_seed(1))}
    torch.save({"config": {}, "state": weights(seed, seed) | table}, folder / "checkpoint.pt")
    return seed_similarity.likeness_finding(
        folder / "checkpoint.pt", folder / "kept", seed=seed, starts=starts, n_shipped=N_SHIPPED
    )


def test_evaluator_what_is_no_checkpoint_has_no_weights_to_compare(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"PK\x03\x04" + bytes(200))
    assert seed_similarity.sketch(tmp_path / "noise", DRAWN) == {}


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        (DRAWN, None),
        ([*DRAWN[:2], WeightStart("c", 4096, 1.0)], None),
        ([*DRAWN, WeightStart("d", 10**6, None)], None),
        ([DRAWN[0], WeightStart("b", 4096, 1.0), WeightStart("c", 4096, 0.9)], "alike"),
        ([*DRAWN, WeightStart("b", 6000, 1.0), WeightStart("decoy", 10**6, 0.0)], None),
        ([*DRAWN, WeightStart("b", 7000, 1.0), WeightStart("decoy", 10**6, 0.0)], "alike"),
        ([WeightStart(f"w{i}", 128, 1.0) for i in range(90)], "only 0"),
        ([], "only 0"),
        ([WeightStart("a", 10**6, math.nan)], "alike"),
    ],
    ids=[
        "drawn",
        "one fixed",
        "zeros",
        "most fixed",
        "fixed table",
        "outvoted",
        "cut small",
        "constants",
        "no number",
    ],
)
def test_evaluator_weights_must_depend_on_the_seed(
    starts: Sequence[WeightStart], expected: str | None
) -> None:
    found = cheat_checks.start_finding(starts, n_shipped=N_SHIPPED)
    assert (found is None) == (expected is None)
    if found is not None:
        assert (found.reason, found.is_proof) == ("seed", False)
        assert (expected or "") in found.detail


def test_evaluator_equal_seeds_give_equal_scores_and_another_seed_another_one(home: Path) -> None:
    first = training.train(Change(), 1, TINY, splits=BOTH, home=home, sandbox=OPEN)
    again = training.train(Change(), 1, TINY, splits=BOTH, home=home, sandbox=OPEN)
    other = trained(Change(), home, seed=2)
    assert first.status is TrainingStatus.OK, first.detail
    assert (first.bpb, first.curve, first.key) == (again.bpb, again.curve, again.key)
    assert first.evidence["held_out_nats"] > 1.0
    assert first.evidence["control_nats"] == pytest.approx(first.evidence["held_out_nats"], abs=0.3)
    assert first.bpb != other.bpb
    assert (first.n_tokens, set(first.bpb)) == (TINY.train_tokens, set(BOTH))
    assert list((home / "trainings" / "work").iterdir()) == []


def test_evaluator_what_is_known_is_not_trained_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = trained(Change(), home)
    same = trained(Change({"beta1": 0.9}), home)  # the default, written out
    assert same.key == known.key
    assert (home / "trainings" / f"{known.key}.json").is_file()
    assert trained(Change(), home) == same


def test_evaluator_the_score_on_test_is_never_kept(home: Path) -> None:
    found = training.train(Change(), 1, TINY, splits=[Split.TEST], home=home, sandbox=OPEN)
    assert Split.TEST in found.bpb
    kept = json.loads((home / "trainings" / f"{found.key}.json").read_text())
    assert set(kept["bpb"]) == set(BOTH)


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        (
            Change({"matrix_lr": 1e20, "warmup_fraction": 0.0, "grad_clip": 0.0}),
            TrainingStatus.DIVERGED,
            "not_finite",
        ),
        (Change({"n_head": 3}), TrainingStatus.CRASHED, "crashed"),
        (edited("def rms_norm", "1 / 0\n\n\ndef rms_norm"), TrainingStatus.CRASHED, "crashed"),
        (edited("def rms_norm", "raise MemoryError\n\n\ndef rms_norm"), TrainingStatus.CRASHED, "crashed"),
        (edited("class Job", "class Jobs"), TrainingStatus.CAUGHT, "frozen_region"),
        (Change(script="print('nothing')"), TrainingStatus.CAUGHT, "frozen_region"),
        (
            edited("def rms_norm", f"A = {secrets.token_hex(9000)!r}\n\n\ndef rms_norm"),
            TrainingStatus.REFUSED,
            "script_too_large",
        ),
        (
            edited("def rms_norm", f"A = 0{'+ 1' * 50_000}\n\n\ndef rms_norm"),
            TrainingStatus.REFUSED,
            "script_too_large",
        ),
    ],
    ids=["diverges", "bad shape", "raises", "raises at once", "frozen", "another script", "carries", "deep"],
)
def test_evaluator_what_a_change_does_wrong_is_its_record(
    change: Change, status: TrainingStatus, reason: str, home: Path
) -> None:
    found = trained(change, home)
    assert (found.status, found.reason, dict(found.bpb)) == (status, reason, {})
    assert found.detail


def test_evaluator_a_verdict_of_cheating_is_never_kept(home: Path) -> None:
    found = trained(edited("class Job", "class Jobs"), home)
    assert found.status is TrainingStatus.CAUGHT
    assert not (home / "trainings" / f"{found.key}.json").exists()


def test_evaluator_a_training_that_never_ends_times_out(home: Path) -> None:
    hasty = replace(TINY, limits=replace(TINY.limits, wall_s=3.0))
    change = edited("def rms_norm", "time.sleep(600)\n\n\ndef rms_norm")
    found = trained(change, home, tier=hasty)
    assert (found.status, found.reason) == (TrainingStatus.TIMED_OUT, "time_limit")
    assert not (home / "trainings" / f"{found.key}.json").exists()


def test_evaluator_work_of_a_killed_process_is_cleared_away(home: Path) -> None:
    base = home / "trainings" / "work"
    base.mkdir(parents=True, exist_ok=True)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (base / f"{dead.pid}-1700000000-00ff00ff" / "out").mkdir(parents=True)
    with training.work_folder(home / "trainings") as work:
        assert [path.name for path in base.iterdir()] == [work.name]
    assert list(base.iterdir()) == []


def test_evaluator_only_plain_files_of_the_output_are_read(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    assert attempt.read_plain(tmp_path / "plain", 3) == b"1234"
    assert [attempt.read_plain(tmp_path / name, 9) for name in ("link", "pipe", "folder", "absent")] == [
        None
    ] * 4


def test_evaluator_a_report_or_a_curve_that_is_no_such_thing_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(
        '{"tokens_per_s": 5.0, "mfu": "much", "n": NaN, "deep": ' + "[" * 10**5
    )
    (tmp_path / "curve.jsonl").write_text(
        '[1, 2.5]\n[2]\n"x"\n[3, NaN]\n[4, 1e999]\n' + "[" * 10**5 + "\n[5, 2.0]\n"
    )
    assert attempt.read_report(tmp_path) == {}
    assert attempt.read_curve(tmp_path) == ((1, 2.5), (5, 2.0))


def test_evaluator_a_curve_holds_no_more_points_and_no_larger_numbers_than_can_be_stored(
    tmp_path: Path,
) -> None:
    lines = [f"[{10**400}, 1.0]", "[-5, 1.0]", *(f"[{n}, 2.0]" for n in range(3000)), f"[{10**30}, 1.0]"]
    (tmp_path / "curve.jsonl").write_text("\n".join(lines))
    found = attempt.read_curve(tmp_path)
    assert len(found) == attempt.MAX_CURVE_POINTS
    assert all(0 <= n < 3000 for n, _ in found)


def test_evaluator_words_of_a_script_obey_no_terminal_and_can_be_stored() -> None:
    why = attempt.TrainingRefusedError(TrainingStatus.CRASHED, "crashed", "\x1b[2J\ud800\u202eé\tx\ny")
    assert why.detail == "?[2J??é\tx\ny"


def test_evaluator_what_a_crash_tells_of_a_generated_text_holds_under_its_seed_alone(home: Path) -> None:
    tell = "raise RuntimeError(bytes(micro_batches[0].flatten().tolist()).hex())\n        "
    change = edited("n_sequences = sum(len(tokens)", f"{tell}n_sequences = sum(len(tokens)")
    said = [trained(change, home, seed=seed).detail or "" for seed in (1, 1, 2)]
    assert said[0] == said[1]
    first, second = (
        {told[at : at + 8] for at in range(20, 480, 2)} for told in said[1:]
    )  # runs of four symbols
    assert len(first) > 100
    assert len(first & second) < 0.02 * len(first)


def test_evaluator_a_crash_is_told_by_its_exception_and_not_by_what_stands_behind() -> None:
    said = 'Traceback:\n  File "x"\ntorch._inductor.exc.InductorError: no compiler\n\nSet X=1 for a trace\n'
    end = SandboxEnd(EndStatus.ENDED, 1, "", said, 1.0, 1.0, 0)
    assert attempt._sentence(end) == "torch._inductor.exc.InductorError: no compiler"
    assert attempt._sentence(replace(end, stderr_tail="a\nthe last words\n")) == "the last words"


@pytest.mark.parametrize(
    ("start", "is_start"),
    [
        (("a", 9, 0.5), True),
        (("a", 9, None), True),
        (("a", 10**400, 0.5), False),
        (("a", -1, 0.5), False),
        (("a", 9, math.nan), False),
        ((["a"], 9, 0.5), False),
    ],
)
def test_evaluator_what_a_process_tells_of_a_weight_is_a_weight_or_refused(
    start: tuple[object, object, object], is_start: bool
) -> None:
    if is_start:
        assert logits_client.weight_start(*start) == WeightStart(*start)  # type: ignore[arg-type]
    else:
        with pytest.raises(ValueError, match=r"weight|`a`"):
            logits_client.weight_start(*start)


EVERYWHERE, RARELY, NOWHERE = [0.1] * 400, [0.0] * 398 + [8.0, 8.0], [0.0] * 400
SETTLED = np.random.default_rng(0).normal(scale=0.1, size=400).tolist()  # nats; without a direction
GAINING = [each + 0.1 for each in SETTLED]


@pytest.mark.parametrize(
    ("whole", "altered", "expected"),
    [
        ((NOWHERE, NOWHERE), (NOWHERE, NOWHERE), None),
        ((EVERYWHERE, SETTLED), (EVERYWHERE, SETTLED), ("not_repeatable", False)),
        ((NOWHERE, NOWHERE), (EVERYWHERE, SETTLED), ("not_causal", False)),
        ((EVERYWHERE, GAINING), (EVERYWHERE, SETTLED), ("not_repeatable", True)),
        ((EVERYWHERE, SETTLED), (EVERYWHERE, GAINING), ("not_repeatable", True)),
        ((NOWHERE, NOWHERE), (EVERYWHERE, GAINING), ("not_causal", True)),
        ((NOWHERE, NOWHERE), (RARELY, RARELY), ("not_causal", True)),
    ],
    ids=[
        "equal",
        "over the batch",
        "over time",
        "learns",
        "looks ahead now and then",
        "looks ahead",
        "looks ahead rarely",
    ],
)
def test_evaluator_answers_that_differ_are_proof_only_where_they_gain_by_it(
    whole: tuple[list[float], list[float]],
    altered: tuple[list[float], list[float]],
    expected: tuple[str, bool] | None,
) -> None:
    apart = {True: whole[0], False: altered[0]}
    sums = {True: evaluator.favours_of(whole[1]), False: evaluator.favours_of(altered[1])}
    found = evaluator.differing_finding(apart, sums, tolerance=1e-4)
    assert (found and (found.reason, found.is_proof)) == expected
    assert found is None or ("earlier tokens of its own window" in found.detail) == (not found.is_proof)


@pytest.mark.sandbox
def test_evaluator_an_honest_edit_passes_every_check_and_scores_as_its_numbers_do(home: Path) -> None:
    sandbox = sandboxes.find()
    plain = trained(Change(), home, sandbox=sandbox)
    same = trained(edited("def rms_norm", "# nothing\n\n\ndef rms_norm"), home, sandbox=sandbox)
    gelu = trained(edited("F.relu(self.up(x)).square()", "F.gelu(self.up(x))"), home, sandbox=sandbox)
    assert (same.status, same.bpb) == (TrainingStatus.OK, plain.bpb), same.detail
    assert gelu.status is TrainingStatus.OK, gelu.detail
    assert gelu.bpb != plain.bpb


OF_AN_AGENT = "# nobody has read this\n"


class CountedSandbox(Sandbox):
    """A sandbox that counts at each start of an agent's program how many of them still run."""

    started: ClassVar[list[SandboxedProcess]] = []
    n_at_work: ClassVar[list[int]] = []

    def start(
        self, argv: Sequence[str], spec: SandboxSpec, *, with_pipes: bool = False, reads_stdout: bool = False
    ) -> SandboxedProcess:
        if OF_AN_AGENT not in spec.read_only["script.py"].read_text():
            return super().start(argv, spec, with_pipes=with_pipes, reads_stdout=reads_stdout)
        self.n_at_work.append(sum(one.process.poll() is None for one in self.started))
        self.started.append(super().start(argv, spec, with_pipes=with_pipes, reads_stdout=reads_stdout))
        return self.started[-1]


@pytest.mark.sandbox
@pytest.mark.parametrize("seeds", [(1,), (2, 3)], ids=["both its evaluators", "two trainings of it"])
def test_evaluator_no_two_programs_of_an_agent_run_at_once(seeds: tuple[int, ...], home: Path) -> None:
    found = sandboxes.find()
    box = CountedSandbox(found.kind, found.variant)
    box.n_at_work.clear()
    change = edited(MARKER, OF_AN_AGENT + MARKER)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda seed: trained(change, home, sandbox=box, seed=seed), seeds))
    assert [(each.status, each.detail) for each in done] == [(TrainingStatus.OK, None)] * len(seeds)
    assert len(box.n_at_work) >= 3 * len(seeds)  # a training and two processes that answer
    assert box.n_at_work == [0] * len(box.n_at_work)


@pytest.mark.sandbox
def test_evaluator_the_sandbox_changes_no_number(home: Path, tmp_path: Path) -> None:
    inside = training.train(Change(), 3, TINY, splits=BOTH, home=home, sandbox=sandboxes.find())
    outside = training.train(Change(), 3, TINY, splits=BOTH, home=home, sandbox=OPEN)
    assert inside.bpb == outside.bpb


def test_evaluator_the_server_of_logits_is_a_file_that_stands_alone() -> None:
    source = Path(logits_server.__file__).read_text()
    assert "from runners" not in source
    assert "from tracker" not in source
    assert shutil.which(sys.executable)
