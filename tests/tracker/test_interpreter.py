"""What the tracker starts imports nothing from the folder where a command was typed: real processes."""

from __future__ import annotations

import ast
import json
import os
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.runners.harness.test_worker import ENGINE, TASKS
from tracker.interpreter import extension_hint, python_command, python_environment, without_working_directory
from tracker.settings import Settings
from tracker.weekly.schedule import plan

EXECUTED = "EXECUTED"
PLANT = f"open({{place!r}} + '/{EXECUTED}', 'a').write(__file__ + '\\n')\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which a user stands."""
    path = tmp_path / "where the user stands"
    path.mkdir()
    return path


def plant(folder: Path, name: str, *, then: str = "") -> None:
    """A file that says so when it is executed."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PLANT.format(place=str(folder)) + then)


def executed(folder: Path) -> str:
    """The planted files that were executed."""
    path = folder / EXECUTED
    return path.read_text() if path.exists() else ""


def console_script(folder: Path) -> list[str]:
    """The command `tracker` as pip writes it, from the entry point of this checkout."""
    module, _, name = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"][
        "tracker"
    ].partition(":")
    script = folder / "tracker"
    script.write_text(f"import sys\nfrom {module} import {name}\nsys.exit({name}())\n")
    return [sys.executable, str(script)]


@pytest.fixture
def tracker(
    tmp_path: Path, folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `tracker` as a user does, in his folder; our code comes from the installation alone."""
    monkeypatch.delenv("PYTHONPATH")
    (tmp_path / "bin").mkdir()
    argv = console_script(tmp_path / "bin")

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*argv, *arguments],
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    return run


BENCH = ("--engine", ENGINE, "--include-path", TASKS, "--task", "sums", "--limit", "5", "--json")
# what lies in the folder, and what is in PYTHONPATH
SHADOWS = {
    "a module of the standard library": (["queue.py", "random.py"], ""),
    "our own package": (["runners/__init__.py"], ""),
    "an edited clone of lm-eval": (["lm_eval/__init__.py"], ""),
    "PYTHONPATH names the folder": (
        ["queue.py", "random.py", "app/__init__.py", "runners/__init__.py", "lm_eval/__init__.py"], ".",
    ),
    "a dependency, an empty entry": (["typing_extensions.py", "torch/__init__.py", "yaml.py"], ":"),
    "a metric and a data set": (
        ["exact_match/exact_match.py", "datasets/__init__.py", "evaluate/__init__.py", "make.py"], ".:.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "path"), SHADOWS.values(), ids=SHADOWS.keys())
def test_bench_does_not_import_from_the_working_directory(
    tracker: Callable[..., subprocess.CompletedProcess[str]],
    folder: Path,
    model_folder: Path,
    files: list[str],
    path: str,
) -> None:
    for name in files:
        plant(folder, name, then="raise RuntimeError('imported from the working directory')\n")
    done = tracker("bench", str(model_folder), *BENCH, **({"PYTHONPATH": path} if path else {}))
    assert (done.returncode, executed(folder)) == (0, ""), done.stderr
    run = json.loads(done.stdout)
    assert (run["status"], run["n_items"]) == ("complete", 5)


def test_bench_is_not_measured_with_an_edited_copy_of_lm_eval(
    tracker: Callable[..., subprocess.CompletedProcess[str]], folder: Path, model_folder: Path
) -> None:
    spec = find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent
    shutil.copytree(installed, folder / "lm_eval", ignore=shutil.ignore_patterns("tasks", "__pycache__"))
    edited = folder / "lm_eval" / "__init__.py"
    edited.write_text(PLANT.format(place=str(folder)) + edited.read_text())
    done = tracker("bench", str(model_folder), *BENCH, PYTHONPATH=".")
    assert (done.returncode, executed(folder)) == (0, ""), done.stderr


def test_app_is_not_the_package_of_that_name_in_the_working_directory(
    tracker: Callable[..., subprocess.CompletedProcess[str]], folder: Path
) -> None:
    for name in ("app/__init__.py", "runners/__init__.py", "queue.py", "random.py"):
        plant(folder, name, then="raise RuntimeError('imported from the working directory')\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = tracker("app", "--no-browser", "--port", str(port), PYTHONPATH=str(folder))
    assert (done.returncode, executed(folder)) == (1, ""), done.stderr
    assert f"port {port} cannot be used" in done.stderr  # our own server said so


def test_bench_without_bubblewrap_refuses_the_suite_code_by_name_and_executes_nothing(
    tracker: Callable[..., subprocess.CompletedProcess[str]],
    folder: Path,
    model_folder: Path,
    home: Path,
    tmp_path: Path,
) -> None:
    plant(folder, "code_eval/code_eval.py")
    for words in (("--suite", "code"), ("--task", "humaneval"), ("--task", "humaneval_instruct")):
        done = tracker("bench", str(model_folder), "--engine", ENGINE, *words, PATH=str(tmp_path / "bin"))
        assert (done.returncode, executed(folder), "Traceback" in done.stderr) == (1, "", False), done.stderr
        assert "which needs bubblewrap" in done.stderr
    assert not list(home.glob("items/*")), "a refusal is no run of the model"


def test_bench_asks_the_other_tasks_when_one_of_them_needs_a_sandbox(
    tracker: Callable[..., subprocess.CompletedProcess[str]], folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    plant(folder, "code_eval/code_eval.py")
    done = tracker("bench", str(model_folder), *BENCH, "--task", "humaneval", PATH=str(tmp_path / "bin"))
    run = json.loads(done.stdout)
    assert (run["status"], run["n_items"], executed(folder)) == ("partial", 5, ""), done.stderr
    assert any("needs bubblewrap" in warning for warning in run["warnings"])


OWN_TASK = """
task: own
{data}
test_split: test
output_type: generate_until
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 16, do_sample: false}}
metric_list: [{{metric: {metric}, aggregation: mean, higher_is_better: true}}]
"""
LOADED = "dataset_path: json\ndataset_kwargs: {data_files: {test: own.jsonl}}"


def own_task(folder: Path, *, data: str = LOADED, metric: str = "exact_match") -> Path:
    """A user's own task, with its questions beside it."""
    folder.mkdir()
    (folder / "own.yaml").write_text(OWN_TASK.format(data=data, metric=metric))
    rows = [{"question": f"{n} + {n} =", "answer": str(2 * n)} for n in range(4)]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_data_of_a_users_own_task_is_beside_its_yaml(
    tracker: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, model_folder: Path
) -> None:
    task = own_task(tmp_path / "tasks")
    asked = ("--engine", ENGINE, "--include-path", str(task), "--task", "own", "--json")
    done = tracker("bench", str(model_folder), *asked, HF_DATASETS_CACHE=str(tmp_path / "cache"))
    assert (done.returncode, json.loads(done.stdout)["n_items"]) == (0, 4), done.stderr


@pytest.mark.parametrize("kind", ["data set", "metric"])
def test_what_a_task_names_is_not_looked_for_in_the_working_directory(
    tracker: Callable[..., subprocess.CompletedProcess[str]],
    folder: Path,
    tmp_path: Path,
    model_folder: Path,
    kind: str,
) -> None:
    if kind == "metric":
        task = own_task(tmp_path / "tasks", metric="planted")
        plant(folder, "planted/planted.py")
    else:
        task = own_task(tmp_path / "tasks", data="dataset_path: planted")
        plant(folder, "planted/planted.py")
        (folder / "planted" / "test.jsonl").write_text('{"question": "1 + 1 =", "answer": "2"}\n')
    asked = ("--engine", ENGINE, "--include-path", str(task), "--task", "own", "--json")
    done = tracker("bench", str(model_folder), *asked, HF_DATASETS_CACHE=str(tmp_path / "cache"))
    assert (done.returncode, executed(folder)) == (4, ""), done.stdout + done.stderr
    assert json.loads(done.stdout)["n_items"] == 0


def test_an_engine_of_the_working_directory_must_be_installed_first(
    tracker: Callable[..., subprocess.CompletedProcess[str]], folder: Path, model_folder: Path
) -> None:
    plant(folder, "mine.py")
    done = tracker("bench", str(model_folder), "--engine", "mine:Engine", PYTHONPATH=".")
    assert (done.returncode, executed(folder), "Traceback" in done.stderr) == (1, "", False), done.stderr
    assert "engine `mine:Engine` is not installed" in done.stderr
    assert "`mine` is in the working directory, which is not on the import path" in done.stderr


def test_the_command_of_a_timer_imports_nothing_from_the_folder_it_runs_in(
    folder: Path, settings: Settings
) -> None:
    for name in ("tracker/__init__.py", "random.py", "typing_extensions.py"):
        plant(folder, name)
    command = plan(settings).command
    argv = [*command[: command.index("weekly")], "--version"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # cron has none
    done = subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, executed(folder)) == (0, ""), done.stderr


GRANDCHILDREN = """
import multiprocessing, subprocess, sys
def names(): print("spawned", [name for name in ("planted", "queue") if name in sys.modules])
if __name__ == "__main__":
    subprocess.run([sys.executable, "-c", "import importlib.util as u; print(u.find_spec('planted'))"])
    subprocess.run([sys.executable, "-c", "import queue"])
    process = multiprocessing.get_context("spawn").Process(target=names)
    process.start()
    process.join()
"""


@pytest.mark.parametrize("path", ["", ".", ":", "planted_folder:.", "{folder}", "{link}"])
def test_a_child_and_what_it_starts_import_nothing_from_the_working_directory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    for name in (
        "sitecustomize.py",
        "usercustomize.py",
        "planted.py",
        "queue.py",
        "multiprocessing/__init__.py",
    ):
        plant(folder, name)
    link = tmp_path / "link"
    link.symlink_to(folder)
    script = tmp_path / "script.py"
    script.write_text(GRANDCHILDREN)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", path.format(folder=folder, link=link))
    argv, environment = python_command(str(script)), python_environment()
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, executed(folder)) == (0, ""), done.stderr
    assert "None" in done.stdout


def test_import_path_keeps_other_folders_and_our_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    given = ["", ".", str(folder), "lib", "/opt/lib", str(ROOT)]
    assert without_working_directory(given) == ["/opt/lib", str(ROOT)]
    monkeypatch.chdir(ROOT)  # whoever works in a checkout still imports it
    assert without_working_directory([".", "lib", "/opt/lib"]) == [str(ROOT), "/opt/lib"]


def test_environment_of_a_child_has_absolute_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TRACKER_HOME", "home")
    monkeypatch.setenv("HF_HOME", "~/hub")
    environment = python_environment()
    assert environment["TRACKER_HOME"] == str(folder / "home")
    assert environment["HF_HOME"] == "~/hub"  # the Hub's library expands it
    assert Settings().home == folder / "home"


def test_extension_hint_says_where_the_package_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert (
        extension_hint("mine.engine") == "install the package that contains `mine`, then repeat the command"
    )
    plant(folder, "mine/engine.py")
    assert extension_hint("mine.engine").startswith("`mine` is in the working directory")


def test_python_is_started_by_the_one_helper() -> None:
    """`sys.executable` is named elsewhere only beside a `-P`: in a timer's line, and in the sandbox."""
    found = set()
    for package in ("tracker", "runners", "app", "benchmarks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and node.attr == "executable":
                    found.add(path.relative_to(ROOT).as_posix())
    assert found == {
        "runners/harness/code_judge.py",
        "tracker/interpreter.py",
        "tracker/weekly/schedule.py",
    }
