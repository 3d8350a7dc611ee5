"""A GGUF's tokenizer and chat template against those of the model that it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from runners.models.gguf_facts import read_facts
from tests.builders.gguf_builder import LLAMA, GgufBytes

PARENT = {"general.base_model.count": 1, "general.base_model.0.repo_url": "https://huggingface.co/acme/Tiny"}
COMMIT = "0a1b2c3d" * 5
VOCABULARY = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "<s>"}]}
TEMPLATE = str(LLAMA["tokenizer.chat_template"])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hub's cache with an empty snapshot of the parent."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    place = tmp_path / "hub" / "models--acme--Tiny"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    folder = place / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    return folder


def differences(folder: Path, **values: Any) -> tuple[str, ...]:
    path = GgufBytes(values=LLAMA | PARENT | values).write(folder / "tiny.gguf")
    return read_facts(str(path)).parent_differences


def put(cache: Path, **files: object) -> None:
    for name, content in files.items():
        is_template = isinstance(content, str)
        suffix = ".jinja" if is_template else ".json"
        (cache / f"{name}{suffix}").write_text(content if is_template else json.dumps(content))


@pytest.mark.parametrize(
    "config",
    [{"chat_template": TEMPLATE}, {"chat_template": [{"name": "default", "template": f"{TEMPLATE}\n"}]}],
    ids=["text", "named"],
)
def test_parent_with_the_same_tokens_and_template_is_not_told(
    cache: Path, tmp_path: Path, config: Mapping[str, object]
) -> None:
    put(cache, tokenizer=VOCABULARY, tokenizer_config=config)
    assert differences(tmp_path) == ()
    padded = (*LLAMA["tokenizer.ggml.tokens"], "[PAD3]", "[PAD4]")
    assert differences(tmp_path, **{"tokenizer.ggml.tokens": padded}) == ()


def test_parent_with_other_tokens_is_told_with_the_first_of_them(cache: Path, tmp_path: Path) -> None:
    put(cache, tokenizer=VOCABULARY, chat_template=TEMPLATE)
    assert differences(tmp_path, **{"tokenizer.ggml.tokens": ("a", "c", "<s>", "</s>")}) == (
        "the tokenizer is not that of `acme/Tiny`: 2 of 4 tokens differ, the first is 1: `c`, there `b`",
    )
    assert differences(tmp_path, **{"tokenizer.ggml.tokens": ("a", "b")}) == (
        "the tokenizer is not that of `acme/Tiny`: 1 of 3 tokens differ, the first is 2: none, there `<s>`",
    )


def test_parent_with_another_chat_template_is_told(cache: Path, tmp_path: Path) -> None:
    put(
        cache, tokenizer={"model": {"vocab": [["a", 0.0], ["b", -1.0], ["<s>", -2.0]]}}, chat_template="other"
    )
    assert differences(tmp_path) == (
        "the chat template in the file is not that of `acme/Tiny`; prompts are as the file says",
    )
    assert differences(tmp_path, **{"tokenizer.chat_template": ""}) == (
        "the file has no chat template, `acme/Tiny` has one",
    )


@pytest.mark.parametrize(
    "tokenizer",
    [None, [], {"model": None}, {"model": {"vocab": 5}}, {"model": {"vocab": {"a": "x"}}, "added_tokens": 3}],
    ids=["no object", "list", "no model", "no vocabulary", "no numbers"],
)
def test_parent_whose_tokenizer_has_another_layout_is_not_compared(
    cache: Path, tmp_path: Path, tokenizer: object
) -> None:
    put(cache, tokenizer=tokenizer)
    assert differences(tmp_path) == ()


def test_parent_that_is_not_here_or_not_named_is_not_compared(cache: Path, tmp_path: Path) -> None:
    other = {"general.base_model.0.repo_url": "https://huggingface.co/acme/Elsewhere"}
    put(cache, tokenizer=VOCABULARY, chat_template="other")
    assert differences(tmp_path, **other) == ()
    assert differences(tmp_path, **{"general.base_model.count": 0}) == ()
