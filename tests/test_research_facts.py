"""What two studies must share to be compared: whatever decides a gain is part of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.research.facts import DECIDING, deciding_sources, facts_of, harness_hash
from runners.research.tiers import SMOKE, Limits
from tests.research_asks import study
from tracker.errors import TrackerError

SOURCES = deciding_sources()
HERE = harness_hash(SMOKE, torch="2.13.0", sources=SOURCES)


@pytest.mark.parametrize(
    "other",
    [
        {"train_tokens": 65_536},
        {"eval_tokens": 4096},
        {"context": 64},
        {"max_params": 1_000_000},
        {"limits": Limits(cpu_s=1.0, wall_s=1.0, memory_bytes=1, file_bytes=1, n_processes=1)},
        {"choices": {"batch_size": (4, 8)}},
        {"params": {"n_layer": 2}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_tier_is_another_harness(other: dict[str, Any]) -> None:
    assert harness_hash(replace(SMOKE, **other), torch="2.13.0", sources=SOURCES) != HERE


@pytest.mark.parametrize("name", DECIDING)
def test_another_source_of_what_decides_a_gain_is_another_harness(name: str) -> None:
    other = SOURCES | {name: SOURCES[name] + "\n"}
    assert harness_hash(SMOKE, torch="2.13.0", sources=other) != HERE


def test_another_torch_is_another_harness_and_another_description_is_not() -> None:
    assert harness_hash(SMOKE, torch="2.14.0", sources=SOURCES) != HERE
    assert harness_hash(replace(SMOKE, description="x"), torch="2.13.0", sources=SOURCES) == HERE


def test_a_study_begun_under_another_harness_is_refused_and_both_are_named_whole(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    facts = facts_of(SMOKE, tmp_path)
    of = replace(
        study("tpe"),
        corpus_hash=facts.corpus_hash,
        script_hash=facts.script_hash,
        program_hash=facts.program_hash,
        harness_version=facts.harness_version,
    )
    facts.refuse(of)
    before = facts.harness_version[:-12] + "0" * 12
    with pytest.raises(TrackerError, match=f"{before}, now {facts.harness_version}"):
        facts.refuse(replace(of, harness_version=before))
    with pytest.raises(TrackerError, match=rf"another corpus \({'0' * 16}, now {facts.corpus_hash[:16]}\)"):
        facts.refuse(replace(of, corpus_hash="0" * 64))
