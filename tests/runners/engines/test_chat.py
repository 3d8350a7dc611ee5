"""Chat templates with names: which one is used, and what is said if none can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners.engines.chat import render_chat
from runners.engines.encoding import chat_template_hash
from runners.engines.loading import load_tokenizer
from tests.builders.tiny_models import tiny_tokenizer
from tracker.errors import EngineError
from tracker.records import EngineSettings, Model

MESSAGES = [{"role": "user", "content": "Which?"}]
NAMED = {
    "rag": "RAG {{ messages[0].content }}{% if add_generation_prompt %} A:{% endif %}",
    "tool_use": "TOOL {{ messages[0].content }}",
}
WITH_DEFAULT = {"default": "PLAIN {{ messages[0].content }}", **NAMED}


def saved(folder: Path, templates: dict[str, str] | str) -> Model:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = templates
    tokenizer.save_pretrained(folder)
    return Model("tiny/named", "sha256:0", path=str(folder))


@pytest.mark.parametrize(
    ("templates", "name"),
    [(NAMED, "rag"), (NAMED, "tool_use"), (WITH_DEFAULT, "rag"), (WITH_DEFAULT, None)],
    ids=["no default", "another one", "beside a default", "the default"],
)
def test_chat_template_of_that_name_is_used(
    tmp_path: Path, templates: dict[str, str], name: str | None
) -> None:
    tokenizer = load_tokenizer(saved(tmp_path, templates), EngineSettings(chat_template=name))
    text = render_chat(tokenizer, MESSAGES, add_generation_prompt=True, thinking=None)
    untouched = load_tokenizer(saved(tmp_path, templates), EngineSettings())
    expected = untouched.apply_chat_template(
        MESSAGES, chat_template=name, tokenize=False, add_generation_prompt=True
    )
    assert text == expected
    assert (chat_template_hash(tokenizer) == chat_template_hash(untouched)) == (name is None)


def test_chat_templates_without_a_default_are_the_models_fault_and_named(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(saved(tmp_path, NAMED), EngineSettings())
    with pytest.raises(EngineError, match="none of them is called `default`") as caught:
        render_chat(tokenizer, MESSAGES, add_generation_prompt=True, thinking=None)
    assert caught.value.reason == "unsupported"
    assert caught.value.hint == "`--chat-template rag` or `--chat-template tool_use`"


@pytest.mark.parametrize(
    ("templates", "hint"),
    [(NAMED, "it has: rag, tool_use"), ("{{ messages }}", "it has none with a name")],
    ids=["named", "a single one"],
)
def test_chat_template_of_an_unknown_name_is_refused(
    tmp_path: Path, templates: dict[str, str] | str, hint: str
) -> None:
    with pytest.raises(EngineError, match="no chat template called `chatml`") as caught:
        load_tokenizer(saved(tmp_path, templates), EngineSettings(chat_template="chatml"))
    assert hint in caught.value.hint
