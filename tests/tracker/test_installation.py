"""Hints that install something fit the clone or the wheel, and name no package that anyone could register."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tracker.installation import DISTRIBUTION, install_command, is_pinned, package_command, requirements

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_install_command_in_a_clone_is_the_one_of_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert install_command("cpu") == "pip install -c constraints.txt -e '.[cpu]'"
    assert install_command() == "pip install -c constraints.txt -e ."
    assert package_command("numpy", "scipy") == "pip install -c constraints.txt numpy scipy"


def test_install_command_from_another_folder_names_the_clone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert install_command("cpu") == f"pip install -c {ROOT}/constraints.txt -e '{ROOT}[cpu]'"


@pytest.mark.parametrize("extra", sorted(PYPROJECT["project"]["optional-dependencies"]))
def test_requirements_of_an_extra_are_those_of_the_project(extra: str) -> None:
    declared = {line.replace(" ", "") for line in PYPROJECT["project"]["optional-dependencies"][extra]}
    assert {_sorted_versions(line) for line in requirements(extra)} == {*map(_sorted_versions, declared)}


def _sorted_versions(requirement: str) -> str:
    """The requirement with its extras and bounds in one order, for the builder writes them in another."""
    name, extras, bounds = re.fullmatch(r"([\w.-]+)(?:\[(.*)\])?(.*)", requirement).groups()  # type: ignore[union-attr]
    return f"{name}[{','.join(sorted((extras or '').split(',')))}]{','.join(sorted(bounds.split(',')))}"


def test_is_pinned_knows_names_in_every_spelling() -> None:
    assert is_pinned("LM_Eval")
    assert not is_pinned(DISTRIBUTION)
    assert not is_pinned("")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder of installed packages as a wheel leaves it, first on the path of `said`."""
    site = tmp_path / "site"
    shutil.copytree(ROOT / "tracker", site / "tracker", ignore=shutil.ignore_patterns("__pycache__", "store"))
    for source, target in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].items():
        if target.startswith("tracker/") and (ROOT / source).is_file():
            (site / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, site / target)
    folder = site / "open_weight_tracker-9.dist-info"
    folder.mkdir()
    described = metadata.distribution(DISTRIBUTION).read_text("METADATA")
    assert described is not None
    (folder / "METADATA").write_text(described)
    return site


def said(site: Path, expression: str) -> str:
    script = f"from tracker.installation import *; print({expression})"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env={"PYTHONPATH": str(site)}, cwd=site.parent, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.strip()


def test_install_command_of_a_wheel_names_its_file_and_the_constraints_in_it(
    installed: Path, tmp_path: Path
) -> None:
    wheel = tmp_path / "my wheels" / "open_weight_tracker-9-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    record = installed / "open_weight_tracker-9.dist-info" / "direct_url.json"
    record.write_text(json.dumps({"url": wheel.as_uri(), "archive_info": {}}))
    constraints = installed / "tracker" / "constraints.txt"
    assert said(installed, "install_command('cpu')") == f"pip install -c {constraints} '{wheel}[cpu]'"
    assert "torch==" in constraints.read_text()


@pytest.mark.parametrize("url", [None, "file:///gone/open_weight_tracker-9-py3-none-any.whl"])
def test_install_command_of_a_wheel_that_is_gone_names_the_packages_themselves(
    installed: Path, url: str | None
) -> None:
    if url:
        record = installed / "open_weight_tracker-9.dist-info" / "direct_url.json"
        record.write_text(json.dumps({"url": url, "archive_info": {}}))
    constraints = installed / "tracker" / "constraints.txt"
    assert said(installed, "install_command('notify')") == f"pip install -c {constraints} 'apprise>=1.9'"


def test_install_command_of_a_repository_names_the_commit(installed: Path) -> None:
    vcs = {"vcs": "git", "commit_id": "0a1b2c", "requested_revision": "main"}
    record = installed / "open_weight_tracker-9.dist-info" / "direct_url.json"
    record.write_text(json.dumps({"url": "https://example.org/tracker.git", "vcs_info": vcs}))
    wanted = "'open-weight-tracker[gpu] @ git+https://example.org/tracker.git@0a1b2c'"
    assert said(installed, "install_command('gpu')").endswith(wanted)


def test_no_text_of_ours_advises_to_install_our_name_from_an_index() -> None:
    """Nobody owns that name on a public index, so whoever registers it would have their code run."""
    advice = re.compile(rf"(install|--with|uvx?|pipx)\b[^\n]*['\" ]{DISTRIBUTION}(\[\w+\])?['\"\s](?!@)")
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "Makefile"]
    texts += [path for package in ("tracker", "runners", "app") for path in (ROOT / package).rglob("*.py")]
    assert [path for path in texts if advice.search(path.read_text(encoding="utf-8"))] == []


def test_only_one_module_writes_an_install_command_with_extras() -> None:
    pattern = re.compile(r"pip install[^\n]*\.\[")
    places = [p for d in ("tracker", "runners", "app") for p in (ROOT / d).rglob("*.py")]
    assert [p.name for p in places if pattern.search(p.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("source", PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"])
def test_what_the_wheel_includes_exists(source: str) -> None:
    assert (ROOT / source).exists()
