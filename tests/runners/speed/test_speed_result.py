"""A level from the load generator's file: a recorded one, and ones that are broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from runners.speed.energy import EnergyMeter
from runners.speed.result import PIECES, SERVER, AskedTokens, read_level
from tests.conftest import ROOT
from tracker.errors import EngineError, FieldError
from tracker.records.speed import LatencyBound, SpeedLoad
from tracker.stats import median_interval

RECORDED = ROOT / "tests" / "data" / "speed"
LLAMA = RECORDED / "llamacpp-4-at-once.json"  # eight requests for 16 tokens each
VLLM = RECORDED / "vllm-4-at-once.json"  # the same from vLLM
ANY_TIME = LatencyBound(ttft_s=None, tpot_s=None)
ASKED = AskedTokens(prompt=80, output=16)


def test_speed_a_recorded_result_gives_the_generators_own_numbers() -> None:
    said = json.loads(LLAMA.read_bytes())
    found = read_level(LLAMA, bound=ANY_TIME, asked=ASKED)
    level = found.level
    assert (level.concurrency, level.n_requests, level.n_answered) == (4, 8, said["completed"])
    assert level.duration_s == said["duration"]
    assert level.requests_per_s == pytest.approx(said["request_throughput"])
    assert level.e2el is not None
    assert 1000 * level.e2el.median == pytest.approx(said["median_e2el_ms"])
    assert 1000 * level.e2el.mean == pytest.approx(said["mean_e2el_ms"])
    assert 1000 * level.e2el.p90 == pytest.approx(said["p90_e2el_ms"])
    assert 1000 * level.e2el.p99 == pytest.approx(said["p99_e2el_ms"])
    assert level.ttft is not None
    assert level.ttft.median == pytest.approx(np.median(said["ttfts"]))
    assert level.itl is not None
    assert level.itl.median == pytest.approx(np.median(np.concatenate(said["itls"])))
    assert found.end - found.begin == pytest.approx(said["duration"])
    assert found.begin == min(said["start_times"])
    assert (level.n_good, level.error) == (8, "")


def test_speed_tokens_that_the_generator_dropped_are_counted_as_pieces() -> None:
    """llama.cpp sends its counts with the last piece, where vLLM's generator does not look."""
    said = json.loads(LLAMA.read_bytes())
    assert set(said["output_lens"]) == {1}
    assert {len(gaps) for gaps in said["itls"]} == {16}  # the last piece is empty
    found = read_level(LLAMA, bound=ANY_TIME, asked=ASKED)
    assert found.counts_from == PIECES
    assert (found.level.prompt_tokens, found.level.output_tokens) == (8 * 80, 8 * 16)
    assert found.level.output_tokens_per_s == pytest.approx(8 * 16 / said["duration"])
    first = (said["latencies"][0] - said["ttfts"][0]) / 15
    assert found.level.tpot is not None
    assert found.level.tpot.median <= first * 8


def test_speed_tokens_that_the_server_tells_are_the_generators_totals() -> None:
    """vLLM sends its counts with a piece of their own."""
    said = json.loads(VLLM.read_bytes())
    found = read_level(VLLM, bound=ANY_TIME, asked=ASKED)
    assert found.counts_from == SERVER
    assert found.level.prompt_tokens == said["total_input_tokens"]
    assert found.level.output_tokens == said["total_output_tokens"]
    assert found.level.output_tokens_per_s == pytest.approx(said["output_throughput"])


def raw(n: int = 8, **more: Any) -> dict[str, Any]:
    """A result of `n` requests of 1 to `n` seconds, 11 tokens each."""
    latencies = [float(place) for place in range(1, n + 1)]
    return {
        "max_concurrency": 2,
        "duration": 10.0,
        "completed": n,
        "start_times": [100.0 + place for place in range(n)],
        "ttfts": [one / 10 for one in latencies],
        "itls": [[0.09 * one] * 10 for one in latencies],
        "latencies": latencies,
        "input_lens": [20] * n,
        "output_lens": [11] * n,
        "errors": [""] * n,
    } | more


def level_of(folder: Path, document: Any, bound: LatencyBound = ANY_TIME) -> Any:
    path = folder / "level-01.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return read_level(path, bound=bound, asked=ASKED)


def test_speed_goodput_counts_the_answers_within_every_bound(tmp_path: Path) -> None:
    found = level_of(tmp_path, raw(), LatencyBound.parse("ttft:500,tpot:300,e2el:4000"))
    assert found.counts_from == SERVER
    assert found.level.n_good == 3  # 0.09 s a token for the first: the bound of 0.3 s ends at the third
    assert found.level.goodput_per_s == pytest.approx(0.3)
    assert found.level.output_tokens_per_s == pytest.approx(8 * 11 / 10)
    assert found.level.tpot.median == pytest.approx(0.9 * 4.5 / 10)


def test_speed_requests_without_an_answer_count_as_nothing_but_lost(tmp_path: Path) -> None:
    errors = [""] * 7 + ["Traceback\n  ClientError: connection reset"]
    found = level_of(tmp_path, raw(completed=7, errors=errors, ttfts=[*raw()["ttfts"][:7], 0.0]))
    assert (found.level.n_requests, found.level.n_answered) == (8, 7)
    assert found.level.error == "ClientError: connection reset"
    assert found.level.output_tokens == 7 * 11
    none = level_of(tmp_path, raw(completed=0, errors=["no"] * 8))
    assert (none.level.n_answered, none.level.ttft, none.level.output_tokens_per_s) == (0, None, 0.0)


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        '{"max_concurrency": 1}',
        json.dumps(raw())[:-40],
        raw(duration=0.0),
        raw(duration=float("nan")),
        raw(completed=3),
        raw(ttfts=[-1.0] * 8),
        raw(ttfts=[float("inf")] * 8),
        raw(latencies=[1.0] * 7),
        raw(itls=["x"] * 8),
        raw(n=0),
        raw(output_lens=[None] * 8),
        "[" * 20_000,
    ],
)
def test_speed_a_result_that_contradicts_itself_is_refused(tmp_path: Path, document: Any) -> None:
    with pytest.raises(EngineError, match="cannot be used") as caught:
        level_of(tmp_path, document)
    assert caught.value.reason == "generator_failed"
    assert "bench serve" in caught.value.hint


@pytest.mark.parametrize("n", [6, 7, 16, 64, 257])
def test_speed_the_interval_of_a_median_is_scipys(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    theirs = stats.quantile_test(values, p=0.5).confidence_interval()
    ours = median_interval(values)
    assert ours is not None
    assert (ours.low, ours.high) == (theirs.low, theirs.high)


def test_speed_the_interval_of_a_median_covers_whatever_the_distribution() -> None:
    """At least 95% in 2,000 draws each; 0.936 is four standard errors below."""
    draws = np.random.default_rng(1)
    for n in (6, 16, 64):
        for sample, true in (
            (draws.lognormal(size=(2000, n)), 1.0),
            (draws.integers(0, 3, size=(2000, n)).astype(float), 1.0),
            (draws.pareto(1.1, size=(2000, n)), 2 ** (1 / 1.1) - 1),
        ):
            found = [median_interval(row) for row in sample]
            covered = [one is not None and one.low <= true <= one.high for one in found]
            assert np.mean(covered) >= 0.936
    assert median_interval([1.0] * 5) is None


@pytest.mark.parametrize(
    "text", ["", "ttft", "ttft:0", "ttft:-1", "ttft:nan", "itl:20", "ttft:1,ttft:2", "ttft:1e400"]
)
def test_speed_a_bound_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(FieldError, match="goodput"):
        LatencyBound.parse(text)


def test_speed_a_load_has_its_limits() -> None:
    assert [SpeedLoad().requests_at(n) for n in (1, 4, 16)] == [16, 16, 64]
    for wrong in ({"sweep": ()}, {"sweep": (0,)}, {"sweep": (2, 2)}, {"requests": 0}, {"output_tokens": 1}):
        with pytest.raises(FieldError):
            SpeedLoad(**wrong)


def test_speed_energy_is_that_between_two_moments() -> None:
    """A counter of 100 W: one second in the middle is 100 J; what was not watched is not guessed."""
    joules = iter([0.0, 100.0, 200.0, 300.0])
    meter = EnergyMeter(lambda: next(joules, None))
    meter._readings = [(10.0, 0.0), (11.0, 100.0), (12.0, 200.0)]
    assert meter.between(10.5, 11.5) == pytest.approx(100.0)
    assert meter.between(5.0, 11.0) is None
    assert meter.between(11.0, 14.0) is None
    with EnergyMeter(lambda: None) as blind:
        assert blind.between(0.0, 1.0) is None
