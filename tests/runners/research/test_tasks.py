"""Tasks as folders: what a `task.toml` says is what is trained, and what it says wrongly is named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runners.research.corpora.build import CORPORA
from runners.research.problem import script, space
from runners.research.problem.tiers import (
    CPU,
    FILE,
    FOLDER,
    SMOKE,
    TIERS,
    TaskKind,
    kept_task,
    read_task,
    shipped_tasks,
    task_names,
    tier,
)
from tracker.errors import TrackerError, UnknownNameError
from tracker.records.studies import Change

MINE = (FOLDER / "smoke" / FILE).read_text()
NUMBER = """
[[numbers]]
name = "rate"
kind = "float"
default = 0.01
category = "learning_rate"
what = "learning rate"
source = "a guess"
low = 0.001
high = 1.0
log = true
"""
SCRIPT = f"""{script.BEGIN}
class Tunables:
    rate: float = 0.01
{script.END}
"""


def folder_of(parent: Path, toml: str, *, name: str = "mine", **files: str) -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / FILE).write_text(toml)
    for stem, text in files.items():
        (folder / f"{stem}.py").write_text(text)
    return folder


def test_tasks_each_folder_is_one_task_and_its_corpus_is_known() -> None:
    assert set(shipped_tasks()) == {path.parent.name for path in FOLDER.glob(f"*/{FILE}")}
    assert {"smoke", "cpu", "gpu-small", "gpu"} <= set(TIERS)
    assert all(task.corpus in CORPORA for task in shipped_tasks().values())


def test_tasks_the_tiers_are_the_shipped_language_models() -> None:
    kinds = {name: task.kind for name, task in shipped_tasks().items()}
    assert set(TIERS) == {name for name, kind in kinds.items() if kind is TaskKind.LANGUAGE_MODEL}
    assert (TIERS["smoke"], TIERS["cpu"]) == (SMOKE, CPU)


def test_tasks_a_folder_of_ones_own_is_kept_in_the_home_and_found_by_its_name(tmp_path: Path) -> None:
    home, mine = tmp_path / "home", folder_of(tmp_path, MINE.replace("8192", "4096"))
    kept = kept_task(str(mine), home)
    assert (kept.name, kept.eval_tokens) == ("mine", 4096)
    (mine / FILE).unlink()  # a study is resumed from the copy
    assert tier("mine", home) == kept
    assert task_names(home)[-1] == "mine"


def test_tasks_another_task_of_a_kept_name_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    kept_task(str(folder_of(tmp_path / "a", MINE)), home)
    assert kept_task(str(folder_of(tmp_path / "b", MINE + "# no difference\n")), home).name == "mine"
    with pytest.raises(TrackerError, match="another task `mine`, and its studies depend on it"):
        kept_task(str(folder_of(tmp_path / "c", MINE.replace("8192", "4096"))), home)
    with pytest.raises(TrackerError, match="a shipped task has the name `smoke`"):
        kept_task(str(folder_of(tmp_path, MINE, name="smoke")), home)


def test_tasks_a_typing_error_is_answered_with_a_near_name_of_the_home_too(tmp_path: Path) -> None:
    kept_task(str(folder_of(tmp_path, MINE, name="tabular-mine")), tmp_path / "home")
    with pytest.raises(UnknownNameError) as caught:
        kept_task("tabular-min", tmp_path / "home")
    assert "`tabular-mine`" in caught.value.hint


def test_tasks_one_of_ones_own_has_its_own_script_numbers_and_program(tmp_path: Path) -> None:
    toml = 'script = "train.py"\nprogram = "program.py"\n' + MINE.split("[defaults]")[0] + NUMBER
    task = read_task(folder_of(tmp_path, toml, train=SCRIPT, program="Find a better rate."))
    assert [tunable.name for tunable in space.tunables(task)] == ["rate"]
    assert space.validate({"rate": 0.1}, task) == {"rate": 0.1}
    assert script.shipped(task) == SCRIPT
    assert space.categories(Change(), Change({"rate": 0.1}), task) == ("learning_rate",)
    assert task.program == "Find a better rate."
    with pytest.raises(ValueError, match="no number called `beta1`"):
        space.validate({"beta1": 0.9}, task)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("context = 32", "contekst = 32", "data.contekst: Unexpected keyword argument"),
        ("context = 32", 'context = "wide"', "data.context: Input should be a valid integer"),
        ('corpus = "grammar"', "", "data.corpus: "),
        ("[budget]", "[budget", "Expected ']'"),
        ("[data]", 'script = "../../train.py"\n[data]', "is not a file in its folder"),
        ("[data]", 'script = "nowhere.py"\n[data]', "cannot read `.*nowhere.py`"),
        ("[data]", '[metric]\nkind = "reported"\n[data]', "metric.pattern: needed where"),
        ("[data]", "[metric]\npattern = '('\nkind = 'reported'\n[data]", "metric.pattern: "),
        ("[data]", "[metric]\npattern = 'bpb'\nkind = 'reported'\n[data]", "needs one group"),
        ("[data]", '[metric]\nkind = "predictions"\n[data]', "`script` and `\\[\\[numbers\\]\\]` are needed"),
        ("[data]", '[metric]\nkind = "trusted"\n[data]', "metric.kind: Input should be"),
    ],
)
def test_tasks_a_wrong_file_is_named_with_its_key(old: str, new: str, message: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, MINE.replace(old, new, 1))
    with pytest.raises(TrackerError, match=message) as caught:
        read_task(folder)
    assert "mine" in str(caught.value)


def test_tasks_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match=r"cannot read `.*/nothing/task.toml`"):
        kept_task(str(tmp_path / "nothing"), tmp_path / "home")
    with pytest.raises(TrackerError, match="cannot be the name of a task"):
        read_task(folder_of(tmp_path, MINE, name="My Task"))


def test_script_is_parsed_by_threads_at_once_without_a_fault_of_the_parser() -> None:
    """Until 3.11.9, two parsers at once could end in a `SystemError` about the depth of recursion."""
    text = script.shipped(tier("smoke"))
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(script.numbers, [text] * 60))
    assert all(each == found[0] for each in found)
