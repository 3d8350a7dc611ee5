"""A user's task with odd data, settings or code costs itself alone, and its error says what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from runners.harness.lm_tasks import LeafTask, TaskUnavailableError, load_task
from runners.harness.scoring import LeafItems, is_share, leaf_metrics
from tests.builders.some_runs import items
from tracker.records import Suite, Task

DOCS = '{"q": "what is 1+1?", "a": "2"}\n{"q": "what is 2+2?", "a": "4"}\n'
CODE = """
import sys
class OwnError(Exception): pass
def own_error(*_): raise OwnError("no good")
def runtime_error(*_): raise RuntimeError("no good")
def exits(*_): sys.exit(3)
def text(*_): return {"acc": "good"}
"""


def leaf(folder: Path, **changes: Any) -> LeafTask:
    (folder / "docs.jsonl").write_text(DOCS)
    (folder / "empty.jsonl").write_text("")
    (folder / "broken.jsonl").write_text('{"q": "half \\ud800", "a": "2"}\n')
    (folder / "own.py").write_text(CODE)
    (folder / "exiting.py").write_text("import sys\nsys.exit(7)\n")
    (folder / "wrong.py").write_text("def f(:\n")
    config = {
        "task": "odd", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "docs.jsonl"}},
        "test_split": "test", "output_type": "generate_until", "doc_to_text": "{{q}}",
        "doc_to_target": "{{a}}", "metric_list": [{"metric": "exact_match"}],
    } | changes  # fmt: skip
    text = yaml.safe_dump(config).replace("'!function ", "!function ").replace("!end'", "")
    (folder / "odd.yaml").write_text(text)
    suite = Suite(name="odd", version=1, description="odd", tasks=(Task("odd"),), include_path=str(folder))
    (found,) = load_task(suite.tasks[0], suite, cache_path=folder / "cache").leaves
    return found


def files(name: str) -> dict[str, Any]:
    return {"dataset_kwargs": {"data_files": {"test": name}}}


def function(place: str) -> str:
    return f"!function {place}!end"


LOADING: dict[str, tuple[dict[str, Any], str, str]] = {
    "an empty file": (files("empty.jsonl"), "a file of its data set is empty", "check its YAML file"),
    "no such file": (files("absent.jsonl"), "absent.jsonl", "check the paths in its YAML file"),
    "half a character": (files("broken.jsonl"), "surrogate", "check its YAML file"),
    "a module that exits": (
        {"process_results": function("exiting.f")},
        "SystemExit: 7",
        "check its YAML file and the functions",
    ),
    "a module that is no Python": (
        {"process_results": function("wrong.f")},
        "SyntaxError",
        "check its YAML file and the functions",
    ),
    "documents that fail": (
        {"process_docs": function("own.runtime_error")},
        "RuntimeError: no good",
        "check its YAML file and the functions",
    ),
    "no such metric": ({"metric_list": [{"metric": "nope"}]}, "knows no metric", "check its YAML file"),
}


@pytest.mark.parametrize("kind", LOADING)
def test_odd_tasks_that_cannot_be_loaded_are_unavailable(kind: str, tmp_path: Path) -> None:
    changes, says, hint = LOADING[kind]
    with pytest.raises(TaskUnavailableError, match="task `odd`") as caught:
        leaf(tmp_path, **changes)
    assert says in str(caught.value)
    assert caught.value.hint.startswith(hint)


def test_odd_tasks_a_group_without_tasks_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "group.yaml").write_text("group: nothing\ntask: []\n")
    suite = Suite("odd", 1, "odd", (Task("nothing"),), include_path=str(tmp_path))
    with pytest.raises(TaskUnavailableError, match="the group `nothing` has no tasks"):
        load_task(suite.tasks[0], suite, cache_path=tmp_path / "cache")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"generation_kwargs": {"max_gen_toks": 0}}, "`max_gen_toks` in its `generation_kwargs` is 0"),
        ({"generation_kwargs": {"max_gen_toks": 10**12}}, "`max_gen_toks`"),
        ({"generation_kwargs": {"temperature": float("nan")}}, "`temperature`"),
        ({"generation_kwargs": {"temperature": -1, "do_sample": True}}, "`temperature`"),
        ({"generation_kwargs": {"top_p": 5, "do_sample": True}}, "`top_p`"),
        ({"generation_kwargs": {"until": [5]}}, "`until`"),
        ({"repeats": "two"}, "TypeError"),
        ({"num_fewshot": 9}, "it has fewer examples than `num_fewshot` asks for"),
        ({"output_type": None}, "UnboundLocalError"),
    ],
    ids=str,
)
def test_odd_tasks_that_ask_for_the_impossible_are_refused_before_they_are_asked(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(TaskUnavailableError, match="task `odd`: its own code failed") as caught:
        leaf(tmp_path, **changes).questions(docs=None, chat_prompt=None)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"process_results": function("own.own_error")}, "OwnError: no good"),
        ({"process_results": function("own.exits")}, "SystemExit: 3"),
        (
            {"filter_list": [{"name": "x", "filter": [{"function": "regex", "regex_pattern": "("}]}]},
            "missing ), unterminated subpattern",
        ),
    ],
    ids=["its own error", "an exit", "a wrong pattern"],
)
def test_odd_tasks_whose_scoring_fails_in_any_way_are_unavailable(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    found = leaf(tmp_path, **changes)
    question = found.questions(docs=None, chat_prompt=None)[0]
    with pytest.raises(TaskUnavailableError, match="its own code failed") as caught:
        found.verdict(question, ["2"])
    assert says in str(caught.value)


def test_odd_tasks_a_metric_that_is_no_number_is_told(tmp_path: Path) -> None:
    found = leaf(tmp_path, process_results=function("own.text"), metric_list=[{"metric": "acc"}])
    question = found.questions(docs=None, chat_prompt=None)[0]
    metrics = found.verdict(question, ["2"]).metrics
    (item,) = items("odd", 1)
    part = LeafItems(found, "f", {0: replace(item, metrics=metrics)}, 0)
    warnings: list[str] = []
    assert (metrics, is_share(part), leaf_metrics(part, warn=warnings.append)) == (
        {"acc,none": "good"},
        False,
        [],
    )
    assert [warning.partition(":")[0] for warning in warnings] == ["task `odd`"]
