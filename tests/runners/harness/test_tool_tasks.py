"""The requests of the suite `tools`: the same everywhere, solvable, and not by chance."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from runners.harness.tasks.tools.draw import document
from runners.harness.tasks.tools.kinds import KINDS, ToolEpisode, tool_request
from runners.harness.tasks.tools.world import parameters_of
from tests.doubles.tool_agents import RuleEngine, at_random, docs_of, grades, oracle
from tracker.stats import mean_interval
from tracker.suites import get_suite

SUITE = get_suite("tools")
# another draw is another version of the tasks
DIGESTS = {
    "single": "e93dea7092454ad3",
    "nested": "b3f6495fc0782ecf",
    "many_200": "caae863f82391505",
}


def test_tools_the_tasks_are_those_of_the_suite() -> None:
    folder = Path(str(SUITE.include_path))
    group = yaml.safe_load((folder / "tools.yaml").read_text())
    assert [task.task for task in SUITE.tasks] == [group["group"]]
    assert group["task"] == [f"tools_{kind}" for kind in KINDS]
    files = [yaml.safe_load((folder / f"{kind}.yaml").read_text()) for kind in KINDS]
    assert {one["task"]: one["metadata"]["kind"] for one in files} == {
        f"tools_{kind}": kind for kind in KINDS
    }
    assert {one["metadata"]["seed"] for one in files} == {SUITE.seed}


@pytest.mark.parametrize("kind", DIGESTS)
def test_tools_the_requests_are_the_same_on_every_machine(kind: str) -> None:
    assert document(kind, seed=20261130, number=0)["digest"] == DIGESTS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_tools_another_seed_draws_other_requests(kind: str) -> None:
    texts = [{doc["question"] for doc in docs_of(kind, n=24, seed=seed)} for seed in (1, 2)]
    assert len(texts[0]) == 24
    assert not texts[0] & texts[1]


@pytest.mark.parametrize("kind", KINDS)
def test_tools_the_scale_is_bounded_by_an_oracle_and_by_chance(kind: str) -> None:
    docs = docs_of(kind, n=12)
    assert [one["success"] for one in grades(RuleEngine(oracle(docs)), docs)] == [1.0] * 12
    assert [one["success"] for one in grades(RuleEngine(lambda *_: "I have done it."), docs)] == [0.0] * 12
    by_chance = [one["success"] for seed in range(2) for one in
                 grades(RuleEngine(at_random), docs_of(kind, n=12, seed=10 + seed))]  # fmt: skip
    assert sum(by_chance) <= 2


def test_tools_a_change_that_nobody_asked_for_fails_the_request() -> None:
    request = tool_request("refusal", seed=1, number=2)
    episode = ToolEpisode(request)
    assert request.solution[0].tool is not None
    episode.call(request.solution[0].tool, request.solution[0].arguments)
    assert episode.is_solved
    used = request.solution[0].tool
    other = next(n for n in request.tools if n != used and n.partition("_")[2] in request.records)
    noun = other.partition("_")[2]
    arguments = {"id": next(iter(request.records[noun]))}
    arguments |= {one.name: _any(one) for one in parameters_of(other)[1:]}
    assert episode.call(other, arguments).problem is None
    assert not episode.is_solved


def _any(parameter: object) -> object:
    values = getattr(parameter, "values", ())
    return 3 if getattr(parameter, "type", "") == "integer" else (values or ("Ada",))[0]


def test_tools_a_ladder_of_agents_of_known_skill_is_ranked_right() -> None:
    """Each agent knows a known share of all requests, so that its true score is known."""
    docs = [doc for kind in ("single", "parallel", "missing", "recover") for doc in docs_of(kind, n=15)]
    solve, found = oracle(docs), []
    for skill in (0.1, 0.5, 0.9):
        known = {doc["question"] for place, doc in enumerate(docs) if (place * 37 % 100) < 100 * skill}
        engine = RuleEngine(lambda m, t, k=known: solve(m, t) if m[0]["content"] in k else "Done.")
        interval = mean_interval([one["success"] for one in grades(engine, docs)])
        assert interval.low <= skill <= interval.high
        found.append(interval.value)
    assert found == sorted(found)
