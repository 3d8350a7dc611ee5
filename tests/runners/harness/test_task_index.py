"""The index of task names gives the names that lm-eval's own, slow one gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Kind

from runners.harness.lm_tasks import load_task
from runners.harness.task_index import builtin_names, folders_of, lm_eval_tasks_path, names_in, tag_members
from tracker.errors import UnknownNameError
from tracker.records import Suite, Task

BODY = "dataset_path: json\noutput_type: generate_until\ndoc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\n"
FORMS = {
    "plain": f"task: mine\n{BODY}",
    "quoted": f"\"task\": 'mine'   # a comment\n{BODY}",
    "with brackets and spaces": f"task: my (first) task\n{BODY}",
    "a number in quotes": f"task: '2024'\n{BODY}",
    "the whole file in braces": '{task: mine, tag: [one, "two"], dataset_path: json}',
    "a document mark": f"---\ntask: mine\ntag: one\n{BODY}",
    "tags in a flow list": f"task: mine\ntag: [one, two]\n{BODY}",
    "tags in a flow list of two lines": f"task: mine\ntag: [one,\n  two]\n{BODY}",
    "tags in a list without indent": f"tag:\n- one\n- two\ntask: mine\n{BODY}",
    "a tag folded over lines": f"tag: >-\n  one\ntask: mine\n{BODY}",
    "an alias": f"metadata: {{name: &name one}}\ntag: *name\ntask: mine\n{BODY}",
    "a merge": f"<<: {{tag: one}}\ntask: mine\n{BODY}",
    "a name in a text": f"task: mine\ndescription: |\n  task: not this\n{BODY}",
    "windows line ends": f"task: mine\r\ntag:\r\n  - one\r\n{BODY}",
    "a function": f"task: mine\nprocess_docs: !function utils.none\n{BODY}",
    "a class": "task: mine\ngroup: not_a_group\ntag: one\nclass: !function utils.Task\n",
    "a group": "group: ours\ntask:\n  - mine\n  - task: other\n    num_fewshot: 2\n",
    "a group in a group": "group: ours\ntask:\n  - group: inner\n    task: [a, b]\n",
    "a group in a flow list": "group: ours\ntask: [mine, {task: other}]\n",
    "yes is no name": f"task: yes\n{BODY}",
    "no yaml": "task: [mine\n",
    "a list": "- task: mine\n",
    "nothing": "",
}


@pytest.fixture(scope="module")
def cache_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of lm-eval's names, made once."""
    return tmp_path_factory.mktemp("names")


@pytest.mark.parametrize("form", FORMS)
def test_task_index_reads_every_form_of_yaml_as_lm_eval_does(form: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(FORMS[form].encode())
    stock = TaskManager(include_path=str(tmp_path), include_defaults=False)
    names = names_in(tmp_path)
    assert sorted(names.folders) == [name for name in stock.all_tasks if isinstance(name, str)]
    assert sorted(names.tags) == stock.all_tags
    for tag in names.tags:
        assert sorted(names.children[tag]) == sorted(stock.task_index[tag].tags)


def test_task_index_takes_tags_and_unsafe_code_from_included_files(tmp_path: Path) -> None:
    (tmp_path / "_base").write_text(f"tag: [one]\nunsafe_code: true\n{BODY}")
    (tmp_path / "_middle").write_text("include: _base\n")
    (tmp_path / "a.yaml").write_text("include: _middle\ntask: a\n")
    (tmp_path / "b.yaml").write_text("include: [_base]\ntask: b\nunsafe_code: false\n")
    (tmp_path / "c.yaml").write_text("include: c.yaml\ntask: c\n")
    (tmp_path / "d.yaml").write_text("include: not_there\ntask: d\n")
    names = names_in(tmp_path)
    stock = TaskManager(include_path=str(tmp_path), include_defaults=False)
    assert sorted(names.folders) == stock.all_tasks == ["a", "b", "one"]
    assert names.children == {"one": ["a", "b"]}
    assert names.unsafe == ["a"]


def test_task_index_knows_every_name_of_lm_eval_and_the_tasks_behind_each_tag(cache_path: Path) -> None:
    stock = TaskManager()
    names = builtin_names(cache_path)
    assert sorted(names.folders) == stock.all_tasks
    assert sorted(names.tags) == stock.all_tags
    for tag in names.tags:
        assert sorted(names.children[tag]) == sorted(stock.task_index[tag].tags), tag
    groups = [name for name, entry in stock.task_index.items() if entry.kind is Kind.GROUP]
    assert all(names.children[group] for group in groups)


def test_task_index_of_an_own_group_includes_the_folders_of_lm_evals_tasks(
    tmp_path: Path, cache_path: Path
) -> None:
    (tmp_path / "ours.yaml").write_text("group: ours\ntask:\n  - lambada_openai\n  - mine\n  - gpqa\n")
    (tmp_path / "mine.yaml").write_text(f"task: mine\n{BODY}")
    found = folders_of(["ours"], include_path=str(tmp_path), cache_path=cache_path)
    tasks = lm_eval_tasks_path()
    assert found[-1] == tmp_path
    assert {tasks / "lambada", tasks / "gpqa"} <= set(found)


def test_task_index_a_tag_over_several_folders_keeps_all_of_its_tasks(cache_path: Path) -> None:
    names = builtin_names(cache_path)
    spread = next(tag for tag in names.tags if len(names.folders[tag]) > 1)
    folders = folders_of([spread], include_path=None, cache_path=cache_path)
    members = tag_members(folders, include_path=None, cache_path=cache_path)[spread]
    assert len({names.folders[name][0] for name in members}) > 1
    assert set(names.folders[spread]) == {folder.name for folder in folders}


def test_task_index_suggests_the_users_own_tasks_first(tmp_path: Path, cache_path: Path) -> None:
    for name in ("my_arc", "my_birds"):
        (tmp_path / f"{name}.yaml").write_text(f"task: {name}\n{BODY}")
    with pytest.raises(UnknownNameError) as similar:
        folders_of(["my_bird"], include_path=str(tmp_path), cache_path=cache_path)
    assert similar.value.hint == "did you mean `my_birds`?"
    with pytest.raises(UnknownNameError) as unlike:
        folders_of(["zzzzqqqq"], include_path=str(tmp_path), cache_path=cache_path)
    assert unlike.value.hint == f"tasks in `{tmp_path}`: my_arc, my_birds"


def test_task_index_a_tag_in_a_flow_list_is_run(tmp_path: Path, cache_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"q": "1 + 1", "a": "2"}\n')
    for name in ("one", "two"):
        text = f"task: {name}\ntag: [both, {name}s]\n{BODY}dataset_kwargs: {{data_files: data.jsonl}}\n"
        (tmp_path / f"{name}.yaml").write_text(
            text + "test_split: train\nmetric_list: [{metric: exact_match}]\n"
        )
    suite = Suite("own", 1, "", (Task("both"),), include_path=str(tmp_path))
    loaded = load_task(suite.tasks[0], suite, cache_path=cache_path)
    assert [leaf.name for leaf in loaded.leaves] == ["one", "two"]
