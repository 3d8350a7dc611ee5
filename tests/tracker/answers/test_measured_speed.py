"""A measured speed takes the place of the estimate, and is a cost, on every face alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import tracker
from app.http import api
from tests.builders.some_runs import model as some_model
from tests.builders.speeds import CARD, level, speed, store_speed
from tests.doubles.app_visit import handed_over, visit
from tests.doubles.command import command
from tests.tracker.answers.test_pareto import measured
from tracker.answers.card_plan import answer_card_plan
from tracker.answers.cards import CardAsked, find_card, named_card
from tracker.answers.fits import fits_frame, read_fits
from tracker.answers.measured_speed import is_on_card, read_measured_speeds, speed_on_card, weight_bits
from tracker.answers.pareto import MeasuredCost, measured_offers
from tracker.answers.what_fits import ModelThatFits, WhatFitsAsked, answer_what_fits, speed_text
from tracker.errors import TrackerError
from tracker.mcp.tools import FitsTool
from tracker.records import EngineInfo, EngineSettings
from tracker.records.speed import SpeedStatus
from tracker.settings import Settings

pytestmark = pytest.mark.clock

NAME = "Qwen/Qwen3-8B"
H100 = "H100 SXM"
SPEED = level(1).output_tokens_per_s


def of(name: str = NAME, **more: Any) -> Any:
    return speed(model_id=name, **more)


def row_of(settings: Settings, card: str, name: str = NAME) -> ModelThatFits:
    found = answer_what_fits(find_card(card), WhatFitsAsked(), settings)
    return next(row for row in found.rows if row.model_id == name)


def test_a_measured_speed_takes_the_place_of_the_estimate_on_its_own_card_only(settings: Settings) -> None:
    estimate = row_of(settings, H100)
    assert (estimate.speed_basis, estimate.speed_device) == ("estimated from bandwidth", None)
    store_speed(settings, of())
    here = row_of(settings, H100)
    assert (here.tokens_per_s, here.speed_basis, here.speed_concurrency) == (SPEED, "measured", 1)
    assert (here.speed_device, here.speed_id) == (CARD, "20261124-003000-5beed5")
    assert speed_text(here) == f"measured on {CARD}, 1 request at once, 24 Nov 2026"
    for other in ("H100 PCIe", "H200", "2x H100 SXM"):
        row = row_of(settings, other)
        assert (row.speed_basis, row.speed_id) == ("estimated from bandwidth", None)


def test_a_measured_speed_is_the_same_on_every_face_of_what_fits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_speed(settings, of())
    monkeypatch.setenv("TRACKER_HOME", str(settings.home))
    wanted = json.loads(json.dumps(asdict(row_of(settings, H100))))

    def found(rows: list[dict[str, Any]]) -> dict[str, Any]:
        return next(row for row in rows if row["model_id"] == NAME)

    assert (
        found(json.loads(command("fit", "--gpu", H100, "--limit", "99", "--json").stdout)["models"]) == wanted
    )
    assert found(api.what_fits_route({"gpu": H100})["models"]) == wanted
    assert found(FitsTool(gpu=H100, limit=99).told(settings).answer["models"]) == wanted
    assert row_of(settings, H100) in tracker.open_home(settings.home).what_fits(H100, limit=99).rows
    text = " ".join(command("fit", "--gpu", H100, "--limit", "99").stdout.split())
    assert f"{NAME}: {SPEED:,.1f} tokens/s measured on {CARD}, 1 request at once, 24 Nov 2026" in text
    table = handed_over("run_it", card="80 GB", gpu=H100)["what-fits-80gb.csv"].set_index("model_id")
    assert table.loc[NAME, "tokens_per_s"] == SPEED
    assert table.loc[NAME, "speed_device"] == CARD


def test_a_plan_shows_the_measured_speed_of_a_card(settings: Settings) -> None:
    l4 = EngineInfo("vllm", "0.32.0", "bfloat16", "NVIDIA L4", 32_768)
    store_speed(settings, of(engine=l4, settings=EngineSettings(engine="vllm", quantization="fp8")))
    rows = answer_card_plan(NAME, WhatFitsAsked(bits=8, limit=99), settings).rows
    assert {row.speed_basis for row in rows if row.card != "L4"} == {"estimated from bandwidth"}
    assert {(row.speed_basis, row.tokens_per_s) for row in rows if row.card == "L4"} <= {("measured", SPEED)}


def named(quantization: str | None, dtype: str = "bfloat16", *, asked: str | None = None) -> Any:
    return of(
        model=replace(some_model(NAME), quantization=quantization),
        settings=EngineSettings(engine="vllm", quantization=asked),
        engine=EngineInfo("vllm", "0.32.0", dtype, CARD, 32_768),
    )


@pytest.mark.parametrize(
    ("run", "bits"),
    [
        (named(None), 16.0),
        (named(None, "float32"), 32.0),
        (named("Q4_K_M"), 4.0),
        (named("UD-Q4_K_XL"), 4.0),
        (named("IQ3_XS"), 3.0),
        (named("Q8_0"), 8.0),
        (named("BF16"), 16.0),
        (named("fp8"), 8.0),
        (named(None, asked="fp8"), 8.0),
        (named("awq-4bit"), 4.0),
        (named("gptq-8bit"), 8.0),
        (named("awq"), 4.0),
        (named("mxfp4"), 4.0),
        (named("modelopt"), None),
    ],
    ids=lambda given: str(given) if isinstance(given, float | None) else None,
)
def test_bits_of_a_measured_speed_follow_from_its_names(
    settings: Settings, run: Any, bits: float | None
) -> None:
    store_speed(settings, run)
    (found,) = read_measured_speeds(settings)
    assert weight_bits(found) == bits


def test_a_speed_counts_for_the_bits_it_was_measured_at(settings: Settings) -> None:
    store_speed(settings, named("fp8"), replace(named(None), speed_id="20261125-000000-5beed6"))
    speeds, card = read_measured_speeds(settings), find_card(H100)
    at: Callable[[float], Any] = lambda bits: speed_on_card(  # noqa: E731
        speeds, card, model_id="acme/parent", bits=bits, published_bits=16.0
    )
    ids = [None if (one := at(bits)) is None else one.speed_id for bits in (16.0, 8.0, 4.0)]
    assert ids == ["20261125-000000-5beed6", "20261124-003000-5beed5", None]


def test_the_newest_measurement_counts_and_of_it_the_fewest_requests_with_an_answer(
    settings: Settings,
) -> None:
    newer = of(speed_id="20261125-000000-5beed6", levels=(level(1, n_answered=0), level(4)),
               status=SpeedStatus.PARTIAL, reason="lost_requests")  # fmt: skip
    store_speed(settings, of(), replace(newer, started_at=newer.started_at.replace(day=25)))
    first, second = read_measured_speeds(settings)
    assert (first.speed_id, first.concurrency, second.concurrency) == (newer.speed_id, 4, 1)
    assert "4 requests at once" in (speed_text(row_of(settings, H100)) or "")


@pytest.mark.parametrize(
    ("device", "card", "is_it"),
    [
        ("NVIDIA H100 80GB HBM3 × 2", find_card("2x H100 SXM"), True),
        ("NVIDIA H100 80GB HBM3 × 2", find_card("H100 SXM"), False),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", find_card("RTX 4090"), False),
        ("NVIDIA GeForce RTX 4090", find_card("RTX 4090"), True),
        ("cpu", find_card("RTX 4090"), False),
        ("cpu", CardAsked("main memory", 16.0, None, is_here=True, cpu="EPYC"), True),
        ("cpu", CardAsked("main memory", 16.0, None, is_here=True, cpu="Xeon"), False),
        ("NVIDIA Unheard 9", CardAsked("2× NVIDIA Unheard 9", 16.0, None, 2, is_here=True), False),
        ("NVIDIA Unheard 9 × 2", CardAsked("2× NVIDIA Unheard 9", 16.0, None, 2, is_here=True), True),
        (None, find_card("T4"), False),
    ],
)
def test_a_device_is_a_card_by_its_name_and_number(device: str | None, card: CardAsked, is_it: bool) -> None:
    assert is_on_card(device, "EPYC", card) is is_it


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA A100-PCIE-40GB", "A100 40GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA GH200 480GB", "GH200"),
    ],
)
def test_a_data_center_card_of_a_driver_is_not_taken_for_a_smaller_one(device: str, name: str) -> None:
    assert named_card(device) == find_card(name).card


FOUR = (
    ("acme/small", "sums", 0.40, 2_000_000_000, 90.0),
    ("acme/large", "sums", 0.80, 9_000_000_000, 30.0),
    ("acme/waste", "sums", 0.35, 8_000_000_000, 40.0),
    ("acme/untimed", "sums", 0.50, 8_000_000_000, 40.0),
)


def timed(name: str, tokens_per_s: float, device: str = CARD, n: int = 1) -> Any:
    one = replace(level(1), output_tokens_per_s=tokens_per_s)
    engine = EngineInfo("vllm", "0.32.0", "float32", device, 2048)
    return of(name, speed_id=f"20261124-00300{n}-5beed5", levels=(one, level(4)), engine=engine)


def test_pareto_takes_the_measured_speed_as_a_cost(settings: Settings) -> None:
    measured(settings, *FOUR)
    with pytest.raises(TrackerError, match="a measured speed; there are 0") as error:
        measured_offers(settings, MeasuredCost.SPEED, task="sums")
    assert "--speed" in error.value.hint
    store_speed(settings, timed("acme/small", 200.0), timed("acme/large", 100.0, n=2),
                timed("acme/waste", 90.0, n=3))  # fmt: skip
    found = measured_offers(settings, MeasuredCost.SPEED, task="sums")
    assert [(row.model, row.cost, row.on_frontier) for row in found.offers] == [
        ("acme/small", 1 / 200, True),
        ("acme/large", 1 / 100, True),
        ("acme/waste", 1 / 90, False),
    ]
    assert found.notes[0] == f"measured on: {CARD}"
    assert found.notes[-1].endswith("was measured: acme/untimed")
    asked = ("--cost", "speed", "--task", "sums", "--json")
    printed = json.loads(command("frontier", "pareto", *asked).stdout)["models"]
    row = next(row for row in printed if row["model"] == "acme/large")
    assert (row["device"], row["measured_on"], row["speed_id"]) == (
        CARD,
        "2026-11-24",
        "20261124-003002-5beed5",
    )
    assert row in api.pareto_route({"cost": "speed", "task": "sums"})["models"]


def test_pareto_times_of_two_devices_are_not_set_against_each_other(settings: Settings) -> None:
    measured(settings, *FOUR)
    store_speed(settings, timed("acme/small", 200.0), timed("acme/large", 20.0, "NVIDIA L4", 2),
                timed("acme/waste", 10.0, "NVIDIA L4", 3))  # fmt: skip
    found = measured_offers(settings, MeasuredCost.SPEED, task="sums")
    standing = {row.model: (found.spent[row.model].device, row.on_frontier) for row in found.offers}
    assert standing == {
        "acme/small": (CARD, True),
        "acme/large": ("NVIDIA L4", True),
        "acme/waste": ("NVIDIA L4", False),
    }
    assert found.notes[0].startswith("measured on different devices, so costs are not comparable")
    assert found.notes[1] == "on the frontier: among the models measured on the same device"


def test_pareto_a_speed_of_other_weights_or_many_requests_is_no_cost(settings: Settings) -> None:
    measured(settings, *FOUR)
    many = replace(timed("acme/small", 200.0), levels=(level(4),))
    other = timed("acme/large", 100.0, n=2)
    other = replace(other, model=replace(other.model, revision="9" * 40))
    store_speed(settings, many, other)
    with pytest.raises(TrackerError, match="there are 0"):
        measured_offers(settings, MeasuredCost.SPEED, task="sums")


def test_models_that_fit_have_the_speed_of_their_server_beside_that_of_their_run(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(settings.home))
    measured(settings, *FOUR)
    store_speed(settings, timed("acme/small", 200.0), timed("acme/large", 100.0, n=2))
    rows = read_fits(settings, memory_gb=80).rows.set_index("model_id")
    assert rows.loc["acme/small", ["tokens_per_s", "speed_tokens_per_s", "speed_device"]].tolist() == [
        90.0, 200.0, CARD,
    ]  # fmt: skip
    assert rows["speed_tokens_per_s"].isna().to_dict()["acme/untimed"]
    shown = json.loads(command("models", "--fits-gb", "80", "--json").stdout)["models"]
    expected = {row["model_id"]: row["speed_tokens_per_s"] for row in shown}
    assert expected["acme/large"] == 100.0
    of_app = api.fits_route({"gb": "80"})["models"]
    assert {row["model_id"]: row["speed_tokens_per_s"] for row in of_app} == expected
    frame = tracker.open_home(settings.home).models(fits_gb=80)
    assert set(fits_frame(read_fits(settings, memory_gb=80))) == set(frame)
    table = handed_over("run_it", card="80 GB")["fits-80gb.csv"].set_index("model_id")
    assert table.loc["acme/large", "speed_tokens_per_s"] == 100.0
    charts = list(visit("run_it", card="80 GB").get("vega_lite_chart"))
    assert "one request at a time" in "".join(str(chart.proto) for chart in charts)
