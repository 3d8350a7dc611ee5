"""Invented studies for the tests of the app: three agents under three seeds, and some special cases."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.builders.some_studies import (
    STARTED_AT,
    exchange,
    invalid,
    pair,
    placebo,
    some_trials,
    store_study,
    study,
    training,
    trial,
)
from tests.doubles.lock_files import write_lock
from tracker.files.studies import Ledger
from tracker.records import EngineSettings, Model
from tracker.records.studies import (
    AgentSpec,
    Change,
    Pair,
    Proposal,
    Study,
    StudyStatus,
    Track,
    Trial,
    Verdict,
)
from tracker.settings import Settings
from tracker.store import Store

N_TRIALS = 10
AGENT = "acme/atlas-2-8b"  # one of `store_builder.CANDIDATES`
SEEDS = (0, 1, 2)
GAINS = {AGENT: 0.07, "tpe": 0.09, "random": 0.04}  # mean confirmed gain in bpb
DIFF = "<<<<<<< SEARCH\nWARMUP = 0.1\n=======\nWARMUP = 0.0  # <b>none</b>\n>>>>>>> REPLACE"
PAUSED, CODE = 41, 42  # numbers of studies that are not seeds on the board
CHANGES = {
    "betas": ("beta1", 0.8),
    "learning_rate": ("lr", 0.02),
    "schedule": ("warmup_fraction", 0.0),
    "decay": ("weight_decay", 3.0),
    "batch": ("batch_tokens", 2048),
}


def agent_of(name: str) -> AgentSpec:
    if "/" not in name:
        return AgentSpec(name, name)
    return AgentSpec("model", name, Model(name, "0a1b2c3d" * 5), EngineSettings())


def add_studies(settings: Settings, *, hostile: str, long: str) -> None:
    """Store the studies; the texts are part of the model's replies in the study on the `code` track."""
    made: list[tuple[Study, tuple[Trial, ...]]] = []
    for place, (name, mean) in enumerate(GAINS.items()):
        for seed in SEEDS:
            gain = mean + (seed - 1) / 100
            of = study(1 + 3 * place + seed, agent=agent_of(name), gain=gain, seed=seed, n_trials=N_TRIALS)
            made.append((of, trials_of(of, gain)))
    paused = study(PAUSED, agent=agent_of(AGENT), gain=None, status=StudyStatus.PAUSED, seed=3, ended_at=None)
    paused = replace(paused, reason="unreachable", detail="the server at 127.0.0.1:8000 does not answer")
    code = study(CODE, agent=agent_of(AGENT), gain=0.05, track=Track.CODE)
    made += [(paused, some_trials(paused)), (code, _code_trials(code, hostile=hostile, long=long))]
    with Store.open(settings) as store:
        for of, trials in made:
            store.add_study(of, trials)


def trials_of(of: Study, gain: float) -> tuple[Trial, ...]:
    """Ten trials and two placebos; those that were kept add up to about `gain`."""
    dice = random.Random(of.study_id)
    made: list[Trial] = []
    for slot in range(N_TRIALS + 2):
        category, (name, value) = list(CHANGES.items())[slot % len(CHANGES)]
        proposal = Proposal(
            Change({name: value}),
            f"{name} looks too large",
            of.agent.kind,
            exchanges=(exchange(json.dumps({name: value})),) if of.agent.kind == "model" else (),
        )
        if slot in (4, 9):
            made.append(placebo(of, slot))
        elif slot == 6:
            made.append(invalid(of, slot))
        elif slot in (0, 3, 8):
            part = gain * (0.5, 0.3, 0.2)[(0, 3, 8).index(slot)] * dice.uniform(0.9, 1.1)
            made.append(
                trial(
                    of, slot, proposal=proposal, categories=(category,), confirmed_gain_bpb=part,
                    claimed_gain_bpb=part + 0.02, pairs=_pairs(slot, part),
                )
            )  # fmt: skip
        else:
            made.append(
                trial(
                    of, slot, Verdict.REJECTED, proposal=proposal, categories=(category,),
                    pairs=_pairs(slot, -0.02)[:1], p_better=None, claimed_gain_bpb=-0.02,
                    reason="lost_first_pair", detail="worse than its parent under the same seed",
                )
            )  # fmt: skip
    return tuple(made)


def _pairs(slot: int, gain: float) -> tuple[Pair, ...]:
    """Three pairs with curves that fall as a training's do."""
    pairs = []
    for seed in (1, 2, 3):
        ends = {"parent": 2.5, "child": 2.5 - gain}
        each = {
            role: training(
                seed,
                bpb,
                curve=tuple((4096 * n, bpb + 1.6 / (n + 0.1 * seed)) for n in range(1, 26)),
                n_tokens=102_400,
            )
            for role, bpb in ends.items()
        }
        pairs.append(Pair(seed + 10 * slot, each["parent"], each["child"]))
    return tuple(pairs)


def _code_trials(of: Study, *, hostile: str, long: str) -> tuple[Trial, ...]:
    edited = Proposal(
        Change(script="WARMUP = 0.0"), hostile, "model", diff=DIFF, exchanges=(exchange(hostile),)
    )
    refused = Proposal(None, proposer="model", problem=hostile, exchanges=(exchange(long),))
    more: dict[str, Any] = {"pairs": (), "p_better": None, "claimed_gain_bpb": None, "categories": ()}
    return (
        trial(of, 0, proposal=edited, categories=("schedule",)),
        trial(of, 1, Verdict.INVALID, proposal=refused, detail=hostile, **more),
        trial(
            of, 2, Verdict.CAUGHT, proposal=edited, pairs=(pair(1),), reason="causality", detail="it peeked"
        ),
    )


def begin(settings: Settings, number: int = 50, *, n_done: int = 5) -> Study:
    """A study that this process is running, with some slots already done."""
    made = study(
        number, agent=agent_of("tpe"), gain=None, status=StudyStatus.RUNNING, seed=7, n_trials=N_TRIALS,
        ended_at=None,
    )  # fmt: skip
    made = replace(made, pid=os.getpid(), started_at=STARTED_AT + timedelta(hours=2))
    store_study(settings, made, trials_of(made, 0.1)[:n_done])
    write_lock(settings, f"study-{made.study_id}", study=made.study_id)
    return made


def stop_path(settings: Settings, of: Study) -> Path:
    return Ledger(settings.studies_path / of.study_id).stop_path
