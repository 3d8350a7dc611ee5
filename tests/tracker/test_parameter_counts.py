"""A quantized checkpoint has as many parameters as its weights, not as the values that it stores."""

from __future__ import annotations

from typing import Any

import pytest

from tracker.records.parameter_counts import (
    ParameterCount,
    Quantization,
    count_parameters,
    named_size,
    read_quantization,
)

AWQ = Quantization(is_quantized=True, bits=4)
W8A8 = Quantization(is_quantized=True, bits=8)
UNKNOWN = Quantization(is_quantized=True)


@pytest.mark.parametrize(
    ("by_dtype", "quantization", "names", "n_params", "is_packed"),
    [
        ({"BF16": 8_190_000_000}, Quantization(), ["a/b"], 8_190_000_000, False),
        # Qwen2.5-7B in AWQ: 6.5B weights in 0.82B integers, 1.1B in 16 bits
        ({"I32": 820_000_000, "F16": 1_100_000_000}, AWQ, ["q/Qwen2.5-7B-AWQ"], 7_660_000_000, False),
        ({"I32": 820_000_000, "F16": 1_100_000_000}, AWQ, ["q/no-size-awq"], 7_660_000_000, False),
        ({"I32": 820_000_000, "F16": 1_100_000_000}, UNKNOWN, ["q/Qwen2.5-7B-AWQ"], 1_920_000_000, True),
        # the case of a 27B copy of which the Hub says 7.8B; its split does not give 27B at 4 bits
        ({"I32": 4_710_000_000, "BF16": 3_129_289_360}, AWQ, ["t/Qwen3.8-27B-INT4"], 7_839_289_360, True),
        # bytes that hold two weights of 4 bits, as bitsandbytes writes them
        ({"U8": 3_500_000_000, "F16": 1_050_000_000}, AWQ, ["u/Llama-3.1-8B-bnb-4bit"], 8_050_000_000, False),
        # integers of 8 bits hold one weight each
        ({"I8": 6_980_000_000, "BF16": 1_050_000_000}, W8A8, ["r/x-8B-w8a8"], 8_030_000_000, False),
        # a listing that counts the weights already
        ({"U8": 114_000_000_000, "BF16": 2_800_000_000}, AWQ, ["o/gpt-oss-120b"], 116_800_000_000, False),
        # most of a small model is its embedding
        ({"I32": 12_500_000, "BF16": 170_000_000}, AWQ, ["g/gemma-3-270m-awq"], 270_000_000, False),
        ({"I32": 12_500_000, "BF16": 170_000_000}, UNKNOWN, ["g/gemma-3-270m-awq"], 182_500_000, True),
        # masks of a model that is not quantized
        ({"F16": 124_000_000, "U8": 12_600_000}, Quantization(), ["o/gpt2"], 136_600_000, False),
    ],
    ids=["plain", "awq", "no size in the name", "bits unknown", "bits against the name", "bytes", "8 bits",
         "counted already", "embedding", "embedding, bits unknown", "masks"],
)  # fmt: skip
def test_parameters_are_the_weights(
    by_dtype: dict[str, int], quantization: Quantization, names: list[str], n_params: int, is_packed: bool
) -> None:
    found = count_parameters(by_dtype, total=sum(by_dtype.values()), quantization=quantization, names=names)
    assert (found.n_params, found.is_packed) == (n_params, is_packed)


def test_bytes_of_a_listing_that_counts_the_weights_already_follow_from_their_bits() -> None:
    found = count_parameters(
        {"U8": 20_000_000_000, "BF16": 1_500_000_000},
        total=21_500_000_000,
        quantization=AWQ,
        names=["o/x-20b"],
    )
    assert found == ParameterCount(21_500_000_000, False, 13_000_000_000)


@pytest.mark.parametrize("by_dtype", [{}, {"I32": 5}, {"F16": 5, "U8": 2}])
def test_parameters_that_are_not_listed_are_unknown(by_dtype: dict[str, int]) -> None:
    found = count_parameters(by_dtype, total=None, quantization=AWQ, names=["q/Qwen2.5-7B-AWQ"])
    assert (found.n_params, found.is_packed) == (None, False)


@pytest.mark.parametrize(
    ("config", "tags", "expected"),
    [
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, (), Quantization(True, 4)),
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
            (),
            Quantization(True, 4),
        ),
        ({"quantization_config": {"quant_method": "mxfp4"}}, (), Quantization(True, 4)),
        (
            {
                "quantization_config": {
                    "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}}
                }
            },
            (),
            Quantization(True, 4),
        ),
        ({}, ("safetensors", "4-bit", "awq"), Quantization(True, 4)),
        ({}, ("8-bit", "compressed-tensors"), Quantization(True, 8)),
        ({}, ("4-bit", "8-bit"), Quantization(True, None)),
        ({}, ("gptq",), Quantization(True, None)),
        ({"quantization_config": "awq"}, (), Quantization()),
        (
            {"quantization_config": {"bits": -1, "config_groups": [1], "weights": None}},
            (),
            Quantization(True, None),
        ),
        ({}, ("safetensors", "conversational"), Quantization()),
    ],
)
def test_quantization_is_read_from_the_configuration_or_the_tags(
    config: dict[str, Any], tags: tuple[str, ...], expected: Quantization
) -> None:
    assert read_quantization(config, tags) == expected


@pytest.mark.parametrize(
    ("name", "size"),
    [("q/Qwen3-0.6B-GPTQ-Int8", 0.6e9), ("g/gemma-3-270m-it", 0.27e9), ("q/Qwen3-235B-A22B-FP8", 235e9),
     ("g/gemma-3n-E2B-it", None), ("m/Kimi-K2.5", None), ("x/model-4bit", None), ("m/phi-3-mini-4k", None),
     ("x/model-0B", None), (f"x/model-{'9' * 400}b", None)],
)  # fmt: skip
def test_the_size_in_a_name_is_its_number_of_parameters(name: str, size: float | None) -> None:
    assert named_size([name]) == size
