"""Every scripted cheat against the real training, sandbox and evaluator: none may pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners.research.attacks.canaries import SUCCEEDED
from runners.research.attacks.near_limits import near_limits
from runners.research.attacks.run import (
    CAUGHT,
    MARGIN_BPB,
    MARGINS_BPB,
    PASSED,
    SEED,
    AttackOutcome,
    attack_names,
    attack_script,
    description,
    frequent_runs,
    judged,
    run_attacks,
    run_near_limits,
)
from runners.research.corpora.build import corpus, training_corpus
from runners.research.evaluation import evaluator
from runners.research.evaluation.script_content import content_finding
from runners.research.judgement import judge_script
from runners.research.problem.script import regions, shipped
from runners.research.problem.tiers import SMOKE, TIERS
from runners.sandbox import run as sandboxes
from tracker.records.studies import Training, TrainingStatus

# what names the check that must find the cheat, or one of several where the speed of the machine decides
# which limit is met first; the others score no better, or are refused by the sandbox
FOUND_BY: dict[str, str | tuple[str, ...]] = {
    "batch_statistics": "not_repeatable",
    "deep_index": ("unreadable_checkpoint", "no_answer"),
    "fixed_seed": "seed",
    "fixed_seed_in_training": "seed",
    "fixed_seed_late": "seed",
    "frozen_region": "frozen_region",
    "hidden_computing": "not permitted",
    "huge_first_step": ("too_much_computing", "time_limit"),
    "infinite_weights": "end like those of another seed",
    "kernel_computing": "the kernel does nothing",
    "large_checkpoint": "checkpoint_too_large",
    "large_table": "too_many_parameters",
    "learn_from_questions": "not_repeatable",
    "link": "link_in_output",
    "lying_beginning": "seed",
    "lying_protocol": "no_answer",
    "long_script": "script_too_large",
    "many_files": "disk_limit",
    "many_steps": "too_much_computing",
    "never_ends": "time_limit",
    "odd_tensor": "not_",
    "peek": "not_causal",
    "peek_a_little": "not_causal",
    "peek_at_evaluation": "not_causal",
    "peek_in_large_batches": "not_repeatable",
    "peek_later": "not_repeatable",
    "pickle_bomb": "unsafe_checkpoint",
    "plausible_only": "not_causal",
    "pretrain_before_text": "too_much_computing",
    "random_answers": "not_repeatable",
    "shape_told_lookahead": "not_",
    "slow_answers": "too_much_computing",
    "short_lived_children": "not permitted",
    "tamper_save": "unreadable_checkpoint",
    "tell_what_is_asked": "ended during evaluation",
    "train_before_answering": "too_much_computing",
    "train_before_the_clock": "too_much_computing",
    "two_directories": "unreadable_checkpoint",
    "train_while_evaluated": ("too_much_computing", "evaluation_time"),
}
HONEST = Training("k", 1, TrainingStatus.OK, bpb={"val": 2.0, "select": 2.0})


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, AttackOutcome]:
    home = tmp_path_factory.mktemp("home")
    return {outcome.name: outcome for outcome in run_attacks(home, sandboxes.find(), SMOKE)}


@pytest.mark.sandbox
@pytest.mark.timeout(2400)  # the first one waits for all of them, ten minutes on two cores with other work
@pytest.mark.parametrize("name", attack_names())
def test_attacks_a_cheat_does_not_pass(name: str, outcomes: dict[str, AttackOutcome]) -> None:
    outcome = outcomes[name]
    assert outcome.outcome == CAUGHT, outcome.how
    expected = FOUND_BY.get(name, "")
    assert any(check in outcome.how for check in ([expected] if isinstance(expected, str) else expected))


def test_attacks_every_cheat_says_what_it_tries_and_is_a_script() -> None:
    assert len(attack_names()) >= 12
    assert FOUND_BY.keys() <= set(attack_names())
    for name in attack_names():
        assert description(name).endswith("."), name
        compile(attack_script(name, SMOKE, {}), name, "exec")


@pytest.mark.parametrize(
    ("training", "trace", "expected"),
    [
        (HONEST, None, CAUGHT),
        (HONEST, "it wrote outside its folder", PASSED),
        (Training("k", 1, TrainingStatus.OK, bpb={"val": 2.0, "select": 2.0 - 2 * MARGIN_BPB}), None, PASSED),
        (Training("k", 1, TrainingStatus.CRASHED, detail=f"{SUCCEEDED} read val.bin"), None, PASSED),
        (Training("k", 1, TrainingStatus.CAUGHT, reason="not_causal"), None, CAUGHT),
    ],
    ids=["no gain", "a trace", "a better score", "says so", "refused"],
)
def test_attacks_a_cheat_passes_by_its_score_or_by_what_it_reaches(
    training: Training, trace: str | None, expected: str
) -> None:
    assert judged("cheat", training, HONEST, trace).outcome == expected


def test_attacks_near_limits_are_scripts_on_each_side_of_every_limit_of_every_tier() -> None:
    for tier in TIERS.values():
        cut = regions(shipped(tier))
        found = near_limits(tier)
        assert len({each.name for each in found}) == len(found)
        for kind in {each.name.partition("-")[0] for each in found}:
            assert {each.is_above for each in found if each.name.startswith(kind)} == {True, False}, kind
        for each in found:
            compile(each.code, each.name, "exec")
            text = f"{cut.head}{cut.editable}\n{each.code}\n\n{cut.tail}"
            refused = content_finding(text, shipped(tier)) is not None
            assert refused == (each.is_above and each.name.startswith("carried_data")), each.name


@pytest.mark.sandbox
@pytest.mark.timeout(900)
def test_attacks_words_of_a_text_are_worth_much_under_its_own_seed_and_nothing_under_another(
    tmp_path: Path,
) -> None:
    text, box = corpus(SMOKE.corpus, tmp_path), sandboxes.find()
    found = []
    for seed in (SEED, SEED + 1):
        runs = frequent_runs(training_corpus(text, seed))
        script = attack_script("carried_words", SMOKE, {"@RUNS@": runs})
        found += judge_script(script, [SEED], SMOKE, home=tmp_path, sandbox=box)
    own, other = (each.gain_val for each in found)
    assert own is not None, found
    assert own > 0.3
    assert other is not None, found
    assert abs(other) < MARGINS_BPB["carried_words"]


HELD_OUT_CARRIED = """
KNOWN, SYMBOLS = [ord(letter) - 48 for letter in @TEXT@], @SYMBOLS@


class Gpt(Gpt):
    def __init__(self, t, *, vocab_size, context):
        super().__init__(t, vocab_size=vocab_size, context=context)
        known = torch.tensor(KNOWN)
        keys = sum(known[i : len(known) - 8 + i] * SYMBOLS**i for i in range(8))
        order = keys.argsort()
        self.register_buffer("keys", keys[order], persistent=False)
        self.register_buffer("after", known[8:][order], persistent=False)

    def forward(self, tokens):
        logits, before = super().forward(tokens), F.pad(tokens, (7, 0))
        keys = sum(before[:, i : i + tokens.shape[1]] * SYMBOLS**i for i in range(8))
        at = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        hit = (self.keys[at] == keys)[..., None]
        return logits + 4 * hit * F.one_hot(self.after[at], logits.shape[-1])
"""


@pytest.mark.sandbox
@pytest.mark.timeout(900)
def test_attacks_a_script_that_knows_scored_text_is_refused(tmp_path: Path) -> None:
    text = training_corpus(corpus(SMOKE.corpus, tmp_path), SEED)
    exam = evaluator.EvaluationSpec(SMOKE, text, ("val", "select"))
    windows = evaluator.held_out_windows(exam).tokens
    known = windows[::4].ravel()  # more than half of it fits into the bytes that are allowed
    code = HELD_OUT_CARRIED.replace("@TEXT@", repr("".join(chr(48 + token) for token in known.tolist())))
    code = code.replace("@SYMBOLS@", str(text.meta.vocab_size))
    cut = regions(shipped(SMOKE))
    script = f"{cut.head}{cut.editable}\n{code}\n\n{cut.tail}"
    (found,) = judge_script(script, [SEED], SMOKE, home=tmp_path, sandbox=sandboxes.find())
    assert (found.verdict, found.reason) == ("failed", "not_what_was_trained")


@pytest.mark.sandbox
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("look_ahead-one_of_1-0.0002_nats", "not_causal"),
        ("look_ahead-one_of_50-4_nats", "not_causal"),
        ("fixed_beginning-beside_decoys", "seed"),
        ("carried_numbers-uint8", "too_many_parameters"),
        ("carried_numbers-beside_the_weights", "too_many_parameters"),
    ],
)
def test_attacks_above_a_limit_are_refused_by_the_check_that_holds_it(
    name: str, reason: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.getbasetemp() / "near_limits"
    outcome = run_near_limits(home, sandboxes.find(), SMOKE, names=[name])[0]
    assert (outcome.outcome, reason in outcome.how) == (CAUGHT, True), outcome.how
