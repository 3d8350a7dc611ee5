"""Labels, ranks, filters and texts: what the pages compute before they show it."""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd
import pytest

from app import model_view, rows, tables, text
from app.board import Narrowing, complete, narrowed, needed, table, with_facts
from app.downloads import parquet


def board(*entries: dict[str, Any]) -> pd.DataFrame:
    common: dict[str, Any] = {"asked_max_model_len": None, "thinking": None}
    common |= {"suite": "quick", "task": "sums", "engine": "vllm", "dtype": "bfloat16", "quantization": None}
    common |= {"revision": "a" * 40, "run_id": "run-1", "score": 0.5, "ci_low": 0.4, "ci_high": 0.6}
    return pd.DataFrame([common | entry for entry in entries])


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([{"model_id": "a/b"}, {"model_id": "a/c"}], ["a/b", "a/c"]),
        (
            [{"model_id": "a/b"}, {"model_id": "a/b", "quantization": "Q4_1"}],
            ["a/b · as published", "a/b · Q4_1"],
        ),
        (
            [{"model_id": "a/b"}, {"model_id": "a/b", "revision": "b" * 40}],
            ["a/b · aaaaaaaa", "a/b · bbbbbbbb"],
        ),
        (
            [
                {"model_id": "a/b", "thinking": True},
                {"model_id": "a/b", "thinking": False},
                {"model_id": "a/b"},
            ],
            ["a/b · thinking", "a/b · no thinking", "a/b · thinking by default"],
        ),
        (
            [{"model_id": "a/b"}, {"model_id": "a/b", "asked_max_model_len": 4096}],
            ["a/b · any context", "a/b · 4,096 tokens of context"],
        ),
        ([{"model_id": "a/b"}, {"model_id": "a/b", "task": "words"}], ["a/b", "a/b"]),
    ],
    ids=[
        "other models",
        "other quantization",
        "other revision",
        "other thinking",
        "other context",
        "other tasks",
    ],
)
def test_a_label_says_no_more_than_tells_rows_apart(
    entries: list[dict[str, Any]], expected: list[str]
) -> None:
    assert list(rows.with_labels(board(*entries))["label"]) == expected


def test_a_rank_counts_the_models_that_are_surely_better() -> None:
    chain = board(
        {"model_id": "a/1", "score": 0.9, "ci_low": 0.8, "ci_high": 1.0},
        {"model_id": "a/2", "score": 0.7, "ci_low": 0.6, "ci_high": 0.85},
        {"model_id": "a/3", "score": 0.5, "ci_low": 0.4, "ci_high": 0.65},
    )
    assert list(rows.with_ranks(rows.with_labels(chain))["rank"]) == [1, 1, 2]


def test_tasks_keep_the_order_of_the_suite() -> None:
    of_two = board({"model_id": "a/1", "task": "zebra"}, {"model_id": "a/1", "task": "ant"})
    assert list(rows.with_ranks(rows.with_labels(of_two))["task"]) == ["zebra", "ant"]


@pytest.mark.parametrize(
    ("of_sums", "of_words", "expected"),
    [
        (["bfloat16"], ["fp8"], {"bfloat16": None}),
        (["bfloat16", "fp8"], ["bfloat16"], {"bfloat16": 0.7, "fp8": None}),
        (["bfloat16", "fp8"], ["fp8", "bfloat16"], {"bfloat16": 0.7, "fp8": 0.8}),
    ],
    ids=["other settings alone", "one of two", "both"],
)
def test_a_row_shows_other_tasks_under_its_own_settings_alone(
    of_sums: list[str], of_words: list[str], expected: dict[str, float | None]
) -> None:
    scores = {"bfloat16": 0.7, "fp8": 0.8}
    measured = [{"task": "sums", "quantization": name} for name in of_sums]
    measured += [{"task": "words", "quantization": name, "score": scores[name]} for name in of_words]
    found = table(board(*({"model_id": "m/x"} | one for one in measured)), "sums", ("words",))
    beside = found.set_index("quantization")["score of words"]
    assert {name: None if pd.isna(value) else value for name, value in beside.items()} == expected
    whole = [name for name, value in expected.items() if value is not None]
    assert sorted(complete(found, ("words",))["quantization"]) == sorted(whole)


def test_settings_that_nobody_chose_are_the_same_settings() -> None:
    scores = board({"model_id": "m/x"}, {"model_id": "m/x", "task": "words", "score": 0.7})
    assert list(table(scores, "sums", ("words",))["score of words"]) == [0.7]


@pytest.mark.parametrize(
    ("narrowing", "expected"),
    [
        (Narrowing(), ["a/b", "x/(y"]),
        (Narrowing(find=" A/ "), ["a/b"]),
        (Narrowing(find="("), ["x/(y"]),
        (Narrowing(fits_gb=8), ["a/b"]),
        (Narrowing(max_params=3e9, organizations=("x",)), []),
        (Narrowing(licenses=("not stated",)), ["x/(y"]),
    ],
    ids=["all", "any case", "no pattern", "card", "size and organisation", "no licence"],
)
def test_filters_keep_what_they_say(narrowing: Narrowing, expected: list[str]) -> None:
    rows_ = [
        {"model_id": "a/b", "n_params": 2e9, "license": "mit"},
        {"model_id": "x/(y", "n_params": 9e9, "license": None},
    ]
    labelled = with_facts(rows.with_labels(board(*rows_)))
    assert list(narrowed(labelled, narrowing)["label"]) == expected


@pytest.mark.parametrize(
    ("known", "expected_gb"),
    [
        ({"weights_bytes": 16e9, "overhead_bytes": 1e9, "cache_bytes_per_token": 1e5}, 17.8192),
        ({"n_params": 8e9}, None),
        ({}, None),
    ],
    ids=["from the headers", "from the size, for a short context alone", "not known"],
)
def test_memory_is_said_only_where_it_is_known(known: dict[str, float], expected_gb: float | None) -> None:
    frame = pd.DataFrame([known | {"model_id": "a/b"}])
    (bytes_needed,) = needed(frame, context=8192)
    assert bytes_needed == pytest.approx(expected_gb * 1e9) if expected_gb else math.isnan(bytes_needed)


def test_a_group_has_no_items_of_its_own() -> None:
    scores = pd.DataFrame({"task": ["mmlu", "law", "logic", "sums"], "group": [None, "mmlu", "mmlu", None]})
    assert rows.leaf_tasks(scores) == ["law", "logic", "sums"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (text.percent(0.98333), "98.3 %"),
        (text.percent(math.nan), "–"),
        (text.interval(0.1, 0.25), "10.0 – 25.0 %"),
        (text.interval(None, None), "–"),
        (text.duration(59.6), "1 min 0 s"),
        (text.duration(7500), "2 h 5 min"),
        (text.size(9e8), "900 MB"),
        (text.size(8.1e11), "810.0 GB"),
        (
            model_view.peak_memory({"peak_memory_bytes": 9e8, "predicted_memory_bytes": 1.2e9}),
            "900 MB (predicted 1.2 GB)",
        ),
        (
            model_view.peak_memory({"peak_memory_bytes": 9e8, "predicted_memory_bytes": None}),
            "900 MB",
        ),
        (text.count(134.5e6), "134.5 M"),
        (text.count(None), "–"),
        (text.rate(1234.4), "1,234"),
        (text.rate(3.14), "3.1"),
    ],
)
def test_numbers_are_said_as_people_say_them(value: str, expected: str) -> None:
    assert value == expected


def test_control_characters_are_written_out_and_line_breaks_stay() -> None:
    assert text.visible("a\x1b[31mb\x07\r\n\tc\u202ed\x00") == "a\\x1b[31mb\\x07\n\tc\\u202ed\\x00"


def test_an_escaped_text_holds_no_markdown() -> None:
    assert text.escaped("**a** [b](c)\n$x$ :red[d]") == (r"\*\*a\*\* \[b\]\(c\) \$x\$ \:red\[d\]")


@pytest.mark.parametrize(
    "address", ["https://evil.example/x", "HTTP://evil.example", "www.evil.example", "a@evil.example"]
)
def test_an_escaped_address_keeps_its_characters_and_is_no_link(address: str) -> None:
    # how remark-gfm finds addresses in text, as in the page that Streamlit 1.67 serves
    linked = re.compile(r"(https?://|www(?=\.))([-.\w]+)|([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)", re.IGNORECASE)
    shown = text.escaped(f"see {address}").replace("\\", "")
    assert linked.search(f"see {address}")
    assert not linked.search(shown)
    assert shown.replace(text.BREAK, "") == f"see {address}"


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"score": 1.0, "is_right": True, "is_truncated": False, "is_unparsed": False}, "right"),
        (
            {"score": 0.0, "is_right": False, "is_truncated": True, "is_unparsed": True},
            "wrong, truncated, unparsed",
        ),
        ({"score": 0.25, "is_right": False, "is_truncated": False, "is_unparsed": False}, "25 % right"),
        ({"score": None, "is_right": False, "is_truncated": False, "is_unparsed": False}, "no score"),
    ],
    ids=["right", "wrong", "partly", "none"],
)
def test_a_verdict_is_told_in_words(item: dict[str, Any], expected: str) -> None:
    assert tables.verdict(item) == expected


def test_a_parquet_download_holds_the_table(tmp_path: Any) -> None:
    path = tmp_path / "scores.parquet"
    path.write_bytes(parquet(board({"model_id": "a/b"})))
    assert pd.read_parquet(path)["model_id"].to_list() == ["a/b"]
