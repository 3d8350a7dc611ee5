"""Labels, ranks, filters and texts: what the pages compute before they show it."""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd
import pytest

from app.data import row_labels
from app.pages.items import columns
from app.pages.model import measured
from app.widgets import safe_text
from app.widgets.downloads import parquet_bytes
from tracker.answers.leaderboard import (
    Narrowing,
    complete,
    memory_needed,
    narrowed,
    ranked_rows,
    with_facts,
    with_labels,
    with_ranks,
)
from tracker.foreign_text import BREAK


def board(*entries: dict[str, Any]) -> pd.DataFrame:
    common: dict[str, Any] = {"asked_max_model_len": None, "thinking": None}
    common |= {"sampling": None, "max_output_tokens": None}
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
def test_row_labels_have_only_what_distinguishes_rows(
    entries: list[dict[str, Any]], expected: list[str]
) -> None:
    assert list(with_labels(board(*entries))["label"]) == expected


def test_row_labels_rank_counts_models_that_are_significantly_better() -> None:
    chain = board(
        {"model_id": "a/1", "score": 0.9, "ci_low": 0.8, "ci_high": 1.0},
        {"model_id": "a/2", "score": 0.7, "ci_low": 0.6, "ci_high": 0.85},
        {"model_id": "a/3", "score": 0.5, "ci_low": 0.4, "ci_high": 0.65},
    )
    assert list(with_ranks(with_labels(chain))["rank"]) == [1, 1, 2]


def test_row_labels_keep_the_task_order_of_the_suite() -> None:
    of_two = board({"model_id": "a/1", "task": "zebra"}, {"model_id": "a/1", "task": "ant"})
    assert list(with_ranks(with_labels(of_two))["task"]) == ["zebra", "ant"]


@pytest.mark.parametrize(
    ("of_sums", "of_words", "expected"),
    [
        (["bfloat16"], ["fp8"], {"bfloat16": None}),
        (["bfloat16", "fp8"], ["bfloat16"], {"bfloat16": 0.7, "fp8": None}),
        (["bfloat16", "fp8"], ["fp8", "bfloat16"], {"bfloat16": 0.7, "fp8": 0.8}),
    ],
    ids=["other settings alone", "one of two", "both"],
)
def test_leaderboard_rows_show_other_tasks_of_the_same_settings_only(
    of_sums: list[str], of_words: list[str], expected: dict[str, float | None]
) -> None:
    scores = {"bfloat16": 0.7, "fp8": 0.8}
    measured = [{"task": "sums", "quantization": name} for name in of_sums]
    measured += [{"task": "words", "quantization": name, "score": scores[name]} for name in of_words]
    found = ranked_rows(board(*({"model_id": "m/x"} | one for one in measured)), "sums", ("words",))
    beside = found.set_index("quantization")["score of words"]
    assert {name: None if pd.isna(value) else value for name, value in beside.items()} == expected
    whole = [name for name, value in expected.items() if value is not None]
    assert sorted(complete(found, ("words",))["quantization"]) == sorted(whole)


def test_leaderboard_rows_treat_default_settings_as_equal() -> None:
    scores = board({"model_id": "m/x"}, {"model_id": "m/x", "task": "words", "score": 0.7})
    assert list(ranked_rows(scores, "sums", ("words",))["score of words"]) == [0.7]


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
def test_leaderboard_rows_filters_keep_matching_rows(narrowing: Narrowing, expected: list[str]) -> None:
    rows_ = [
        {"model_id": "a/b", "n_params": 2e9, "license": "mit"},
        {"model_id": "x/(y", "n_params": 9e9, "license": None},
    ]
    labelled = with_facts(with_labels(board(*rows_)))
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
def test_leaderboard_rows_memory_is_given_only_where_known(
    known: dict[str, float], expected_gb: float | None
) -> None:
    frame = pd.DataFrame([known | {"model_id": "a/b"}])
    (bytes_needed,) = memory_needed(frame, [8192])[8192]
    assert bytes_needed == pytest.approx(expected_gb * 1e9) if expected_gb else math.isnan(bytes_needed)


def test_row_labels_leaf_tasks_leave_out_groups() -> None:
    scores = pd.DataFrame({"task": ["mmlu", "law", "logic", "sums"], "group": [None, "mmlu", "mmlu", None]})
    assert row_labels.leaf_tasks(scores) == ["law", "logic", "sums"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (safe_text.percent(0.98333), "98.3%"),
        (safe_text.percent(math.nan), "–"),
        (safe_text.interval(0.1, 0.25), "10.0–25.0%"),
        (safe_text.interval(None, None), "–"),
        (safe_text.duration(59.6), "1 min 0 s"),
        (safe_text.duration(7500), "2 h 5 min"),
        (safe_text.size(9e8), "900 MB"),
        (safe_text.size(8.1e11), "810.0 GB"),
        (
            measured.peak_memory({"peak_memory_bytes": 9e8, "predicted_memory_bytes": 1.2e9}),
            "858 MiB (predicted 1.1 GiB)",
        ),
        (
            measured.peak_memory({"peak_memory_bytes": 9e8, "predicted_memory_bytes": None}),
            "858 MiB",
        ),
        (safe_text.count(134.5e6), "134.5M"),
        (safe_text.count(None), "–"),
        (safe_text.rate(1234.4), "1,234"),
        (safe_text.rate(3.14), "3.1"),
    ],
)
def test_safe_text_formats_numbers(value: str, expected: str) -> None:
    assert value == expected


def test_safe_text_writes_out_control_characters_and_keeps_line_breaks() -> None:
    assert safe_text.visible("a\x1b[31mb\x07\r\n\tc\u202ed\x00") == "a\\x1b[31mb\\x07\n\tc\\u202ed\\x00"


def test_safe_text_escaped_holds_no_markdown() -> None:
    assert safe_text.escaped("**a** [b](c)\n$x$ :red[d]") == (r"\*\*a\*\* \[b\]\(c\) \$x\$ \:red\[d\]")


def test_safe_text_sets_our_commands_as_code_and_nothing_else() -> None:
    text = "see `tracker show a/b` or `--suite place`, not `<b>` or [x](http://y)"
    shown = safe_text.with_commands(text)
    assert "see `tracker show a/b` or `--suite place`, not " in shown
    assert shown.endswith(safe_text.escaped(", not `<b>` or [x](http://y)"))


@pytest.mark.parametrize(
    "address", ["https://evil.example/x", "HTTP://evil.example", "www.evil.example", "a@evil.example"]
)
def test_safe_text_escaped_address_is_no_link(address: str) -> None:
    # how remark-gfm finds addresses in text, as in the page that Streamlit 1.67 serves
    linked = re.compile(r"(https?://|www(?=\.))([-.\w]+)|([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)", re.IGNORECASE)
    shown = safe_text.escaped(f"see {address}").replace("\\", "")
    assert linked.search(f"see {address}")
    assert not linked.search(shown)
    assert shown.replace(BREAK, "") == f"see {address}"


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"score": 1.0, "is_right": True, "is_truncated": False, "is_unparsed": False}, "right"),
        (
            {"score": 0.0, "is_right": False, "is_truncated": True, "is_unparsed": True},
            "wrong, truncated, unparsed",
        ),
        ({"score": 0.25, "is_right": False, "is_truncated": False, "is_unparsed": False}, "25% right"),
        ({"score": None, "is_right": False, "is_truncated": False, "is_unparsed": False}, "no score"),
    ],
    ids=["right", "wrong", "partly", "none"],
)
def test_item_verdict_in_words(item: dict[str, Any], expected: str) -> None:
    assert columns.answer_verdict(item) == expected


def test_downloads_parquet_holds_the_table(tmp_path: Any) -> None:
    path = tmp_path / "scores.parquet"
    path.write_bytes(parquet_bytes(board({"model_id": "a/b"})))
    assert pd.read_parquet(path)["model_id"].to_list() == ["a/b"]
