"""Chat templates with names: which one is used, and what is said if none can be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runners.engines.chat import render_chat, takes_tools
from runners.engines.encoding import chat_template_hash
from runners.engines.loading import load_tokenizer
from runners.harness.tool_prompts import ChatRenderer
from tests.builders.tiny_models import tiny_tokenizer
from tracker.errors import EngineError
from tracker.records import EngineSettings, Model
from tracker.records.transcripts import TranscriptCall, TranscriptMessage

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


TOOLS = (
    "{% for tool in tools or [] %}<tool>{{ tool.function.name }}</tool>{% endfor %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% if m.tool_calls and m.tool_calls | length > MOST %}{{ raise_exception('one call only') }}{% endif %}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function.name }} {{ c.function.arguments | tojson }}"
    "</call>{% endfor %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (TOOLS.replace("MOST", "9"), True),
        ("{{ messages[0].content }}", False),
        ("{% if tools %}{{ raise_exception('no tools') }}{% endif %}x", False),
        ({"default": "x", "tool_use": TOOLS.replace("MOST", "9")}, True),
    ],
    ids=["shows them", "ignores them", "rejects them", "one of its own for tools"],
)
def test_chat_template_that_takes_tools_is_told_from_one_that_ignores_them(
    tmp_path: Path, template: dict[str, str] | str, expected: bool
) -> None:
    assert takes_tools(load_tokenizer(saved(tmp_path, template), EngineSettings())) is expected


def rendered(folder: Path, *, most_calls: int) -> str:
    """The prompt after an answer with two calls, by a template that takes so many in one message."""
    model = saved(folder, TOOLS.replace("MOST", str(most_calls)))
    tokenizer = load_tokenizer(model, EngineSettings())

    def chat_prompt(messages: Sequence[dict[str, Any]], *, tools: Sequence[Any] = ()) -> str:
        return render_chat(tokenizer, messages, add_generation_prompt=True, thinking=None, tools=tools)

    calls = (TranscriptCall("add", {"n": 1}), TranscriptCall("add", "no object"))
    messages = [
        TranscriptMessage("user", "Which?"),
        TranscriptMessage("assistant", "<written>", calls),
        TranscriptMessage("tool", "2", name="add"),
        TranscriptMessage("tool", "3", name="add"),
    ]
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"properties": {}}}}]
    return ChatRenderer(chat_prompt, takes_tools=True).prompt(messages, tools)


def test_chat_template_gets_calls_and_results_of_an_episode(tmp_path: Path) -> None:
    assert rendered(tmp_path, most_calls=2) == (
        '<tool>add</tool><user>Which?<assistant><call>add {"n": 1}</call>'
        '<call>add {"value": "no object"}</call><tool>2<tool>3'
    )


def test_chat_template_that_rejects_several_calls_gets_what_was_written(tmp_path: Path) -> None:
    assert rendered(tmp_path, most_calls=1) == (
        "<tool>add</tool><user>Which?<assistant><written><user>Results:\nadd: 2\nadd: 3"
    )
