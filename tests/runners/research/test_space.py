"""The typed space and the tiers: what may be changed, and what a model is told when it goes outside."""

from __future__ import annotations

import re

import pytest

from runners.research.corpora.build import CORPORA
from runners.research.problem import script, space
from runners.research.problem.tiers import TIERS, Tier, tier
from tracker.errors import UnknownNameError
from tracker.records.studies import CATEGORIES, Change

CPU = TIERS["cpu-2026-11"]
every_tier = pytest.mark.parametrize("at", TIERS.values(), ids=TIERS)


def test_the_space_has_the_numbers_of_the_script_and_no_others() -> None:
    block = script.numbers(script.PATH.read_text())
    assert {tunable.name: tunable.default for tunable in space.SPACE} == block
    assert 14 <= len(block) <= 22


def test_space_every_category_has_a_number_to_change() -> None:
    assert {tunable.category for tunable in space.SPACE} == set(CATEGORIES)


@every_tier
def test_space_the_defaults_of_a_tier_stand_in_its_script_and_are_allowed(at: Tier) -> None:
    defaults = {tunable.name: tunable.default for tunable in space.tunables(at)}
    assert script.numbers(script.shipped(at)) == defaults
    assert space.validate(defaults, at) == {}


@every_tier
def test_space_tiers_differ_in_the_editable_part_of_the_script_alone(at: Tier) -> None:
    shipped = script.regions(script.shipped(at))
    assert shipped.frozen_hash == script.regions(script.PATH.read_text()).frozen_hash


@every_tier
def test_space_a_tier_knows_how_many_tokens_its_corpus_has(at: Tier) -> None:
    assert at.vocab_size == CORPORA[at.corpus].vocab_size


@every_tier
def test_space_a_checkpoint_of_the_largest_model_fits(at: Tier) -> None:
    assert 4 * at.max_params < at.max_checkpoint_bytes <= at.limits.file_bytes


def test_space_a_typing_error_in_a_tier_is_answered_with_the_near_name() -> None:
    with pytest.raises(UnknownNameError) as caught:
        tier("cpuu")
    assert "`cpu`" in caught.value.hint


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"beta1": 2}, "`beta1` must be between 0.5 and 0.98, got 2"),
        ({"beta1": "high"}, "`beta1` must be a number, got 'high'"),
        ({"beta1": True}, "`beta1` must be a number, got True"),
        ({"beta1": float("nan")}, "`beta1` must be a number, got nan"),
        ({"beta1": float("inf")}, "`beta1` must be a number, got inf"),
        ({"beta1": 10**400}, f"`beta1` must be between 0.5 and 0.98, got 1{'0' * 38}…"),
        ({"beta1": -(10**400)}, f"`beta1` must be between 0.5 and 0.98, got -1{'0' * 37}…"),
        ({"batch_size": 10**400}, f"`batch_size` must be one of 4, 8, 16, 32, 64, got 1{'0' * 38}…"),
        ({"beta1": "9" * 400}, f"`beta1` must be a number, got '{'9' * 38}…"),
        ({"bet1": 0.8}, "there is no number called `bet1`, did you mean `beta1`?"),
        ({"batch_size": 17}, "`batch_size` must be one of 4, 8, 16, 32, 64, got 17"),
        ({"n_head": 8, "d_model": 8 * 11}, "`d_model` must be one of 32, 48, 64, 80, 96, got 88"),
        ({"n_head": 4, "d_model": 4 * 9}, "`d_model` must be one of 32, 48, 64, 80, 96, got 36"),
        (
            {"warmup_fraction": 0.5, "cooldown_fraction": 0.8},
            "`warmup_fraction` + `cooldown_fraction` must be at most 1, got 0.5 + 0.8",
        ),
        (
            {"n_layer": 4, "d_model": 96},
            "the model would have 449,088 parameters, and at most 250,000 are allowed: "
            "make `d_model`, `n_layer` or `mlp_ratio` smaller",
        ),
        (
            {"beta1": 2, "softcap": 7},
            "`beta1` must be between 0.5 and 0.98, got 2; "
            "`softcap` must be one of 0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 50.0, got 7",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_what_is_outside_the_space_is_answered_with_a_sentence(
    params: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        space.validate(params, CPU)


def test_space_a_head_must_have_an_even_width() -> None:
    at = TIERS["gpu"]
    with pytest.raises(ValueError, match="`d_model` must be a multiple of 2 × `n_head`, got 512 and 6"):
        space.validate({"n_head": 6, "d_model": 512}, at)


def test_space_a_change_keeps_only_what_differs_and_six_digits_of_it() -> None:
    proposed = {"beta1": 0.9, "batch_size": 8.0, "beta2": 0.99, "matrix_lr": 0.0123456789}
    cleaned = space.validate(proposed, CPU)
    assert cleaned == {"matrix_lr": 0.0123457, "beta2": 0.99, "batch_size": 8}
    assert isinstance(cleaned["batch_size"], int)


def test_space_equal_numbers_are_one_change_in_whatever_order_they_are_given() -> None:
    one = space.validate({"beta2": 0.99, "beta1": 0.8}, CPU)
    other = space.validate({"beta1": 0.8, "beta2": 0.99, "eps": 1e-8}, CPU)
    assert list(one.items()) == list(other.items())


def test_space_a_change_of_numbers_has_their_categories() -> None:
    parent, child = Change({"beta1": 0.8}), Change({"beta1": 0.8, "batch_size": 8, "matrix_lr": 0.01})
    assert space.diff(parent, child, CPU) == ("matrix_lr", "batch_size")
    assert space.categories(parent, child, CPU) == ("learning_rate", "batch")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("beta1: float = 0.9 ", "beta1: float = 0.8 ", ("betas",)),
        ("F.relu(self.up(x)).square()", "F.gelu(self.up(x))", ("architecture",)),
        ("weight.data.zero_()", "weight.data.normal_(0.0, 0.01, generator=stream)", ("initialisation",)),
        ("left = (1 - progress)", "left = math.sqrt(1 - progress)", ("schedule",)),
        ("# it took no part", "# nothing to do", ()),
    ],
    ids=["number", "model", "initialisation", "schedule", "comment"],
)
def test_space_an_edit_of_the_script_has_the_category_of_what_it_touches(
    old: str, new: str, expected: tuple[str, ...]
) -> None:
    shipped = script.shipped(CPU)
    assert old in shipped
    assert space.categories(Change(), Change(script=shipped.replace(old, new)), CPU) == expected


def test_space_the_schema_names_types_bounds_and_choices_and_allows_nothing_else() -> None:
    assert space.json_schema(CPU, ["beta1", "n_layer"]) == {
        "type": "object",
        "properties": {
            "beta1": {
                "type": "number",
                "description": "AdamW's decay rate of the mean gradient",
                "minimum": 0.5,
                "maximum": 0.98,
            },
            "n_layer": {"type": "integer", "description": "number of blocks", "enum": [1, 2, 3, 4]},
        },
        "additionalProperties": False,
        "minProperties": 1,
    }
    assert set(space.json_schema(CPU)["properties"]) == {tunable.name for tunable in space.SPACE}


@pytest.mark.parametrize("change", [{}, {"n_layer": 3, "mlp_ratio": 2}], ids=["defaults", "changed"])
def test_space_the_number_of_parameters_is_the_models_own(change: dict[str, int]) -> None:
    from tests.doubles.training_script import module

    values = space.values(Change(space.validate(change, CPU)), CPU)
    model = module(CPU).build_model({"params": values, "vocab_size": 35, "context": 64})
    assert space.n_params(values, CPU) == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("marker", [script.BEGIN, script.END])
def test_space_a_script_without_its_markers_is_refused(marker: str) -> None:
    text = script.shipped(CPU)
    for damaged in (text.replace(marker, "# "), text.replace(marker, marker + "\n" + marker)):
        with pytest.raises(ValueError, match="marker lines must stay"):
            script.regions(damaged)
