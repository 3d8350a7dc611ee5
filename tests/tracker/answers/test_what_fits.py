"""What can I run: the catalogue, the cards, and the answer in an empty home."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from runners.memory.architecture import read_architecture
from tests.builders.catalog import write_catalog
from tests.conftest import ROOT
from tracker.answers.card_plan import answer_card_plan, card_plan_document
from tracker.answers.cards import CardAsked, find_card, named_card
from tracker.answers.catalog import OpenModel, catalog_rows
from tracker.answers.what_fits import (
    WhatFits,
    WhatFitsAsked,
    answer_what_fits,
    what_fits_document,
)
from tracker.errors import FieldError, TrackerError, UnknownNameError
from tracker.frontier.tables import load_cards, load_catalog, load_shapes
from tracker.interpreter import python_command, python_environment
from tracker.memory_estimate import GB
from tracker.settings import Settings
from tracker.store import Store

CONFIGS: Path = ROOT / "tests" / "fixtures" / "fit"


@pytest.fixture(scope="module")
def on_4090(tmp_path_factory: pytest.TempPathFactory) -> WhatFits:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    return answer_what_fits(find_card("RTX 4090"), WhatFitsAsked(), settings)


SHAPES = {shape.hub_id: shape for shape in load_shapes()}
STORED = {
    path.name.removesuffix(".config.json").replace("__", "/", 1): path
    for path in CONFIGS.glob("*.config.json")
}


@pytest.mark.parametrize("hub_id", sorted(SHAPES.keys() & STORED.keys()))
def test_shapes_agree_with_the_configuration_on_the_hub(hub_id: str) -> None:
    shape = SHAPES[hub_id]
    found = read_architecture(json.loads(STORED[hub_id].read_text()))
    full = sum(layer.token_values for layer in found.layers if layer.window is None)
    windowed = {layer.window: 0 for layer in found.layers if layer.window is not None}
    for layer in found.layers:
        if layer.window is not None:
            windowed[layer.window] += layer.token_values
    expected = next(iter(windowed.items()), (None, None))
    assert (shape.cache_values_per_token, shape.window, shape.window_values_per_token) == (full, *expected)


def test_what_fits_is_best_first_and_within_the_memory(on_4090: WhatFits) -> None:
    indices = [row.index for row in on_4090.rows if row.index is not None]
    assert indices == sorted(indices, reverse=True)
    assert all(row.needed_bytes <= 24 * GB for row in on_4090.rows)
    assert on_4090.rows[0].model_id == "Qwen/Qwen3.8-27B"
    assert len({row.model_id.casefold() for row in on_4090.rows}) == len(on_4090.rows) == on_4090.n_fitting


def test_what_fits_states_the_grade_of_its_evidence(on_4090: WhatFits) -> None:
    by_id = {row.model_id: row for row in on_4090.rows}
    reduced, whole = by_id["Qwen/Qwen3.6-35B-A3B"], by_id["meta-llama/Llama-3.1-8B-Instruct"]
    assert (reduced.bits, reduced.evidence, reduced.quantization_loss) == (4.0, "parent's", "not measured")
    assert (whole.bits, whole.evidence, whole.quantization_loss) == (16.0, "published", None)
    assert by_id["openai/gpt-oss-20b"].bits == 4.25
    assert {row.speed_basis for row in on_4090.rows} <= {"estimated from bandwidth", None}
    document = what_fits_document(on_4090)
    assert json.loads(json.dumps(document, allow_nan=False))["card"]["name"] == "RTX 4090"


def test_fit_and_plan_in_a_new_home_import_nothing_heavy_and_take_little_time(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom tracker.cli import main\n"
        "main(['fit', '--gpu', 'RTX 4090', '--limit', '1', '-q'])\nmain(['plan', 'Qwen3-32B', '-q'])\n"
        "print([n for n in ('numpy', 'scipy', 'pandas', 'duckdb', 'psutil', 'httpx2') if n in sys.modules])\n"
        "print(time.process_time())"
    )
    environment = python_environment() | {"TRACKER_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        python_command("-c", code), env=environment, capture_output=True, text=True, check=True
    )
    *_, heavy, seconds = done.stdout.splitlines()
    assert "Qwen/Qwen3.8-27B" in done.stdout
    assert (heavy, float(seconds) < 1.5) == ("[]", True), f"{seconds} s of processor time"
    assert not (tmp_path / "home").exists()


def test_shipped_catalog_is_what_its_script_writes(settings: Settings, tmp_path: Path) -> None:
    write_catalog(tmp_path / "catalog.csv", catalog_rows(settings))
    made, shipped = load_catalog(tmp_path), load_catalog()
    assert [row.hub_id for row in made] == [row.hub_id for row in shipped]
    wrong = [
        (ours.hub_id, name)
        for ours, theirs in zip(made, shipped, strict=True)
        for name, value in asdict(ours).items()
        if value
        != (pytest.approx(kept, rel=1e-6) if isinstance(kept := getattr(theirs, name), float) else kept)
    ]
    assert wrong == [], "run `python -m tests.builders.catalog`"


def test_what_fits_is_the_same_in_a_new_home_as_from_the_tables_behind_it(
    on_4090: WhatFits, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "used")
    with Store.open(settings):
        pass
    computed = answer_what_fits(find_card("RTX 4090"), WhatFitsAsked(), settings)
    names = [[(row.model_id, row.bits, row.evidence) for row in found.rows] for found in (on_4090, computed)]
    assert names[0] == names[1]
    assert computed.as_of == on_4090.as_of


def test_what_fits_by_context_bits_and_license(settings: Settings) -> None:
    card = find_card("RTX 4090")
    long = answer_what_fits(card, WhatFitsAsked(context=131_072, bits=4), settings)
    assert all(row.max_context is None or row.max_context >= 131_072 for row in long.rows)
    assert {row.bits for row in long.rows} <= {4.0}
    free = answer_what_fits(card, WhatFitsAsked(license="apache", limit=3), settings)
    assert [row.license for row in free.rows] == ["apache-2.0"] * 3
    nothing = answer_what_fits(CardAsked("small", 0.5, None), WhatFitsAsked(), settings)
    assert nothing.rows == ()


def test_memory_of_a_model_follows_its_shape() -> None:
    shape = next(one for one in load_shapes() if one.hub_id == "google/gemma-3-27b-it")
    model = OpenModel("google/gemma-3-27b-it", 27_432_406_640, shape=shape)
    cache = 2 * (40_960 * 131_072 + 212_992 * 1024)
    assert model.cache_bytes(16, 131_072) == cache
    assert model.needed_bytes(8, 131_072) == round(27_432_406_640 * 8.5 / 8 + cache + 1.5 * GB)


def test_speed_reads_only_active_weights_and_is_unknown_for_a_large_mixture_of_unknown_kind() -> None:
    dense, experts = OpenModel("a/b", 30 * 10**9), OpenModel("a/c", 30 * 10**9, 3 * 10**9)
    assert dense.tokens_per_s(16, 1, 1000) == pytest.approx(0.6 * 1000 / (60 * 1.08))
    assert experts.tokens_per_s(16, 1, 1000) == pytest.approx(0.35 * 1000 / (6 + 60 * 0.08))
    assert OpenModel("a/d", 10**12).tokens_per_s(4, 4096, 1000) is None


@pytest.mark.parametrize(
    ("typed", "name", "n_cards"),
    [
        ("RTX 4090", "RTX 4090", 1),
        ("nvidia geforce rtx 4090", "RTX 4090", 1),
        ("4090", "RTX 4090", 1),
        ("2x RTX 3090", "2× RTX 3090", 2),
        ("M4 Max 64GB", "M4 Max 64GB", 1),
        ("Radeon RX 7900 XTX", "RX 7900 XTX", 1),
    ],
)
def test_card_is_found_by_the_names_that_people_type(typed: str, name: str, n_cards: int) -> None:
    found = find_card(typed)
    assert (found.name, found.n_cards) == (name, n_cards)


def test_card_that_is_unknown_or_several_has_a_hint() -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_card("RTX 4900")
    assert "`RTX 4090`" in caught.value.hint
    with pytest.raises(TrackerError, match="is several cards") as several:
        find_card("H100")
    assert several.value.hint == "`H100 SXM` or `H100 PCIe`"
    for wrong in ("99x T4", "0x T4"):
        with pytest.raises(FieldError):
            find_card(wrong)
    with pytest.raises(UnknownNameError):
        find_card("")


def test_card_of_a_driver_is_the_most_specific_row() -> None:
    assert named_card("NVIDIA GeForce RTX 4070 Ti SUPER") == find_card("RTX 4070 Ti SUPER").card
    assert named_card("NVIDIA Imaginary 1") is None
    assert len(load_cards()) > 60


def test_plan_names_the_smallest_cards_first(settings: Settings) -> None:
    plan = answer_card_plan("Qwen3-32B", WhatFitsAsked(), settings)
    assert {row.bits for row in plan.rows} == {4.0, 8.0, 16.0}
    for bits in (4.0, 8.0, 16.0):
        sizes = [row.memory_gb for row in plan.rows if row.bits == bits]
        assert sizes == sorted(sizes)
        assert all(row.memory_gb * GB >= row.needed_bytes for row in plan.rows)
    assert card_plan_document(plan)["ordered_by"] == "memory"
    large = answer_card_plan("deepseek-ai/DeepSeek-V3.2", WhatFitsAsked(bits=8), settings)
    assert {row.n_cards for row in large.rows} == {4}


def test_plan_of_an_unknown_model_or_too_long_a_context_is_a_sentence(settings: Settings) -> None:
    with pytest.raises(UnknownNameError) as caught:
        answer_card_plan("Qwen/Qwen3-32", WhatFitsAsked(), settings)
    assert "`Qwen/Qwen3-32B`" in caught.value.hint
    with pytest.raises(TrackerError, match="has a context of 40,960 tokens"):
        answer_card_plan("Qwen/Qwen3-32B", WhatFitsAsked(context=100_000), settings)


# Sizes of GGUF files in GB as their model cards list them (bartowski's, and the table of a local stack).
PUBLISHED = [
    ("meta-llama/Llama-3.1-8B-Instruct", 4, 4.92), ("meta-llama/Llama-3.1-8B-Instruct", 8, 8.54),
    ("meta-llama/Llama-3.1-8B-Instruct", 16, 16.1), ("meta-llama/Llama-3.1-70B-Instruct", 4, 42.52),
    ("meta-llama/Llama-3.1-70B-Instruct", 8, 74.98), ("meta-llama/Llama-3.2-3B-Instruct", 4, 2.02),
    ("Qwen/Qwen2.5-7B-Instruct", 4, 4.68), ("Qwen/Qwen2.5-14B-Instruct", 4, 8.99),
    ("Qwen/Qwen2.5-14B-Instruct", 8, 15.7), ("Qwen/Qwen2.5-32B-Instruct", 4, 19.85),
    ("Qwen/Qwen2.5-72B-Instruct", 4, 47.42), ("Qwen/Qwen3-8B", 4, 5.03),
    ("google/gemma-2-9b-it", 4, 5.76), ("google/gemma-2-9b-it", 8, 9.83), ("google/gemma-2-27b-it", 4, 16.65),
    ("mistralai/Mistral-Nemo-Instruct-2407", 4, 7.48), ("microsoft/Phi-3.5-mini-instruct", 4, 2.39),
    ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", 4, 14.33),
]  # fmt: skip


def test_weights_of_18_published_copies_are_within_7_percent() -> None:
    errors = []
    for hub_id, bits, published in PUBLISHED:
        shape = SHAPES[hub_id]
        model = OpenModel(hub_id, shape.n_params or 0, shape=shape)
        errors.append(abs(model.weights_bytes(bits) / GB / published - 1))
    assert max(errors) < 0.07
    assert sum(errors) / len(errors) < 0.02
