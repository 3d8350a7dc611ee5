"""Small valid studies and trials; a test changes what it needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tracker.files.studies import Ledger, write_suite_run
from tracker.records import EngineSettings, Model
from tracker.records.studies import (
    AgentSpec,
    Attack,
    Change,
    Exchange,
    Pair,
    Proposal,
    Study,
    StudyResult,
    StudyStatus,
    SuiteRun,
    Track,
    Training,
    TrainingStatus,
    Trial,
    Verdict,
)
from tracker.settings import Settings
from tracker.store import Store, publish

STARTED_AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
TPE = AgentSpec("tpe", "tpe")
MODEL = AgentSpec("model", "acme/atlas-8b", Model("acme/atlas-8b", "0a1b2c3d" * 5), EngineSettings())


def training(seed: int = 1, bpb: float = 2.5, *, test: float | None = None, **more: Any) -> Training:
    splits = {"val": bpb, "select": bpb + 0.01} | ({"test": test} if test is not None else {})
    common: dict[str, Any] = {
        "status": TrainingStatus.OK,
        "bpb": splits,
        "curve": ((1024, 3.1), (2048, 2.6)),
        "n_tokens": 2048,
        "n_params": 102_784,
        "train_s": 2.0,
        "cpu_s": 1.5,
    }
    return Training(f"key-{seed}-{bpb:.4f}", seed, **common | more)


def pair(seed: int = 1, parent: float = 2.5, child: float = 2.4, **more: Any) -> Pair:
    return Pair(seed, training(seed, parent, **more), training(seed, child, **more))


def exchange(reply: str = '{"beta1": 0.8}') -> Exchange:
    return Exchange('[{"role": "user", "content": "go"}]', reply, 900, 40, "stop", 1.5)


def trial(study: Study, slot: int = 0, verdict: Verdict = Verdict.ACCEPTED, **more: Any) -> Trial:
    common: dict[str, Any] = {
        "proposal": Proposal(
            Change({"beta1": 0.8 + slot / 1000}), "why not", "model", exchanges=(exchange(),)
        ),
        "started_at": STARTED_AT,
        "ended_at": STARTED_AT.replace(minute=slot + 1),
        "wave": slot,
        "categories": ("betas",),
        "pairs": tuple(pair(seed, child=2.4 - slot / 1000) for seed in (1, 2, 3)),
        "p_better": 0.97,
        "claimed_gain_bpb": 0.1,
    }
    if verdict is Verdict.ACCEPTED:
        common |= {"confirmation": tuple(pair(seed) for seed in (11, 12, 13)), "confirmed_gain_bpb": 0.09}
    return Trial(study.study_id, slot, verdict=verdict, **common | more)


def invalid(study: Study, slot: int) -> Trial:
    proposal = Proposal(None, proposer="model", problem="no JSON was found", exchanges=(exchange("Well…"),))
    more: dict[str, Any] = {"categories": (), "p_better": None, "claimed_gain_bpb": None}
    return trial(
        study, slot, Verdict.INVALID, proposal=proposal, pairs=(), detail="no JSON was found", **more
    )


def placebo(study: Study, slot: int, *, is_accepted: bool = False) -> Trial:
    verdict = Verdict.ACCEPTED if is_accepted else Verdict.REJECTED
    proposal = Proposal(Change(), "", "placebo")
    return trial(study, slot, verdict, proposal=proposal, is_placebo=True, categories=())


def study(number: int = 1, *, agent: AgentSpec = MODEL, gain: float | None = 0.08, **more: Any) -> Study:
    """A complete study; its id sorts by `number`."""
    common: dict[str, Any] = {
        "tier": "cpu",
        "track": Track.PARAMS,
        "seed": number,
        "n_trials": 4,
        "status": StudyStatus.COMPLETE,
        "started_at": STARTED_AT.replace(minute=number % 60),
        "ended_at": STARTED_AT.replace(hour=10),
        "pid": 4242,
        "corpus_hash": "c" * 16,
        "script_hash": "s" * 16,
        "program_hash": "p" * 16,
        "harness_version": "0.1.0",
        "program": "Find what trains better.",
        "sandbox": "bubblewrap",
        "result": None if gain is None else result(gain),
    }
    return Study(f"20261124-{number:06d}-aaaaaa", agent, **common | more)


def result(gain: float, *, half_width: float = 0.02) -> StudyResult:
    pairs = tuple(
        Pair(seed, training(seed, 2.5, test=2.6), training(seed, 2.5 - gain, test=2.6 - gain))
        for seed in range(21, 26)
    )
    return StudyResult(
        2.6, 2.6 - gain, 2.38, gain, gain - half_width, gain + half_width, gain + 0.03, pairs if gain else ()
    )


def some_trials(of: Study) -> tuple[Trial, ...]:
    """One trial of each kind, including a placebo."""
    return (
        trial(of, 0),
        placebo(of, 1),
        invalid(of, 2),
        trial(of, 3, Verdict.REJECTED, reason="not_better", confirmation=()),
        trial(of, 4, Verdict.DUPLICATE, pairs=(), reason="duplicate"),
    )


def store_study(settings: Settings, of: Study, trials: tuple[Trial, ...] | None = None) -> Study:
    """Write, store and publish, as the driver does."""
    trials = some_trials(of) if trials is None else trials
    ledger = Ledger(settings.studies_path / of.study_id)
    ledger.write_study(of)
    for each in trials:
        ledger.write_trial(each)
    with Store.open(settings) as store:
        store.add_study(of, trials)
    publish(settings)
    return of


def suite_run(number: int, *names: str, is_whole: bool = True) -> SuiteRun:
    """A run of the attack suite in which nothing passed; its id sorts by `number`."""
    attacks = tuple(Attack(name, "caught", f"{name} was seen") for name in names)
    run_id = f"20261124-{number:06d}-bbbbbb"
    return SuiteRun(run_id, STARTED_AT, STARTED_AT, "smoke", "bubblewrap", "0.1.0", is_whole, attacks)


def store_suite_run(settings: Settings, run: SuiteRun) -> SuiteRun:
    """Write, store and publish, as the command does."""
    write_suite_run(settings.attacks_path, run)
    with Store.open(settings) as store:
        store.add_suite_run(run)
    publish(settings)
    return run


def renamed(of: Study, seed: int) -> Study:
    """The same study under another seed."""
    return replace(of, study_id=f"{of.study_id[:-6]}{seed:06d}", seed=seed)
