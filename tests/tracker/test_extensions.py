"""Registries: names of ours, entry points of installed packages, and classes named by their place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.installed_package import install
from tracker.errors import TrackerError, UnknownNameError
from tracker.extensions import Registry, installed

GROUP = "open_weight_tracker.tests"
REGISTRY = Registry("shape", group=GROUP, built_in={"square": "fractions:Fraction"})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "site"
    install(folder, "shapes", "class Circle:\n    pass\n", group=GROUP, name="circle", attribute="Circle")
    (folder / "needy.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(str(folder))
    installed.cache_clear()
    yield folder
    installed.cache_clear()


def test_registry_lists_ours_first_and_then_what_is_installed(package: Path) -> None:
    assert (list(REGISTRY), len(REGISTRY)) == (["square", "circle"], 2)
    assert REGISTRY["circle"] == "shapes:Circle"
    assert "triangle" not in REGISTRY


@pytest.mark.parametrize("name", ["circle", "shapes:Circle"])
def test_registry_loads_an_entry_point_and_a_place(package: Path, name: str) -> None:
    assert REGISTRY.load(name).__name__ == "Circle"


def test_registry_keeps_its_own_name_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "other", "X = 1\n", group=GROUP, name="square", attribute="X")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed.cache_clear()
    assert (REGISTRY["square"], list(REGISTRY)) == ("fractions:Fraction", ["square"])
    installed.cache_clear()


@pytest.mark.parametrize(
    ("name", "says", "hint"),
    [
        ("circel", "no shape is called `circel`", "did you mean `circle`?"),
        (
            "no_such_package.shapes:Star",
            "shapes:Star` is not installed",
            "install the package",
        ),
        ("shapes:Star", "`shapes` has no `Star`", "package.module:Class"),
        ("needy:Star", "cannot be imported: No module named 'no_such_dependency'", "repair the package"),
    ],
)
def test_registry_says_why_a_name_cannot_be_loaded(package: Path, name: str, says: str, hint: str) -> None:
    with pytest.raises(TrackerError) as caught:
        REGISTRY.load(name)
    assert says in str(caught.value)
    assert hint in caught.value.hint
    assert isinstance(caught.value, UnknownNameError) is (":" not in name)
