"""An engine is added in one place: here by another package, with a predictor of its memory."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from runners.engines import (
    ALL_SETTINGS,
    AUTO,
    ENGINES,
    choose_engine,
    engine_spec,
    engine_specs,
)
from runners.memory.prediction import find_predictor
from tests.conftest import ROOT
from tests.runners.harness.test_worker import TASKS
from tests.runners.memory.test_fit import SMOL, machine, subject
from tracker.cli.doctor_checks import Check, packages
from tracker.cli.flags import EngineFlags
from tracker.errors import FieldError, TrackerError, UnknownNameError
from tracker.extensions import installed
from tracker.records import EngineSettings

DUMMY = """
from runners.engines import EngineSpec
from runners.hardware import Hardware
from runners.memory.prediction import Demand, Machine, Rung, make_fit
from runners.memory.weights import Loading
from tests.doubles.engines import ArithmeticEngine

SPEC = EngineSpec(
    name="dummy",
    place="dummy_engine:DummyEngine",
    settings=("quantization",),
    quantizations=("q2",),
    packages=("dummy-engine",),
    install="pip install dummy-engine",
    predictor="dummy_engine:DummyMemory",
)


class DummyEngine(ArithmeticEngine):
    pass


class DummyMemory:
    def predict(self, subject, settings, hardware, *, context=None):
        room = Machine(0, hardware.free_ram_bytes)
        demand = Demand(room, Loading("bfloat16"), context or 77, 1, sequence_bytes=1000, overhead_bytes=3)
        return make_fit(subject, settings, hardware, demand)

    def as_started(self, settings, hardware):
        return settings

    def rungs(self, architecture, settings, hardware):
        yield Rung("two bits", ())
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages, with one that announces the engine `dummy`."""
    folder = tmp_path / "site"
    announce(folder, "dummy-engine", dummy="dummy_engine:SPEC")
    (folder / "dummy_engine.py").write_text(DUMMY)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "dummy_engine", raising=False)
    installed.cache_clear()
    yield folder
    installed.cache_clear()


def announce(folder: Path, distribution: str, **engines: str) -> None:
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {place}\n" for name, place in engines.items())
    (info / "entry_points.txt").write_text(f"[open_weight_tracker.engines]\n{lines}")


def tracker(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tracker", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
        timeout=240,
    )


@pytest.mark.usefixtures("home")
def test_engine_of_another_package_is_measured_with_and_predicted_for(site: Path, model_folder: Path) -> None:
    done = tracker(
        site, "bench", str(model_folder), "--engine", "dummy", "--quantization", "q2", "--task", "sums",
        "--include-path", TASKS, "--limit", "3", "--json",
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert (done.returncode, document["status"], document["n_items"]) == (0, "complete", 3), done.stderr
    fit = json.loads(tracker(site, "fit", str(model_folder), "--engine", "dummy", "--json").stdout)
    assert (fit["engine"], fit["context"], fit["overhead_bytes"], fit["fits"]) == ("dummy", 77, 3, True)


@pytest.mark.usefixtures("home")
def test_engine_of_another_package_is_offered_by_help_and_by_errors(site: Path) -> None:
    shown = " ".join(tracker(site, "bench", "--help").stdout.replace("│", " ").split())
    assert "auto, vllm, transformers, llamacpp, server, dummy" in shown
    assert "did you mean `dummy`?" in tracker(site, "bench", "demo", "--engine", "dumy").stderr


@pytest.mark.clock
@pytest.mark.usefixtures("site")
def test_engine_of_another_package_is_checked_like_ours() -> None:
    assert tuple(ENGINES) == ("vllm", "transformers", "llamacpp", "server", "dummy")
    lines = {check.name: check for check in packages()}
    assert lines["engine dummy"] == Check(
        "engine dummy", "ok", "dummy-engine 1.0", "pip install dummy-engine"
    )
    with pytest.raises(UnknownNameError, match="no quantization of dummy is called `q3`"):
        choose_engine(EngineSettings(engine="dummy", quantization="q3"), has_gpu=False)
    with pytest.raises(FieldError, match="thinking is not supported by `--engine dummy`") as caught:
        choose_engine(EngineSettings(engine="dummy", thinking=True), has_gpu=False)
    assert (
        caught.value.hint == "--engine vllm or --engine transformers or --engine llamacpp or --engine server"
    )
    predictor = find_predictor("dummy")
    assert predictor is not None
    fit = predictor.predict(subject(SMOL), EngineSettings(engine="dummy"), machine())
    assert fit.total_bytes == fit.weights_bytes + 1003


def test_engine_package_that_is_broken_harms_no_other(site: Path) -> None:
    announce(site, "broken-engine", broken="broken_engine:SPEC", vllm="dummy_engine:SPEC", odd="json:dumps")
    installed.cache_clear()
    assert engine_spec("vllm").place == "runners.engines.vllm.engine:VllmEngine"
    assert sorted(spec.name for spec in engine_specs()) == [
        "dummy",
        "llamacpp",
        "server",
        "transformers",
        "vllm",
    ]
    lines = {check.name: check for check in packages()}
    assert lines["engine broken"].detail == "engine `broken` is not installed"
    assert lines["engine odd"].detail == "engine `odd`: `json:dumps` is not an EngineSpec"
    with pytest.raises(TrackerError, match="is not installed"):
        engine_spec("broken")


@pytest.mark.parametrize(
    ("asked", "has_gpu", "expected"),
    [
        ({}, False, "transformers"),
        ({"base_url": "http://127.0.0.1:1/v1"}, True, "server"),
        ({"engine": "server", "base_url": "http://127.0.0.1:1/v1"}, False, "server"),
        ({"engine": "tests.doubles:Engine", "quantization": "anything"}, False, "tests.doubles:Engine"),
    ],
    ids=["auto", "an address", "by name", "a class"],
)
def test_engine_is_chosen_by_what_was_asked(asked: dict[str, str], has_gpu: bool, expected: str) -> None:
    settings = EngineSettings(**{"engine": AUTO} | asked)  # type: ignore[arg-type]
    assert choose_engine(settings, has_gpu=has_gpu).engine == expected


@pytest.mark.parametrize("name", ENGINES)
def test_engine_specs_of_ours_are_complete_and_import_nothing_heavy(name: str) -> None:
    spec = engine_spec(name)
    assert spec.name == name
    assert set(spec.settings) <= set(ALL_SETTINGS)
    code = (
        "import sys; from runners.engines import engine_spec\n"
        f"spec = engine_spec({name!r})\n"
        "for place in (spec.predictor, spec.identity, spec.reader, spec.study_server):\n"
        "    place and spec.load(place)\n"
        "print([n for n in ('torch', 'vllm', 'transformers', 'lm_eval') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_engine_settings_each_have_a_flag_of_the_same_name() -> None:
    without_flag = {"seed"}  # part of every fingerprint, and the same for every bench
    assert {one.name for one in fields(EngineFlags)} == {
        one.name for one in fields(EngineSettings)
    } - without_flag


def compared_names(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            found |= {
                one.value
                for side in (node.left, *node.comparators)
                for one in ast.walk(side)
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
            }
    return found & ENGINES.keys()


def test_engine_names_decide_nothing_outside_the_registry() -> None:
    paths = [path for top in ("tracker", "runners", "app") for path in (ROOT / top).rglob("*.py")]
    assert {str(path): names for path in paths if (names := compared_names(path))} == {}
