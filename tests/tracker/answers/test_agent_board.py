"""The board: who is compared with whom, what an interval rests on, and when a rank is shared."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.research_board import AGENTS, coverage
from tests.builders.some_studies import (
    MODEL,
    TPE,
    renamed,
    store_study,
    study,
)
from tracker.answers.agent_board import (
    OWN,
    SEEDS,
    STUDIES,
    StudyRow,
    board,
    compared,
    label,
    over_tasks,
)
from tracker.cli.research_output import group_notes, print_group, task_mean_line
from tracker.records.studies import BASELINES, AgentSpec, StudyStatus
from tracker.settings import Settings
from tracker.store import open_snapshot

RANDOM = AgentSpec("random", "random")


def row(agent: str = "acme/atlas-8b", seed: int = 0, gain: float = 0.1, **more: Any) -> StudyRow:
    common: dict[str, Any] = {
        "study_id": f"{agent}-{seed}", "kind": agent if agent in BASELINES else "model", "tier": "cpu",
        "track": "params", "n_trials": 10, "settings": {"wave": 1},
        "corpus_hash": "c", "rules": "r", "gain_ci_low": gain - 0.02, "gain_ci_high": gain + 0.02,
        "claimed_gain_bpb": gain + 0.03, "n_valid": 9, "n_duplicates": 1, "n_failed": 0, "n_caught": 0,
        "n_placebos": 1, "n_false_accepts": 0, "prompt_tokens": 900, "output_tokens": 100, "train_s": 60.0,
        "latency_s": 5.0,
    }  # fmt: skip
    return StudyRow(agent=agent, seed=seed, gain_bpb=gain, **common | more)


@pytest.mark.parametrize(
    "other", [{"tier": "gpu"}, {"track": "code"}, {"n_trials": 30}, {"corpus_hash": "d"}, {"rules": "s"}]
)
def test_agent_board_what_is_not_equal_is_never_compared(other: dict[str, Any]) -> None:
    groups = board([row(), row("tpe", **other)])
    assert [len(group.rows) for group in groups] == [1, 1]
    assert all(each.share_of_tpe in (None, 1.0) for group in groups for each in group.rows)


def test_agent_board_one_study_shows_its_own_interval_and_says_so() -> None:
    ((only,),) = [group.rows for group in board([row()])]
    assert (only.gain_ci_low, only.gain_ci_high) == pytest.approx((0.08, 0.12))
    assert (only.interval_over, only.n_studies, only.rank) == (OWN, 1, 1)


def test_agent_board_several_studies_show_the_spread_between_seeds() -> None:
    ((only,),) = [group.rows for group in board([row(seed=s, gain=g) for s, g in enumerate((0.1, 0.2))])]
    assert (only.gain_bpb, only.interval_over) == (pytest.approx(0.15), SEEDS)
    assert only.gain_ci_low == pytest.approx(0.15 - 12.706 * 0.05, abs=1e-3)  # t, one degree


def test_agent_board_shares_prices_and_counts() -> None:
    studies = [row(seed=s, n_placebos=20, n_false_accepts=s) for s in (0, 1)]
    (group,) = board([*studies, row("tpe", gain=0.2, prompt_tokens=0, output_tokens=0)])
    tpe, atlas = group.rows
    assert (tpe.agent, tpe.share_of_tpe, tpe.tokens_per_unit) == ("tpe", 1.0, None)
    assert (atlas.share_of_tpe, atlas.tokens_per_unit) == (pytest.approx(0.5), pytest.approx(100))
    assert (atlas.valid_share, atlas.duplicate_share, atlas.false_accept_rate) == (0.9, 0.1, 1 / 40)
    assert atlas.false_accept_ci_high == pytest.approx(0.1316, abs=1e-4)


def test_agent_board_an_agent_without_a_gain_has_no_price_and_tpe_without_one_no_share() -> None:
    (group,) = board([row(gain=0.0), row("tpe", gain=0.0, n_placebos=0)])
    assert [each.tokens_per_unit for each in group.rows] == [None, None]
    assert [each.share_of_tpe for each in group.rows] == [None, None]
    assert group.rows[1].false_accept_rate is None


def test_agent_board_gives_statistically_equal_agents_the_same_rank() -> None:
    close = [row("a", s, 0.1 + s / 1000) for s in range(8)] + [
        row("b", s, 0.1 + (7 - s) / 900) for s in range(8)
    ]
    (group,) = board(close)
    assert [each.rank for each in group.rows] == [1, 1]
    clear = [row("a", s, 0.2 + s / 1000) for s in range(8)] + [row("b", s, 0.1 + s / 900) for s in range(8)]
    (group,) = board(clear)
    assert [(each.agent, each.rank) for each in group.rows] == [("a", 1), ("b", 2)]
    assert group.comparisons[0].p == pytest.approx(2 / 2**8)


def two_studies(*gains: float, **more: Any) -> list[StudyRow]:
    return [row(gain=g, study_id=f"study-{n}", secret_hash=f"{n}", **more) for n, g in enumerate(gains)]


def test_agent_board_the_spread_between_studies_of_one_seed_is_in_the_interval() -> None:
    ((only,),) = [group.rows for group in board(two_studies(0.0, 0.65))]
    assert (only.n_studies, only.n_seeds, only.interval_over) == (2, 1, STUDIES)
    assert only.gain_bpb == pytest.approx(0.325)
    assert only.gain_ci_high == pytest.approx(0.325 + 12.706 * 0.325, abs=1e-3)  # t, one degree
    ((lucky,),) = [group.rows for group in board(two_studies(0.1, 0.1))]
    assert (lucky.gain_ci_low, lucky.gain_ci_high) == pytest.approx((0.08, 0.12)), "never narrower"


@pytest.mark.parametrize(("n_seeds", "n_studies"), [(1, 2), (2, 1), (3, 1), (3, 3)])
def test_agent_board_the_interval_over_several_studies_covers(n_seeds: int, n_studies: int) -> None:
    agent = AGENTS["studies vary"]
    found = coverage(agent, n_seeds=n_seeds, n_studies=n_studies, n_draws=150)
    assert found.covered > 0.88, "0.95 less three standard errors of the simulation"
    assert found.covered_by_own < found.covered


def test_agent_board_studies_that_drew_the_same_seeds_are_one_value_with_the_placebos_of_the_newest() -> None:
    twice = [
        row(gain=g, study_id=f"study-{n}", n_placebos=20, n_false_accepts=n, secret_hash="5e")
        for n, g in enumerate((0.1, 0.2))
    ]
    ((only,),) = [group.rows for group in board(twice)]
    assert (only.n_studies, only.n_seeds, only.interval_over) == (2, 1, OWN)
    assert (only.gain_bpb, only.gain_ci_low) == (pytest.approx(0.15), pytest.approx(0.13))
    assert (only.n_placebos, only.n_false_accepts) == (20, 1)
    ((both,),) = [group.rows for group in board([*twice, row(seed=1, gain=0.35, n_placebos=20)])]
    assert (both.n_studies, both.n_seeds, both.interval_over) == (3, 2, SEEDS)
    assert both.gain_bpb == pytest.approx(0.25)
    assert both.gain_ci_low == pytest.approx(0.25 - 12.706 * 0.1, abs=1e-3)
    assert both.n_placebos == 40
    fresh = two_studies(0.1, 0.2, n_placebos=20, n_false_accepts=1)
    assert [(r.n_placebos, r.n_false_accepts) for g in board(fresh) for r in g.rows] == [(40, 2)]
    older = [row(study_id=f"study-{n}", n_placebos=20) for n in range(2)]
    assert [(r.n_placebos, r.n_public_seeds) for g in board(older) for r in g.rows] == [(20, 2)]


@pytest.mark.parametrize("caught_in", [(0,), (7,), tuple(range(8))], ids=["the first", "the last", "all"])
def test_agent_board_a_caught_trial_is_not_averaged_away(caught_in: tuple[int, ...]) -> None:
    cheat = [row("cheat", s, 0.6 + s / 1000, n_caught=int(s in caught_in)) for s in range(8)]
    honest = [row("a", s, 0.1 + s / 900) for s in range(8)] + [row("b", s, -0.1) for s in range(8)]
    (group,) = board([*cheat, *honest])
    assert [(each.agent, each.rank, each.is_caught) for each in group.rows] == [
        ("a", 1, False), ("b", 2, False), ("cheat", 3, True),
    ]  # fmt: skip
    assert group.rows[-1].gain_bpb == pytest.approx(
        sum(0.6 + s / 1000 for s in range(8) if s not in caught_in) / 8
    )
    assert group.rows[-1].gain_ci_low <= group.rows[-1].gain_bpb <= group.rows[-1].gain_ci_high


def test_agent_board_what_was_caught_earns_neither_a_share_of_tpe_nor_a_price() -> None:
    gains = {"betas": 0.6}
    studies = two_studies(0.6, -0.1, n_caught=1, gains_by_category=gains)
    (group,) = board([*studies, row("tpe", gain=0.2, n_caught=1)])
    cheat = next(each for each in group.rows if each.agent != "tpe")
    assert (cheat.gain_bpb, cheat.tokens_per_unit, cheat.wall_s_per_unit) == (
        pytest.approx(-0.05),
        None,
        None,
    )
    assert (cheat.share_of_tpe, cheat.gains_by_category) == (None, {"betas": 0.0})


def test_agent_board_says_what_its_marks_mean(capsys: pytest.CaptureFixture[str]) -> None:
    (group,) = board([*two_studies(0.1, 0.2), row("tpe", n_caught=1), row("random", secret_hash="5e")])
    print_group(group)
    printed = capsys.readouterr().out
    for says in ("1 !", "ranks below all", "* one study only", "** one agent seed only", "1 study of an"):
        assert says in printed
    (clean,) = board([row(seed=s, gain=s / 10, secret_hash=f"{s}") for s in range(3)])
    print_group(clean)
    assert "!" not in capsys.readouterr().out
    assert group_notes(clean) == []


def test_agent_board_speed_time_and_transfer() -> None:
    studies = [
        row(seed=s, secret_hash=f"{s}", wall_s=300.0, transfer_gain_bpb=t) for s, t in ((0, 0.03), (1, None))
    ]
    ((only,),) = [group.rows for group in board(studies)]
    assert (only.tokens_per_s, only.wall_s) == (pytest.approx(20.0), 600.0)
    assert only.wall_s_per_unit == pytest.approx(600 / 20)
    assert (only.transfer_gain_bpb, only.n_transfers) == (0.03, 1)


@pytest.mark.parametrize(
    ("settings", "called"),
    [
        ({"wave": 4}, "acme/atlas-8b (wave 4)"),
        ({"wave": 1, "thinking": False}, "acme/atlas-8b (no thinking)"),
        ({"wave": 1, "dtype": "bfloat16"}, "acme/atlas-8b (dtype bfloat16)"),
        ({"wave": 1, "engine": "vllm"}, "acme/atlas-8b (engine vllm)"),
        ({"wave": 1, "revision": "0a1b2c3d" * 5}, "acme/atlas-8b (revision 0a1b2c3d0a1b)"),
    ],
    ids=["wave", "thinking", "dtype", "engine", "revision"],
)
def test_agent_board_another_variant_of_an_agent_is_another_row_that_says_what_differs(
    settings: dict[str, Any], called: str
) -> None:
    (group,) = board([row(gain=0.1), row(gain=0.2, settings=settings, study_id="other")])
    assert [each.n_studies for each in group.rows] == [1, 1]
    assert group.rows[0].agent == called
    assert group.rows[1].agent != called
    ((only,),) = [group.rows for group in board([row(settings=settings)])]
    assert only.agent == "acme/atlas-8b"


def test_agent_board_names_of_variants_are_equal_for_equals_alone() -> None:
    found = [{"wave": wave, "thinking": thinks} for wave in (1, 4) for thinks in (None, True, False)]
    assert len({label("a", each, found) for each in found}) == len(found)
    assert label("a", found[5], found[:1]) == "a (wave 4, no thinking)"


@pytest.mark.parametrize("gain", [-0.01, 0.0])
def test_agent_board_of_a_tpe_that_gained_nothing_there_is_no_share(gain: float) -> None:
    (group,) = board([row(gain=0.1), row("tpe", gain=gain)])
    assert [each.share_of_tpe for each in group.rows] == [None, None]


@pytest.mark.parametrize("track", ["code", "hybrid"])
def test_agent_board_the_baselines_of_params_stand_beside_the_agents_of_each_track(track: str) -> None:
    params = [row(gain=0.3), *(row(name, s, 0.1) for name in ("tpe", "random", "cma") for s in (0, 1))]
    groups = {group.track: group for group in board([*params, row(gain=0.2, track=track)])}
    beside = groups[track].rows
    assert [(each.agent, each.track) for each in beside] == [
        ("acme/atlas-8b", track), ("random", "params"), ("tpe", "params"),
    ]  # fmt: skip
    assert beside[0].share_of_tpe == pytest.approx(2.0)
    assert {each.better for each in groups[track].comparisons} >= {"acme/atlas-8b"}
    assert len(groups["params"].rows) == 4
    for other in ({"tier": "gpu"}, {"n_trials": 30}, {"corpus_hash": "d"}, {"rules": "s"}):
        alone = {group.track: group for group in board([*params, row(track=track, **other)])}[track]
        assert [each.agent for each in alone.rows] == ["acme/atlas-8b"]


def test_agent_board_a_baseline_of_another_track_is_marked_in_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, params = board([row("tpe"), row(track="code")])
    print_group(code)
    assert "tpe (params)" in capsys.readouterr().out
    print_group(params)
    assert "(params)" not in capsys.readouterr().out


def test_agent_board_few_seeds_never_separate() -> None:
    (group,) = board([row("a", s, 0.5 + s / 100) for s in range(5)] + [row("b", s, 0.1) for s in range(5)])
    assert [each.rank for each in group.rows] == [1, 1]
    assert group.comparisons[0].p == pytest.approx(2 / 2**5)


def test_agent_board_p_is_raised_for_the_number_of_pairs() -> None:
    gains = {
        name: {s: base + s / 1000 * (1 + base) for s in range(8)}
        for name, base in zip("abc", (0.3, 0.2, 0.1), strict=True)
    }
    found = compared(gains)
    assert [each.p_adjusted for each in found] == [pytest.approx(3 * found[0].p)] * 3
    assert compared({"a": {1: 0.1}, "b": {2: 0.2}}) == ()


def test_agent_board_equal_gains_are_no_difference() -> None:
    (comparison,) = compared({"a": {1: 0.0, 2: 0.0}, "b": {1: 0.0, 2: 0.0}})
    assert (comparison.p, comparison.difference_bpb) == (1.0, 0.0)


def test_agent_board_the_board_of_a_store(settings: Settings) -> None:
    for seed in (1, 2):
        store_study(settings, renamed(study(1, agent=MODEL, gain=0.05 * seed), seed))
        store_study(settings, renamed(study(2, agent=TPE, gain=0.2), seed))
    store_study(settings, study(3, agent=RANDOM, gain=None, status=StudyStatus.PAUSED))
    with open_snapshot(settings) as snapshot:
        rows = [StudyRow(**found) for found in snapshot.query("research_board")]
    (group,) = board(rows)
    assert [(each.agent, each.n_studies) for each in group.rows] == [("tpe", 2), ("acme/atlas-8b", 2)]
    assert group.rows[1].share_of_tpe == pytest.approx(0.375)
    assert group.rows[1].gains_by_category == {"betas": 0.09}
    assert group.rows[1].tokens == 2 * 3760


def test_agent_board_agents_are_ranked_over_tasks_by_their_share_of_tpe() -> None:
    shares = {"smoke": (0.5, 1.2), "cpu": (0.7, 0.9)}
    studies = [
        each
        for tier, (first, second) in shares.items()
        for each in (
            row("acme/a", gain=first, tier=tier),
            row("acme/b", gain=second / 10, tier=tier, track="code"),
            row("tpe", gain=1.0, tier=tier),
        )
    ]
    lonely = row("acme/c", gain=3.0, tier="cpu")
    found = over_tasks(board([*studies, lonely]))
    assert [(mean.agent, mean.track, mean.tasks) for mean in found] == [
        ("acme/b", "code", ("cpu", "smoke")),
        ("tpe", "params", ("cpu", "smoke")),
        ("acme/a", "params", ("cpu", "smoke")),
    ]
    assert [mean.share_of_tpe for mean in found] == pytest.approx([0.105, 1.0, 0.6])
    assert task_mean_line(found[2]) == "60% of TPE: acme/a (params, 10 trials; cpu, smoke)"


def test_agent_board_one_task_alone_is_no_ranking_over_tasks() -> None:
    assert over_tasks(board([row(), row("tpe")])) == ()


def test_agent_board_shows_the_line_of_an_ngram_table(capsys: pytest.CaptureFixture[str]) -> None:
    studies = [row(seed=s, baseline_bpb=2.0 + s / 10, ngram_bpb=2.25) for s in (0, 1)]
    (group,) = board([*studies, row("tpe")])  # a baseline from before the line was counted
    assert (group.baseline_bpb, group.ngram_bpb) == (pytest.approx(2.05), 2.25)
    print_group(group)
    assert "defaults 2.050 bpb on test, an n-gram table on the same corpus 2.250" in capsys.readouterr().out
    (older,) = board([row()])
    assert older.ngram_bpb is None
