"""The file for `pip install --require-hashes`: versions of constraints.txt, a hash each, no addresses."""

from __future__ import annotations

import re
import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / ".ci"))
import lock_requirements

TEXT = (ROOT / "requirements-locked.txt").read_text()
BUILD = {"hatchling", "editables", "setuptools", "wheel", "packaging", "tomlkit", "trove-classifiers"}


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {
        re.sub(r"[-_.]+", "-", name).lower(): version.partition(";")[0].strip() for name, version in pairs
    }


def test_locked_requirements_have_a_hash_each_and_the_versions_of_the_constraints() -> None:
    known = lock_requirements.known(TEXT)
    assert len(known) > 100
    assert all(known.values())
    pinned = constraints()
    found = {name.partition("[")[0]: version for name, version in known}
    assert {name: v for name, v in found.items() if name not in BUILD and pinned.get(name) != v} == {}


def test_locked_requirements_name_the_core_and_the_extras_of_the_demo() -> None:
    names = {name for name, _ in lock_requirements.known(TEXT)}
    assert {"duckdb", "httpx2", "streamlit", "torch", "transformers", "optuna"} <= names


def test_locked_requirements_hold_no_address_and_stay_as_the_script_writes_them() -> None:
    assert "://" not in TEXT
    assert "--index" not in TEXT
    assert lock_requirements.locked(lock_requirements.known(TEXT)) == TEXT
    demo = (ROOT / "requirements-locked-demo.txt").read_text()
    assert lock_requirements.locked(lock_requirements.known(demo), head=lock_requirements.DEMO_HEAD) == demo


@pytest.mark.parametrize("version", ["2.13.0", "2.13.0+cpu"])
def test_locked_requirements_take_every_build_of_a_version(version: str) -> None:
    entry = {
        "metadata": {"name": "Torch", "version": version},
        "download_info": {"archive_info": {"hashes": {"sha256": "a" * 64}}},
    }
    assert lock_requirements.found([entry]) == {("torch", "2.13.0"): {f"sha256:{'a' * 64}"}}
