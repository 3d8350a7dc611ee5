"""The seam for sources: one from another package is asked, shown and checked like ours, from one place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.data import queries
from app.pages.sources.columns import source_table
from tests.conftest import ROOT
from tests.doubles.installed_package import install
from tracker.errors import TrackerError
from tracker.settings import Settings
from tracker.sources import SOURCES, get_source

SOURCE = """
from tracker.records.published import Access, Batch, SourceFacts, SourceModel

class Weatherboard:
    facts = SourceFacts("weatherboard", "Weather board", "https://example.org", "CC0", "By Weather board")

    def __init__(self, settings):
        pass

    def missing_credential(self):
        return None

    def read(self, request, fetch):
        yield Batch(models=(SourceModel(name="acme/weather-1b", access=Access.OPEN),))

class Impostor(Weatherboard):
    facts = SourceFacts("epoch", "Not Epoch", "https://example.org", "CC0", "-")
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    group, attribute = SOURCES.group, "Weatherboard"
    return install(
        tmp_path / "site", "weather", SOURCE, group=group, name="weatherboard", attribute=attribute
    )


def tracker(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tracker", *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(package), str(ROOT)])},
    )  # fmt: skip


def test_source_of_an_installed_package_is_asked_checked_and_shown(home: Path, package: Path) -> None:
    done = tracker(package, "ingest", "weatherboard", "--json")
    assert done.returncode == 0, done.stderr
    (outcome,) = json.loads(done.stdout)["sources"]
    assert (outcome["source"], outcome["status"], outcome["n_new"]) == ("weatherboard", "completed", 1)
    checks = {one["name"]: one for one in json.loads(tracker(package, "doctor", "--json").stdout)["checks"]}
    assert checks["sources"]["status"] == "ok"
    assert "weatherboard" in checks["sources"]["detail"]
    assert "weatherboard" in tracker(package, "ingest", "weatherbord").stderr  # a wrong name offers it
    shown = source_table(queries.source_ingests(), queries.ingest_health())  # the table of the page
    assert list(shown["title"]) == ["Weather board"]
    same = tracker(package, "models", "--match", "weatherboard:acme/weather-1b=acme/weather-1b")
    assert same.returncode == 0, same.stderr


def test_source_given_by_its_class_is_kept_under_the_name_that_it_has(home: Path, package: Path) -> None:
    done = tracker(package, "ingest", "weather:Weatherboard", "--json")
    assert done.returncode == 0, done.stderr
    assert [one["source"] for one in json.loads(done.stdout)["sources"]] == ["weatherboard"]


def test_source_that_takes_the_name_of_another_is_refused(
    package: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.syspath_prepend(str(package))
    with pytest.raises(TrackerError, match="calls itself `epoch`, which is another source"):
        get_source("weather:Impostor", settings)
