"""What two studies must share to be compared: whatever decides a gain is part of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.research.agents.parse_json import MAX_CHANGES
from runners.research.comparability import (
    DECIDING,
    comparability_of,
    deciding_sources,
    harness_hash,
    program_text,
)
from runners.research.evaluation.cheat_checks import MAX_COST
from runners.research.problem.tiers import SMOKE
from runners.sandbox.limits import Limits
from tests.doubles.research_asks import study
from tracker.errors import TrackerError, UsageError

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
def test_comparability_another_tier_is_another_harness(other: dict[str, Any]) -> None:
    assert harness_hash(replace(SMOKE, **other), torch="2.13.0", sources=SOURCES) != HERE


@pytest.mark.parametrize("name", DECIDING)
def test_comparability_another_source_of_what_decides_a_gain_is_another_harness(name: str) -> None:
    other = SOURCES | {name: SOURCES[name] + "\nchanged = 1\n"}
    assert harness_hash(SMOKE, torch="2.13.0", sources=other) != HERE


@pytest.mark.parametrize("name", DECIDING)
def test_a_comparability_hash_survives_moved_imports_comments_and_docstrings(name: str) -> None:
    source = SOURCES[name]
    moved = source.replace("from runners.research", "from runners.somewhere.else_")
    moved = '"""Another docstring."""\n\n# another comment\nimport elsewhere\n' + moved + "\n\n# the end\n"
    assert moved != source
    assert harness_hash(SMOKE, torch="2.13.0", sources=SOURCES | {name: moved}) == HERE


def test_comparability_another_torch_is_another_harness_and_another_description_is_not() -> None:
    assert harness_hash(SMOKE, torch="2.14.0", sources=SOURCES) != HERE
    assert harness_hash(replace(SMOKE, description="x"), torch="2.13.0", sources=SOURCES) == HERE


def test_comparability_a_study_begun_under_another_harness_is_refused_and_both_are_named_whole(
    tmp_path: Path,
) -> None:
    pytest.importorskip("torch")
    facts = comparability_of(SMOKE, tmp_path)
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


def test_comparability_program_states_the_limits_that_are_enforced() -> None:
    program = program_text()
    assert f"at most {MAX_COST:g} times the compute" in program
    assert f"Change 1 to {MAX_CHANGES} numbers at a time" in program
    assert "$" not in program
    assert program.splitlines()[0].startswith("<!-- version: 5.")


OWN = "Change $max_changes numbers, at $max_cost times the cost, for 5 $$."


def test_comparability_an_own_program_has_the_limits_filled_in_and_another_hash(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    text = program_text(OWN)
    assert text == f"Change {MAX_CHANGES} numbers, at {MAX_COST:g} times the cost, for 5 $."
    shipped, own = comparability_of(SMOKE, tmp_path), comparability_of(SMOKE, tmp_path, program=text)
    assert own.program == text
    assert own.program_hash != shipped.program_hash
    assert replace(own, program=shipped.program, program_hash=shipped.program_hash) == shipped


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("", r"lacks the placeholder `\$max_cost`"),
        ("at $max_cost", r"lacks the placeholder `\$max_changes`"),
        (OWN + "$home", r"unknown placeholder `\$home`"),
        (OWN + " 5 $", r"a `\$` that begins no placeholder"),
        (OWN + "x" * 20_000, "more than 20,000"),
    ],
)
def test_comparability_a_program_without_its_limits_is_refused(template: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        program_text(template)
    assert "$max_changes" in refused.value.hint
