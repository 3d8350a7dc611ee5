"""Prompts built while the engine loads are the same, and what is wrong with a task is told at its turn."""

from __future__ import annotations

from pathlib import Path

import pytest
from lm_eval import utils

from runners.harness.fewshot_texts import FewShotTexts
from runners.harness.lm_tasks import LeafTask, TaskUnavailableError
from runners.harness.prompts_ahead import MOST_QUESTIONS, prompts_ahead
from runners.harness.walk import prepare
from tracker.records import Suite, Task

CHOICES = """\
task: {name}
custom_dataset: !function make.questions
test_split: test
fewshot_split: dev
num_fewshot: 2
output_type: multiple_choice
doc_to_text: {text}
doc_to_choice: ["A", "B"]
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1, n_items: {n_items}}}
"""
MAKE = """\
import threading

from datasets import Dataset


def questions(*, n_items, **_):
    def rows(n):
        return Dataset.from_list([{"question": f"{n} {place}?", "answer": place % 2} for place in range(n)])

    return {"test": rows(n_items), "dev": rows(7)}


def thread(doc):
    return f"{doc['question']} {threading.current_thread().name}"
"""
PLAIN, OWN = '"{{question}}"', "!function make.thread"
BROKEN = '"{{question if question|length < 6 else no_such_field}}"'  # from the eleventh question on


def leaf(folder: Path, *, text: str = PLAIN, name: str = "asked", n_items: int = 40) -> LeafTask:
    (folder / "make.py").write_text(MAKE)
    (folder / f"{name}.yaml").write_text(CHOICES.format(name=name, text=text, n_items=n_items))
    suite = Suite("own", 1, "", (Task(name),), include_path=str(folder))
    (task,) = prepare(suite, cache_path=folder / "cache")
    assert task.loaded is not None
    return task.loaded.leaves[0]


@pytest.mark.parametrize("docs", [None, (3, 5, 8)])
def test_questions_built_ahead_are_those_of_their_turn(tmp_path: Path, docs: tuple[int, ...] | None) -> None:
    ahead, later = leaf(tmp_path), leaf(tmp_path)
    with prompts_ahead([(ahead, docs)]):
        found = ahead.questions(docs=docs, chat_prompt=None)
    wanted = later.questions(docs=docs, chat_prompt=None)
    assert [(q.doc_id, q.doc_hash, q.prompt, q.requests) for q in found] == [
        (q.doc_id, q.doc_hash, q.prompt, q.requests) for q in wanted
    ]
    assert len(found) == len(docs or range(40))


def test_other_documents_or_a_chat_are_built_at_their_turn(tmp_path: Path) -> None:
    asked = leaf(tmp_path)
    with prompts_ahead([(asked, (1, 2))]):
        assert [q.doc_id for q in asked.questions(docs=(4,), chat_prompt=None)] == [4]
    with prompts_ahead([(asked, (1, 2))]):
        chat = asked.questions(docs=(1, 2), chat_prompt=lambda messages, **_: f"{len(messages)} messages")
    assert {q.prompt for q in chat} == {"5 messages"}


def test_a_broken_template_is_told_at_its_turn(tmp_path: Path) -> None:
    broken, sound = leaf(tmp_path, text=BROKEN, name="broken"), leaf(tmp_path)
    with prompts_ahead([(broken, None), (sound, None)]):
        assert len(sound.questions(docs=None, chat_prompt=None)) == 40
        with pytest.raises(TaskUnavailableError, match="no_such_field"):
            broken.questions(docs=None, chat_prompt=None)


def test_a_task_with_functions_of_its_own_is_built_by_the_main_thread(tmp_path: Path) -> None:
    own = leaf(tmp_path, text=OWN)
    with prompts_ahead([(own, None)]):
        questions = own.questions(docs=None, chat_prompt=None)
    assert all("MainThread" in q.prompt for q in questions)


def test_what_was_not_built_when_the_block_ends_is_built_when_it_is_wanted(tmp_path: Path) -> None:
    tasks = [leaf(tmp_path, name=f"task_{n}") for n in range(6)]
    with prompts_ahead([(task, None) for task in tasks]):
        pass
    assert [len(task.questions(docs=None, chat_prompt=None)) for task in tasks] == [40] * 6


def test_no_more_questions_are_held_than_fit(tmp_path: Path) -> None:
    many = leaf(tmp_path)
    many.n_docs = MOST_QUESTIONS + 1
    with prompts_ahead([(many, None)]):
        assert many._expected is None
    assert len(many.questions(docs=None, chat_prompt=None)) == 40


class TestFewShotTexts:
    def test_an_example_is_rendered_once_and_again_when_it_has_changed(self) -> None:
        calls: list[str] = []
        doc = {"question": "one?", "parts": ["a"], "note": lambda: calls.append("rendered") or "x"}
        template, texts = "{{question}} {{parts|join}} {{note()}}", FewShotTexts()
        with texts.kept([doc]):
            assert [texts.text(template, doc) for _ in range(3)] == ["one? a x"] * 3
            assert len(calls) == 1
            doc["parts"].append("b")  # type: ignore[attr-defined]
            assert texts.text(template, doc) == "one? ab x"
        assert texts.text(template, doc) == "one? ab x"
        assert len(calls) == 3

    def test_templates_that_draw_are_rendered_each_time(self) -> None:
        doc = {"parts": list(range(1_000))}
        texts = FewShotTexts()
        with texts.kept([doc]):
            drawn = {texts.text("{{parts|random}}", doc) for _ in range(40)}
        assert len(drawn) > 1

    def test_lm_eval_renders_through_it(self) -> None:
        assert utils.apply_template("{{a}}", {"a": 7}) == "7"
        assert utils.apply_template.__self__.__class__ is FewShotTexts
